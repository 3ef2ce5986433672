"""A chat model that is scripted: it replays recorded turns and never calls a language model.

So the example runs without a network or an account, and two runs give the same state.
"""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from typing_extensions import override


class ScriptedChatModel(BaseChatModel):
    """Says line n of its script when n of its lines are in the history already.

    It keeps no position of its own: a conversation that another process resumes from its
    checkpoint continues with the right line.
    """

    script: Sequence[AIMessage]

    @property
    @override
    def _llm_type(self) -> str:
        return "scripted"

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        said = sum(isinstance(message, AIMessage) for message in messages)
        if said >= len(self.script):
            raise ValueError(f"the script ends after {len(self.script)} lines")
        line = self.script[said].model_copy(deep=True)
        return ChatResult(generations=[ChatGeneration(message=line)])
