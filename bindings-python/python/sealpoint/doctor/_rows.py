"""Every tenant and DEK of the key store, in pages: by its rows alone, and where asked by opening it under each of its KEKs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from .._keks import Keks, is_open_only
from .._loader import context_of, unwrapped
from ..errors import KmsError, SealpointError
from ..lifecycle._jobs import NAMES, PAGE
from ..lifecycle.rules import chain_problems, row_problems
from ..scan.report import printable
from ..stores import DamagedDek, DekRecord, KeyLifecycle, TenantRecord, WrapRecord
from .report import Check, Tally

CHANGED = "somebody changed the key store: compare it with a backup, and see who writes to it; nothing here was mended"


class Rows:
    """What the rows of DEKs come to. One method for each thing that is looked at; a new one is called from `see`."""

    def __init__(self, keks: Keks | None, required: Sequence[str]) -> None:
        """keks: None, if there are none to compare wraps with. required: what the key store's policy requires."""
        self._uris = {kek.uri: kek.capabilities for kek in keks.providers} if keks else {}
        self._required = required
        self.deks = 0
        self.live = 0
        self.wraps = 0
        self._damaged = Tally("keys rows", "problem", CHANGED)
        self._states = Tally("keys states", "problem", CHANGED)
        self._unopened = Tally("keys openable", "problem", "name in kek= (--kek) the KEK that they were wrapped by")
        self._unsealed = Tally("keys sealing", "problem", f"rotate the tenant's key; if no KEK was lost, {CHANGED}")
        self._minted = Tally("keys minted", "warning", "expected after a recovery; else see who writes to the key store")
        self._unnamed = Tally("keys other keks", "warning", "if no other configuration uses these KEKs, drop or mistrust their wraps")
        self._lacking = Tally("keys redundancy", "warning", "sealpoint rewrap --from KEK --to the one that is lacking")
        self._short = Tally("keys policy", "warning", "sealpoint rewrap --from KEK --to the one that is required")
        self._unverified = Tally("keys unverified", "warning", "sealpoint doctor --open tries them")

    def see(self, row: DekRecord | DamagedDek) -> None:
        """One DEK."""
        self.deks += 1
        if isinstance(row, DamagedDek):
            self._damaged.add("its row, or that of a wrap, is not as sealpoint writes it", row)
            return
        for what in row_problems(row):
            self._states.add(what, row)
        if row.state != "destroyed":
            self.live += 1
            self.wraps += len(row.wraps)
            if self._uris:
                self._see_keks(row)

    def _see_keks(self, row: DekRecord) -> None:
        there = {wrap.kek_uri: self._uris.get(wrap.kek_uri) for wrap in row.wraps}
        opening = [(wrap, kek) for wrap in row.wraps if (kek := there[wrap.kek_uri]) is not None and kek.can_unwrap]
        if there and not opening:
            self._unopened.add("no configured KEK opens it", row)
        elif there and not any(kek.authenticates and not is_open_only(wrap) for wrap, kek in opening):
            tally = self._unsealed if row.state == "active" else self._minted
            tally.add("anyone could have chosen it (its wraps can be made by anyone, or only open): nothing is sealed under it", row)
        for uri in sorted(uri for uri, kek in there.items() if kek is None):
            self._unnamed.add(f"a wrap under {printable(uri)}", row)
        for uri in self._uris:
            if uri not in there:
                self._lacking.add(f"no wrap under {uri}", row)
        for uri in self._required:
            if uri not in there:
                self._short.add(f"no wrap under {printable(uri)}, which the policy requires", row)
        for wrap in row.wraps:
            kek = there[wrap.kek_uri]
            if wrap.verified_at is None and kek is not None and kek.can_unwrap:
                self._unverified.add(f"its wrap under {wrap.kek_uri} was never opened", row)

    def checks(self) -> Iterator[Check]:
        """After all were seen."""
        yield self._damaged.check(f"{self.deks} keys, each row readable", "keys whose rows are damaged")
        yield self._states.check("every state is one that sealpoint leaves", "states that sealpoint does not leave")
        if not self._uris:
            yield Check("keys keks", "problem", "no KEK can be used: what the wraps are under was not judged", "correct kek= (--kek)")
            return
        yield self._unopened.check(f"{self.live} keys that are not destroyed have a wrap that this configuration opens", "keys have none")
        yield self._unsealed.check("every active key has a wrap that authenticates", "active keys open, and do not seal")
        yield self._minted.check("and so has every other", "keys open, but anyone could have chosen them")
        yield self._unnamed.check(
            "no wrap is under a KEK that the configuration does not name", "wraps are under KEKs that it does not name"
        )
        yield self._lacking.check("every key has a wrap under each configured KEK", "wraps are lacking")
        yield self._short.check("every key has the wraps that the policy requires", "wraps are lacking that it requires")
        yield self._unverified.check(f"{self.wraps} wraps, each verified that can be", "wraps were never verified")


class Opening:
    """Every wrap of every DEK that is not destroyed, opened under its KEK and compared with the key check."""

    def __init__(self, keks: Keks) -> None:
        self._keks = keks
        self._opens = {kek.uri for kek in keks.providers if kek.capabilities.can_unwrap}
        self._gone: dict[str, str] = {}
        self.opened = 0
        self._untried = 0
        self._failed = Tally("keys opened", "problem", f"{CHANGED}. `rewrap` leaves them alone; another wrap of the same key may open")

    def see(self, row: DekRecord | DamagedDek) -> None:
        """One DEK. An outage, or a refusal, of a KEK ends its part: the others go on."""
        if isinstance(row, DamagedDek) or row.state == "destroyed":
            return
        for wrap in row.wraps:
            if wrap.kek_uri in self._opens:
                self._open(row, wrap)

    def _open(self, row: DekRecord, wrap: WrapRecord) -> None:
        if wrap.kek_uri in self._gone:
            self._untried += 1
            return
        try:
            unwrapped(self._keks, row, (wrap,), context_of(row), authenticated=False)
            self.opened += 1
        except KmsError as error:
            self._gone[wrap.kek_uri] = f"{error.code}: {error}"
            self._untried += 1
        except SealpointError as error:
            self._failed.add(f"under {wrap.kek_uri}: {error.code}: {error}", row)

    def checks(self) -> Iterator[Check]:
        """After all were seen."""
        yield self._failed.check(f"{self.opened} wraps opened, each compared with its key check", f"wraps do not open; {self.opened} do")
        if self._gone:
            why = "; ".join(f"{uri}: {answer}" for uri, answer in self._gone.items())
            yield Check("keys untried", "problem", f"{self._untried} wraps were not tried: {why}", "run it again when the KEK answers")


class Tenants:
    """Each tenant's row, and its DEKs as they follow each other."""

    def __init__(self, store: KeyLifecycle, keks: Keks | None) -> None:
        self._store = store
        self._uris = {kek.uri for kek in keks.providers} if keks else set()
        self.tenants = 0
        self.shredded = 0
        self._rows = Tally("tenants", "problem", CHANGED)
        self._own = Tally("tenants keks", "warning", "configure it, if it is the tenant's own KEK; else see who wrote it there")
        self._chains = Tally("keys versions", "problem", f"{CHANGED}. If a state was set back, rotate refuses; destroy what is not genuine")

    def see_tenants(self, page: Sequence[tuple[str, TenantRecord | None]]) -> None:
        """One page of tenants; reads their DEKs."""
        self.tenants += len(page)
        self.shredded += sum(known is not None and known.shredded_at is not None for _, known in page)
        for name, known in page:
            if known is None:
                self._rows.add("it has no row of its own, or a damaged one", str(name))
            elif known.kek_uri is not None and known.kek_uri not in self._uris:
                self._own.add(f"its own KEK is {printable(known.kek_uri)}", name)
        for _, of_tenant in groupby(self._store.deks_of([name for name, _ in page]), key=lambda row: row.tenant):
            rows = list(of_tenant)
            deks = [row for row in rows if isinstance(row, DekRecord)]
            if len(deks) < len(rows):
                continue  # named already, and a damaged row would look like a gap
            for purpose, group in groupby(deks, key=lambda dek: dek.purpose):
                for dek, what in chain_problems(list(group)):
                    self._chains.add(f"{NAMES[purpose]}, version {dek.version}: {what}", dek)

    def checks(self) -> Iterator[Check]:
        """After all were seen."""
        yield self._rows.check(f"{self.tenants} tenants, {self.shredded} of them shredded", "tenants without a row as sealpoint writes it")
        yield self._own.check("none has a KEK of its own that the configuration does not name", "tenants have")
        yield self._chains.check("one active key each, the newest, and no version is missing", "keys that do not follow each other")


def every_dek(store: KeyLifecycle, seers: Iterable[Callable[[DekRecord | DamagedDek], None]], progress: Callable[[str], object]) -> None:
    """Shows every DEK to each. Raises: `store_*`."""
    after: bytes | None = None
    seen, seers = 0, tuple(seers)
    while page := list(store.page_deks(after, PAGE)):
        for row in page:
            for see in seers:
                see(row)
            seen += 1
            progress(f"{seen:,} keys")
        after = page[-1].dek_id


def every_tenant(
    store: KeyLifecycle, seers: Iterable[Callable[[Sequence[tuple[str, TenantRecord | None]]], None]], progress: Callable[[str], object]
) -> None:
    """Shows every page of tenants to each. Raises: `store_*`."""
    after: str | None = None
    seen, seers = 0, tuple(seers)
    while page := list(store.page_tenants(after, PAGE)):
        for see in seers:
            see(page)
        seen += len(page)
        progress(f"{seen:,} tenants")
        after = page[-1][0]
