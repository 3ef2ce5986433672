"""`doctor`: is this configuration, this key store and this machine sound? It changes nothing.

report = doctor("sqlite:///keys.db", ["env:SEALPOINT_KEK"])
assert report.sound, report.to_text()
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .._keks import KekConfig, Keks
from ..errors import SealpointError, StoreError
from ..keyring import DEFAULT_CACHE_TTL_S, MAX_CACHE_TTL_S
from ..lifecycle._jobs import SKEW_S
from ..stores import NOT_SET_UP, POINTER_TTL_S, KeyLifecycle, KeyStore, StoreSettings, store_from
from . import _baseline, _databases, _machine
from ._rows import Opening, Rows, Tenants, every_dek, every_tenant
from ._state import State
from .report import Check, Found, Report

__all__ = ["Check", "Found", "Report", "doctor"]


def doctor(
    store: str | KeyStore,
    kek: KekConfig,
    *,
    cache_ttl: float = DEFAULT_CACHE_TTL_S,
    role: str | None = None,
    open_keys: bool = False,
    baseline: str | os.PathLike[str] | None = None,
    write_baseline: str | os.PathLike[str] | None = None,
    state: str | None = None,
    schemas: Sequence[str] = (),
    progress: Callable[[str], object] = lambda _: None,
) -> Report:
    """Looks at everything that it can reach; what cannot be reached is a problem in the report, and does not end it.

    Args:
        store, kek: as `Keyring.connect` takes them. Each KEK wraps and opens a canary that is kept nowhere, and opens its own.
        cache_ttl: seconds, as the fleet has it.
        role: Postgres: the application's role, whose privileges are judged; None: the one that connects.
        open_keys: whether every DEK is unwrapped under each of its KEKs, and compared with its key check.
        baseline: a file that `write_baseline` wrote earlier, to compare the key store with.
        write_baseline: where to write a new one (mode 600, in place of what is there); not done if the key store differs from `baseline`.
        state: a LangGraph database, as `sealpoint.scan.scan` takes it, whose envelopes are compared with the key store.
        schemas: Postgres: the schemas of `state` to read; none: all.
        progress: is told what is being looked at.

    Raises: `invalid_argument` (no key store, no baseline), `missing_dependency` (of the key store).
    """
    asked = _Asked(cache_ttl, role, open_keys, baseline, write_baseline, state, tuple(schemas), progress)
    return _Examination(store_from(store), kek, asked).run()


@dataclass(frozen=True)
class _Asked:
    """As `doctor` takes them."""

    cache_ttl: float
    role: str | None
    open_keys: bool
    baseline: str | os.PathLike[str] | None
    write_baseline: str | os.PathLike[str] | None
    state: str | None
    schemas: Sequence[str]
    progress: Callable[[str], object]


class _Examination:
    def __init__(self, store: KeyStore, kek: KekConfig, asked: _Asked) -> None:
        self._store, self._asked = store, asked
        self._configured: list[Any] = list(kek) if isinstance(kek, (list, tuple)) else [kek]

    def run(self) -> Report:
        before = None if self._asked.baseline is None else _baseline.read(self._asked.baseline)
        self._asked.progress("KEKs")
        made, unmade = _machine.providers(self._configured)
        settings, canaries, store = self._settings()
        keks, kek_checks = _machine.keks(made, None if settings is None else canaries)
        checks = [_machine.package(), *unmade, *_machine.sources(made, _databases.folder(self._store)), *kek_checks, *store]
        if settings is not None:
            checks += self._attempted("store", _databases.database(self._store, self._asked.role))
            comparison = None if before is None else _baseline.Comparison(before, settings, canaries)
            checks += self._attempted("keys", self._keys(settings, keks, comparison, _baseline.Baseline(settings, canaries)))
        return Report(tuple(checks), {kek.uri: kek.calls for kek in made})

    def _settings(self) -> tuple[StoreSettings | None, dict[str, bytes], list[Check]]:
        try:
            settings = self._store.settings()
            if settings is None:
                raise StoreError("store_invalid", NOT_SET_UP)
            canaries = dict(self._store.canaries())
        except SealpointError as error:
            return None, {}, [_failed("store", error)]
        seen = Check("store", "ok", f"{type(self._store).__name__}, schema version {settings.schema_version}")
        return settings, canaries, [seen, _ttl(settings, self._asked.cache_ttl)]

    def _keys(
        self, settings: StoreSettings, keks: Keks | None, comparison: _baseline.Comparison | None, new: _baseline.Baseline
    ) -> Iterator[Check]:
        """State before keys: a key that was made meanwhile is then known. Raises: `store_*`."""
        store, asked = self._store, self._asked
        if not isinstance(store, KeyLifecycle):
            raise StoreError("store_invalid", f"{type(store).__name__} lists no keys: it lacks methods of sealpoint.stores.KeyLifecycle")
        envelopes = None if asked.state is None else State((max(settings.max_ttl, POINTER_TTL_S) + SKEW_S) * 1_000_000)
        if envelopes is not None and asked.state is not None:
            try:
                envelopes.read(asked.state, asked.schemas, asked.progress)
            except SealpointError as error:
                yield _failed("state", error)
                envelopes = None
        rows, tenants = Rows(keks, settings.required_keks), Tenants(store, keks)
        opening = Opening(keks) if keks and asked.open_keys else None
        baselines = [one for one in (comparison, new if asked.write_baseline is not None else None) if one is not None]
        every_dek(store, [one.see for one in (rows, opening, envelopes, *baselines) if one is not None], asked.progress)
        every_tenant(store, [one.see_tenants for one in (tenants, *baselines)], asked.progress)
        yield from tenants.checks()
        yield from rows.checks()
        if opening is not None:
            yield from opening.checks()
        if envelopes is not None:
            yield from envelopes.checks()
        compared = [comparison.check()] if comparison is not None else []
        yield from compared
        if asked.write_baseline is not None:
            yield _write(new, asked.write_baseline, differs=any(check.count for check in compared))

    def _attempted(self, name: str, checks: Iterator[Check]) -> list[Check]:
        """Those that there are until one of the key store's calls fails."""
        done: list[Check] = []
        try:
            for check in checks:
                done.append(check)
        except SealpointError as error:
            done.append(_failed(name, error))
        return done


def _ttl(settings: StoreSettings, cache_ttl: float) -> Check:
    if not DEFAULT_CACHE_TTL_S <= settings.max_ttl <= MAX_CACHE_TTL_S:
        return Check(
            "settings",
            "problem",
            f"max_ttl is {settings.max_ttl} seconds: setup() writes {DEFAULT_CACHE_TTL_S} to {MAX_CACHE_TTL_S}",
            "somebody changed it: waiting times before keys are destroyed depend on it",
        )
    if cache_ttl > settings.max_ttl:
        seen = f"cache_ttl of {cache_ttl:g} seconds is more than the {settings.max_ttl} that the key store allows"
        return Check("settings", "problem", seen, "lower cache_ttl (--cache-ttl), or connecting is refused")
    return Check("settings", "ok", f"max_ttl is {settings.max_ttl} seconds, cache_ttl at most {cache_ttl:g}")


def _write(new: _baseline.Baseline, path: str | os.PathLike[str], *, differs: bool) -> Check:
    if differs:
        return Check("new baseline", "problem", "not written: the key store differs from the old one", "see to that first")
    try:
        new.write(path)
    except SealpointError as error:
        return _failed("new baseline", error)
    return Check("new baseline", "ok", f"written: {len(new.deks)} keys, {len(new.tenants)} tenants")


def _failed(name: str, error: SealpointError) -> Check:
    remedy = "run it again when it can be reached" if error.retryable else ""
    return Check(name, "problem", f"{error.code}: {error}", remedy)
