"""Prebuilt agents, bare and sealed: `create_react_agent`, LangChain's `create_agent`, and a real deep agent. Only the model is scripted."""

from collections.abc import Callable
from typing import Any

import pytest
from backends import Backend
from deepagents import create_deep_agent
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, TodoListMiddleware
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.prebuilt import create_react_agent
from langgraph.types import Command, interrupt
from pydantic import BaseModel
from same import SOME, SYNC_AND_ASYNC, assert_same, config
from scripted import Scripted

from sealpoint import Keyring

QUESTION = {"messages": [HumanMessage("canary question", id="q")]}


def call(id: str, name: str, /, **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


def says(text: str, *calls: Any) -> AIMessage:
    return AIMessage(text, tool_calls=list(calls), id=f"said {text}")


@tool
def look_up(order: str) -> str:
    """Finds an order."""
    return f"canary record of {order}"


@tool
def refund(order: str, amount: float) -> str:
    """Pays back, once somebody has agreed."""
    answer = interrupt({"canary": order, "amount": amount})
    return f"canary refund of {amount}: {answer}"


LINES = [
    says("canary looking", call("1", "look_up", order="canary A"), call("2", "look_up", order="canary B")),
    says("canary asking", call("3", "refund", order="canary A", amount=9.5), call("4", "refund", order="canary B", amount=1.5)),
    says("canary done"),
]


def in_steps(backend: Backend, wrap: Any, build: Callable[[Any], Any], *steps: Any) -> Any:
    """Each step in a new saver. A step that is a function makes the input from the interrupts of the one before."""
    found: list[Any] = []
    pauses: tuple[Any, ...] = ()
    for step in steps:
        with backend.opened(wrap) as saver:
            graph = build(saver)
            result = backend.invoke(graph, step(pauses) if callable(step) else step, config())
            # Those of parallel tasks come as they happened.
            pauses = tuple(sorted(result.pop("__interrupt__", ()), key=lambda pause: str(pause.value)))
            found.append((result, pauses, backend.state(graph, config(), subgraphs=True)))
    assert [bool(pauses) for _, pauses, _ in found] == [True] * (len(steps) - 1) + [False]
    with backend.opened(wrap) as saver:
        return found, backend.history(build(saver), config())


def resume_all(pauses: tuple[Any, ...]) -> Any:
    assert len(pauses) == 2
    return Command(resume={pause.id: f"canary yes to {pause.value['canary']}" for pause in pauses})


def scenario_react_agent(backend: Backend, wrap: Any) -> Any:
    def build(saver: Any) -> Any:
        return create_react_agent(Scripted(lines=LINES), [look_up, refund], prompt="canary prompt", checkpointer=saver)

    found = in_steps(backend, wrap, build, QUESTION, resume_all)
    assert [message.type for message in found[0][-1][0]["messages"]] == ["human", "ai", "tool", "tool", "ai", "tool", "tool", "ai"]
    return found


class Answer(BaseModel):
    verdict: str
    total: float


class Case(AgentState[Any]):
    customer: str
    seen: int


@tool
def note_customer(name: str, runtime: ToolRuntime[Any, Any]) -> Command[Any]:
    """Writes into the agent's state."""
    return Command(
        update={
            "customer": name,
            "seen": runtime.state.get("seen", 0) + 1,
            "messages": [ToolMessage("canary noted", tool_call_id=runtime.tool_call_id, id="noted")],
        }
    )


def scenario_agent(backend: Backend, wrap: Any) -> Any:
    """State of its own, a human who edits one call and refuses another, and an answer that is an object."""
    lines = [
        says("canary note", call("1", "note_customer", name="canary Ada")),
        says("canary refunds", call("2", "pay", amount=5.0), call("3", "pay", amount=7.5)),
        says("canary answer", call("4", "Answer", verdict="canary fine", total=2.5)),
    ]

    @tool
    def pay(amount: float) -> str:
        """Pays."""
        return f"canary paid {amount}"

    def build(saver: Any) -> Any:
        return create_agent(
            Scripted(lines=lines),
            [note_customer, pay],
            middleware=[HumanInTheLoopMiddleware(interrupt_on={"pay": True})],
            state_schema=Case,
            response_format=Answer,
            checkpointer=saver,
        )

    decisions = [
        {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 2.5}}},
        {"type": "reject", "message": "canary too much"},
    ]
    found = in_steps(backend, wrap, build, QUESTION, Command(resume={"decisions": decisions}))
    last = found[0][-1][0]
    assert (last["customer"], last["seen"], last["structured_response"]) == ("canary Ada", 1, Answer(verdict="canary fine", total=2.5))
    told = [message.content for message in last["messages"] if message.type == "tool"]
    assert [text for text in told if "canary paid 2.5" in text]
    assert [text for text in told if "canary too much" in text]
    return found


def scenario_deep_agent(backend: Backend, wrap: Any) -> Any:
    """Todos, files, and two sub-agents at once, each with a context of its own; one of them asks before it writes a file."""
    researcher = [
        says("canary searching", call("r1", "look_up", order="canary C")),
        says("canary writing", call("r2", "write_file", file_path="/found.md", content="canary found by the researcher")),
        says("canary report of the researcher"),
    ]
    critic = [says("canary reading", call("k1", "read_file", file_path="/plan.md")), says("canary report of the critic")]
    lines = [
        says("canary plan", call("1", "write_todos", todos=[{"content": "canary task", "status": "in_progress"}])),
        says("canary file", call("2", "write_file", file_path="/plan.md", content="canary plan\ncanary second line")),
        says(
            "canary delegate",
            call("3", "task", description="canary find it", subagent_type="researcher"),
            call("4", "task", description="canary judge it", subagent_type="critic"),
        ),
        says("canary edit", call("5", "edit_file", file_path="/plan.md", old_string="second", new_string="last")),
        says("canary close", call("6", "write_todos", todos=[{"content": "canary task", "status": "completed"}])),
        says("canary done"),
    ]

    def build(saver: Any) -> Any:
        return create_deep_agent(
            model=Scripted(lines=lines),
            tools=[look_up],
            middleware=[TodoListMiddleware()],
            subagents=[
                {
                    "name": "researcher",
                    "description": "Finds.",
                    "system_prompt": "canary",
                    "model": Scripted(lines=researcher),
                    "interrupt_on": {"write_file": True},
                },
                {"name": "critic", "description": "Judges.", "system_prompt": "canary", "model": Scripted(lines=critic)},
            ],
            checkpointer=saver,
        )

    found = in_steps(backend, wrap, build, QUESTION, Command(resume={"decisions": [{"type": "approve"}]}))
    last = found[0][-1][0]
    assert {path: file["content"] for path, file in last["files"].items()} == {
        "/plan.md": "canary plan\ncanary last line",
        "/found.md": "canary found by the researcher",
    }
    assert last["todos"] == [{"content": "canary task", "status": "completed"}]
    told = [message.content for message in last["messages"] if message.type == "tool"]
    assert told[2:4] == ["canary report of the researcher", "canary report of the critic"]
    assert not any("searching" in str(message.content) for message in last["messages"])
    return found


SCENARIOS = [value for name, value in sorted(globals().items()) if name.startswith("scenario_")]


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__.removeprefix("scenario_"))
@pytest.mark.parametrize("kind", [*SYNC_AND_ASYNC, *SOME])
def test_agents(kind: type[Backend], scenario: Any, keyring: Keyring, make_backend: Any) -> None:
    assert_same(kind, scenario, keyring, make_backend)
