"""Section 3: another process goes on where the first one stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from langchain_core.messages import AnyMessage, HumanMessage

from demo_parts.agents import SEALED, Files, agent, thread_of
from demo_parts.checks import DemoFailed, expect
from demo_parts.play import waiting_turn
from demo_parts.screen import Screen
from support_agent import Conversation, load_conversation, play

TENANT = "globex"


def show(screen: Screen, files: Files, case: Conversation, script: Path) -> None:
    screen.heading("3. Resumed in a fresh process")
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "SYSTEMROOT", "TMPDIR")}
    command = [sys.executable, str(script), "--resume-in", str(files.folder)]
    with screen.working("starting it"):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120)
    if done.returncode != 0:
        raise DemoFailed(f"the fresh process failed:\n{done.stderr.strip()}")
    facts = json.loads(done.stdout)
    expect(facts["pid"] != os.getpid(), "the fresh process is this one")
    screen.say(
        f"Process {facts['pid']} (this one is {os.getpid()}) opens the same files. All it is given is the folder with the KEK's file."
    )
    screen.say(f"It finds {facts['before']} messages of {case.tenant}, the last ones being")
    for name, text in facts["last"]:
        screen.spoken(name, text)
    screen.say(f"and the refund of {facts['asked']:.2f} that waits for approval. It answers, and plays the case to its end:")
    decision = next(iter(waiting_turn(case).decisions.values()))
    screen.spoken("resume", f"approved by {decision['by']}: {decision['note']}")
    for name, text in facts["then"]:
        screen.spoken(name, text)
    screen.line("    …")
    screen.say(f"{case.tenant}: {facts['after']} messages, {facts['refunded']:.2f} paid back.")
    expect(facts["before"] < facts["after"] == len(case.messages), "the resumed case is not the recorded one")
    expect(facts["refunded"] == 1002.0, "the resumed case paid another sum than the recorded one")


def run(folder: Path) -> None:
    """What the fresh process does."""
    case = load_conversation(TENANT)
    config = case.config(thread_of(case.tenant))
    with agent(Files(folder), SEALED) as sealed:
        state = sealed.graph.get_state(config)
        before = state.values["messages"]
        for _ in play(sealed.graph, config, case.turns):
            pass
        after = sealed.graph.get_state(config).values
    facts: dict[str, Any] = {
        "pid": os.getpid(),
        "before": len(before),
        "last": [_said(message) for message in before[-2:]],
        "asked": state.interrupts[0].value["amount"],
        "then": [_said(message) for message in after["messages"][len(before) : len(before) + 2]],
        "after": len(after["messages"]),
        "refunded": after["refund_total"],
    }
    print(json.dumps(facts))


def _said(message: AnyMessage) -> tuple[str, str]:
    if isinstance(message, HumanMessage):
        return "customer", message.text
    return ("tool" if message.type == "tool" else "agent"), message.text
