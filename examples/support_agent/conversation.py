"""The recorded support cases, read from `conversation.jsonl`.

Everything in that file is invented. It is full of what must never be readable in a database (names,
diagnoses, card numbers, pasted logs, internal notes), so that a leak has something to leak. The
code beside it names none of it: what a scan of a database finds can only come from the state.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypedDict, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig

DATA = Path(__file__).with_name("conversation.jsonl")


class Decision(TypedDict):
    """What a supervisor answers when a refund asks for approval."""

    approved: bool
    by: str
    note: str


@dataclass(frozen=True)
class Turn:
    """One message of the customer, and the decisions that the answer to it will ask for."""

    number: int
    message: HumanMessage
    decisions: Mapping[str, Decision]
    """By the id of the tool call that waits for it, so that a resumed run finds the right one."""


@dataclass(frozen=True)
class Conversation:
    """One tenant's case."""

    tenant: str
    lines: tuple[Mapping[str, Any], ...]

    @cached_property
    def messages(self) -> tuple[AnyMessage, ...]:
        """The whole case as messages: a full replay ends in exactly these.

        The ids are fixed, so feeding a message a second time replaces it instead of repeating it.
        """
        return tuple(_message(f"{self.tenant}-{n:03}", line) for n, line in enumerate(self.lines))

    @cached_property
    def script(self) -> tuple[AIMessage, ...]:
        """What the scripted chat model will say, in order."""
        return tuple(m for m in self.messages if isinstance(m, AIMessage))

    @cached_property
    def turns(self) -> tuple[Turn, ...]:
        """The case as the customer lives it, from one message of theirs to the next."""
        found: list[tuple[HumanMessage, dict[str, Decision]]] = []
        for line, message in zip(self.lines, self.messages, strict=True):
            if isinstance(message, HumanMessage):
                found.append((message, {}))
            elif "approval" in line:
                found[-1][1][line["tool_call_id"]] = line["approval"]
        return tuple(Turn(n, message, asked) for n, (message, asked) in enumerate(found, start=1))

    @cached_property
    def documents(self) -> Mapping[tuple[str, str], str]:
        """The back office: what each look-up answers, by tool and key."""
        keys = {call["id"]: str(next(iter(call["args"].values()))) for line in self.lines for call in line.get("tool_calls", ())}
        return {
            (line["name"], keys[line["tool_call_id"]]): line["content"]
            for line in self.lines
            if line["role"] == "tool" and "approval" not in line
        }

    @property
    def requester(self) -> str:
        """Who opened the case."""
        return cast(str, self.lines[0]["author"])

    def config(self, thread_id: str) -> RunnableConfig:
        """The config to run this case under.

        The requester goes into the metadata, as applications do for their traces; a saver copies
        it into every checkpoint row.
        """
        return {
            "configurable": {"thread_id": thread_id, "workspace_id": self.tenant},
            "metadata": {"requester": self.requester},
        }


def tenant_of(config: RunnableConfig) -> str:
    """The tenant that a run belongs to, as the nodes and tools see it."""
    return cast(str, config["configurable"]["workspace_id"])


@cache
def load_conversation(tenant: str) -> Conversation:
    """The recorded case of one tenant: `acme` (long) or `globex` (short)."""
    with DATA.open(encoding="utf-8") as file:
        lines = tuple(line for line in map(json.loads, file) if line["tenant"] == tenant)
    if not lines:
        raise ValueError(f"no conversation of tenant {tenant!r} in {DATA.name}")
    return Conversation(tenant, lines)


def _message(id_: str, line: Mapping[str, Any]) -> AnyMessage:
    content = line["content"]
    match line["role"]:
        case "user":
            return HumanMessage(content, id=id_)
        case "assistant":
            calls = [cast(ToolCall, call) for call in line.get("tool_calls", ())]
            kwargs = {"note": line["note"]} if "note" in line else {}
            return AIMessage(content, id=id_, tool_calls=calls, additional_kwargs=kwargs)
        case "tool":
            call_id = line["tool_call_id"]
            return ToolMessage(content, id=call_id, tool_call_id=call_id, name=line["name"])
        case role:
            raise ValueError(f"unknown role {role!r}")
