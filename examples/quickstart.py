"""The README's first lines, made runnable: a graph whose state is sealed in a SQLite file.

export SEALPOINT_KEK="$(sealpoint keygen)"; python examples/quickstart.py
"""

from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, StateGraph

from sealpoint import Keyring, from_config
from sealpoint.langgraph import SealedSaver


class State(TypedDict, total=False):
    name: str
    greetings: int


def greet(state: State) -> State:
    return {"greetings": state.get("greetings", 0) + 1}


builder = StateGraph(State).add_node("greet", greet).add_edge(START, "greet")

with (
    Keyring.connect("sqlite:///keys.db", kek="env:SEALPOINT_KEK") as keyring,
    SqliteSaver.from_conn_string("state.db") as inner,
):
    saver = SealedSaver(inner, keyring, tenant=from_config("workspace_id"))
    saver.setup()
    graph = builder.compile(checkpointer=saver)
    print(graph.invoke({"name": "Quintavalle"}, {"configurable": {"thread_id": "t1", "workspace_id": "acme"}}))
