"""Section 2: both tenants' conversations, sealed; beside them, turn by turn, the same without sealing, for sections 5 to 7."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from demo_parts.agents import LABELS, SEALED, Agent, Files, agent, thread_of
from demo_parts.checks import expect
from demo_parts.screen import Screen, size
from support_agent import Conversation, Progress, Turn, play

SHOWN_TURNS = 3
"""How much of the conversation is printed: its first approval is in the last of them."""


@dataclass
class Cost:
    """What each turn took."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def show(screen: Screen, files: Files, acme: Conversation, globex: Conversation) -> dict[str, Cost]:
    screen.heading("2. The agent, sealed")
    screen.say(
        "A support agent (its model is scripted, so no network is needed) works for two tenants. Refunds wait for a supervisor. "
        f"This is how {acme.tenant}'s case begins:"
    )
    with ExitStack() as stack:
        agents = [stack.enter_context(agent(files, label)) for label in LABELS]
        costs = _acme(screen, agents, acme)
        _globex(screen, agents, globex)
    return costs


def _acme(screen: Screen, agents: list[Agent], case: Conversation) -> dict[str, Cost]:
    costs = {label: Cost() for label in LABELS}
    config, total = case.config(thread_of(case.tenant)), len(case.turns)
    messages = characters = 0
    with screen.progress(total) as bar:
        for turn in case.turns:
            for one in agents[turn.number % 3 :] + agents[: turn.number % 3]:  # who goes first changes: none always finds the caches cold
                began = time.process_time(), time.perf_counter()
                said = list(play(one.graph, config, [turn]))
                costs[one.label].cpu.append(time.process_time() - began[0])
                costs[one.label].wall.append(time.perf_counter() - began[1])
                if one.label != SEALED:
                    continue
                messages += sum(p.kind != "approval" for p in said)
                characters += sum(len(p.text.encode()) for p in said if p.kind != "approval")
                if turn.number <= SHOWN_TURNS:
                    for who, text in _lines(turn, said):
                        screen.spoken(who, text)
                if turn.number == SHOWN_TURNS:
                    screen.line("    …")
                    screen.say("The rest of it; each turn is played on two other databases as well, for sections 5 to 7.")
            if turn.number > SHOWN_TURNS:
                bar.update(turn.number, f"{case.tenant}  turn {turn.number} of {total}  {messages} messages  {size(characters)}")
    (sealed,) = (one for one in agents if one.label == SEALED)
    state = sealed.graph.get_state(config)
    expect([m.id for m in state.values["messages"]] == [m.id for m in case.messages], "the sealed conversation is not the recorded one")
    approvals = [decision["approved"] for turn in case.turns for decision in turn.decisions.values()]
    screen.say(
        f"{case.tenant}: {len(case.messages)} messages, {size(characters)} of text; {len(approvals)} refunds stopped for approval "
        f"and resumed, {approvals.count(False) or 'none'} of them refused; {state.values['refund_total']:.2f} paid back."
    )
    return costs


def _globex(screen: Screen, agents: list[Agent], case: Conversation) -> None:
    """The sealed case is left in the middle, at its last approval; the others are played to the end."""
    config = case.config(thread_of(case.tenant))
    waiting = waiting_turn(case)
    for one in agents:
        if one.label != SEALED:
            list(play(one.graph, config, case.turns))
            continue
        list(play(one.graph, config, case.turns[: waiting.number - 1]))
        one.graph.invoke({"messages": [waiting.message]}, config)
        state = one.graph.get_state(config)
        expect(state.next == ("approval",), f"{case.tenant}'s case does not wait for approval")
        asked = state.interrupts[0].value
        screen.say(
            f"{case.tenant}: {len(state.values['messages'])} messages so far. Turn {waiting.number} asks for a refund of "
            f"{asked['amount']:.2f} and stops for approval. Nobody answers; this process closes its saver and its keyring."
        )


def waiting_turn(case: Conversation) -> Turn:
    """The last turn that asks for approval."""
    return [turn for turn in case.turns if turn.decisions][-1]


def _lines(turn: Turn, said: list[Progress]) -> Iterator[tuple[str, str]]:
    names = {"user": "customer", "assistant": "agent", "tool": "tool"}
    decisions = iter(turn.decisions.values())
    for step in said:
        if step.kind != "approval":
            yield names[step.kind], step.text
            continue
        decision = next(decisions)
        yield "interrupt", f"refund {step.text}"
        yield "resume", f"{'approved' if decision['approved'] else 'refused'} by {decision['by']}: {decision['note']}"
