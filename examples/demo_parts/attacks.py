"""Section 6: the same changes made to all three databases, and what each agent makes of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import StateSnapshot

from demo_parts import tamper
from demo_parts.agents import ENCRYPTED, LABEL_WIDTH, LABELS, SEALED, UNSEALED, Agent, Files, agent, keyring, thread_of
from demo_parts.checks import expect, refusal
from demo_parts.keys import make_kek
from demo_parts.screen import Screen, cut
from sealpoint import SealpointError
from support_agent import Conversation

Accepted = Callable[[StateSnapshot], str]
"""What the attacker has reached, in words; empty if nothing."""

WAITING, PLANTED = "globex-2", "globex-3"


class Attacks:
    """The section's state: where it prints, and how often sealing refused."""

    def __init__(self, screen: Screen, files: Files, acme: Conversation, globex: Conversation) -> None:
        self.screen, self.files, self.acme, self.globex = screen, files, acme, globex
        self._outcomes: list[tuple[str, bool]] = []

    def summary(self) -> str:
        """How often each accepted or refused."""
        accepted = {label: sum(one == (label, True) for one in self._outcomes) for label in LABELS}
        refused = sum(one == (SEALED, False) for one in self._outcomes)
        return (
            f"The sealed agent refused all {refused} attacks with a typed error; the unsealed agent accepted {accepted[UNSEALED]} of them, "
            f"EncryptedSerializer {accepted[ENCRYPTED]}."
        )

    def show(self) -> None:
        self.screen.heading("6. Attacks")
        self.screen.say("Somebody writes the databases, with SQL and without any key; then the agent's state is read again.")
        self._moved()
        self._older_row()
        self._older_value()
        self._skipped()
        self._planted()
        self._wrong_tenant()
        self._wrong_kek()

    def _moved(self) -> None:
        thread, other = thread_of(self.acme.tenant), thread_of(self.globex.tenant)
        last = self.globex.messages[-1]

        def accepted(state: StateSnapshot) -> str:
            return f'acme now reads globex\'s case: "{last.text}"' if state.values["messages"][-1].id == last.id else ""

        self._attack(
            "globex's newest row is copied into acme's thread",
            lambda label: tamper.copy_newest(self.files.state(label), other, thread),
            accepted,
        )

    def _older_row(self) -> None:
        messages = len(self.acme.messages)

        def accepted(state: StateSnapshot) -> str:
            left = len(state.values["messages"])
            return f"acme's case has {left} messages instead of {messages}" if left < messages else ""

        self._attack(
            "acme's newest row gets the content of an older one",
            lambda label: tamper.put_back_row(self.files.state(label), thread_of(self.acme.tenant), 8),
            accepted,
        )

    def _older_value(self) -> None:
        config = self.acme.config(thread_of(self.acme.tenant))
        with agent(self.files, SEALED) as sealed:
            current = sealed.graph.get_state(config).values["case_note"]

        def accepted(state: StateSnapshot) -> str:
            note = state.values["case_note"]
            return f'the case note is "{note}" again' if note != current else ""

        self._attack(
            "one value of acme is put back: an older case note, with its version number",
            lambda label: tamper.put_back_channel(self.files.state(label), thread_of(self.acme.tenant), "case_note"),
            accepted,
        )

    def _skipped(self) -> None:
        config = self.globex.config(WAITING)
        waiting = next(turn for turn in self.globex.turns if turn.decisions)
        for label in LABELS:
            with agent(self.files, label) as one:
                for turn in self.globex.turns[: waiting.number]:
                    one.graph.invoke({"messages": [turn.message]}, config)
                expect(one.graph.get_state(config).next == ("approval",), f"{label}: the case does not wait for approval")

        self._attack(
            "globex's refund waits for approval, and versions_seen is edited: the approval has run already",
            lambda label: tamper.mark_as_run(self.files.state(label), WAITING, "approval"),
            lambda state: "nothing waits any more, and nobody is asked" if not state.next else "",
            config=config,
        )

    def _planted(self) -> None:
        config = self.globex.config(PLANTED)
        ((_, order_id), _) = next(item for item in self.globex.documents.items() if item[0][0] == "lookup_order")
        call = {"name": "refund", "args": {"order_id": order_id, "amount": 100.0, "reason": "planted"}}

        def read(one: Agent) -> StateSnapshot:
            one.graph.invoke(None, config, interrupt_after=["tools"])
            return one.graph.get_state(config)

        def accepted(state: StateSnapshot) -> str:
            paid = state.values.get("refund_total", 0.0)
            return f"the agent runs it and pays {paid:.2f}, which no customer or supervisor asked for" if paid else ""

        self._attack(
            "a row is written by hand, unsealed: the agent has just asked for a refund, and the tool runs next",
            lambda label: tamper.plant(self.files.state(label), PLANTED, call),
            accepted,
            config=config,
            read=read,
            undo=False,
            code="plaintext_refused",
        )

    def _wrong_tenant(self) -> None:
        thread = thread_of(self.acme.tenant)

        def accepted(state: StateSnapshot) -> str:
            found = len(state.values.get("messages", ()))
            return f"globex reads acme's {found} messages: nothing here knows of tenants" if found else ""

        self._attack("no row is changed; globex asks for acme's thread", lambda _: None, accepted, config=self.globex.config(thread))

    def _wrong_kek(self) -> None:
        self._title("the KEK's file is replaced by another KEK")
        kek, aside = self.files.kek, self.files.kek.with_suffix(".aside")
        kek.rename(aside)
        try:
            make_kek(self.files)
            error = refusal(lambda: keyring(self.files), ("authentication_failed",), "a keyring with another KEK")
        finally:
            aside.replace(kek)
        self._refused(error, "Keyring.connect")

    def _attack(
        self,
        title: str,
        change: Callable[[str], None],
        accepted: Accepted,
        *,
        config: RunnableConfig | None = None,
        read: Callable[[Agent], StateSnapshot] | None = None,
        undo: bool = True,
        code: str = "authentication_failed",
    ) -> None:
        self._title(title)
        config = config or self.acme.config(thread_of(self.acme.tenant))
        thread = config["configurable"]["thread_id"]
        for label in LABELS:
            file = self.files.state(label)
            guard: AbstractContextManager[Any] = tamper.tampering(file, thread) if undo else nullcontext()
            with guard, agent(self.files, label) as one:
                try:
                    change(label)
                    state = read(one) if read else one.graph.get_state(config)
                except tamper.OneCiphertextError:
                    expect(label == ENCRYPTED, f"{label}: the row cannot be edited")
                    self._entry(label, "not possible: on SQLite the whole row is one ciphertext", "good")
                    continue
                except SealpointError as error:
                    expect(label == SEALED, f"{label}: {error}")
                    expect(error.code == code, f"{title}: refused with {error.code} instead of {code}: {error}")
                    self._refused(error)
                    continue
                expect(label != SEALED, f"{title}: sealed state was read without an error")
                reached = accepted(state)
                expect(reached, f"{title}: has no effect on the {label} agent, so it shows nothing")
                self._entry(label, f"accepted: {cut(reached, 120)}", "bad")
                self._outcomes.append((label, True))

    def _title(self, text: str) -> None:
        self.screen.line()
        self.screen.line(f"  {self.screen.style(text[0].upper() + text[1:], 'strong')}")

    def _entry(self, label: str, text: str, style: str) -> None:
        self.screen.entry(label, text, style, label_width=LABEL_WIDTH)

    def _refused(self, error: SealpointError, label: str = SEALED) -> None:
        self._outcomes.append((SEALED, False))
        self._entry(label, f"refused, {error.code}: {error}", "good")
