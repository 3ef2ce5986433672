"""A customer-support agent with two recorded cases: the application that the examples seal."""

from support_agent.agent import build_graph
from support_agent.conversation import Conversation, Turn, load_conversation
from support_agent.driver import Progress, aplay, play
from support_agent.words import distinctive_words

__all__ = [
    "Conversation",
    "Progress",
    "Turn",
    "aplay",
    "build_graph",
    "distinctive_words",
    "load_conversation",
    "play",
]
