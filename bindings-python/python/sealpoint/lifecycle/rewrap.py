"""Every DEK under another KEK, or under the current version of its own; and the old KEK's wraps removed, later, by a step of its own."""

from __future__ import annotations

from .._keks import Keks
from .._loader import context_of
from .._native import canary_context, canary_secret
from ..errors import AuthenticationError, InvalidArgumentError, KeyUnusableError, SealpointError, StoreError
from ..kms import KeyManagementProvider
from ..stores import DamagedDek, DekRecord, KeyLifecycle, WrapChange, WrapDrop, WrapRecord, now
from ._jobs import SET_BACK, Failures, Keys, Progress
from .reports import DropReport, RewrapReport, at

MAX_PASSES = 10


def rewrap(keys: Keys, from_uri: str, to_uri: str, *, dry_run: bool, progress: Progress | None) -> RewrapReport:
    """See `Keyring.rewrap`."""
    source, target = keys.keks.named(from_uri), keys.keks.named(to_uri)
    from_uri, to_uri = source.uri, target.uri
    if not source.capabilities.authenticates:
        raise InvalidArgumentError(
            "invalid_argument", "wraps of the KEK to rewrap from can be made by anyone: name one whose wraps authenticate"
        )
    version = keys.keks.wrap_under(target, canary_secret(to_uri), canary_context(to_uri)).kek_version
    if from_uri == to_uri and not version:
        raise InvalidArgumentError(
            "invalid_argument",
            "this KEK does not tell its versions, so what is done could not be told from what is not: rewrap to another KEK",
        )
    if not dry_run and target.capabilities.can_unwrap:
        _ensure_canary(keys.store, keys.keks, target)
    job = _Rewrap(keys, from_uri, target, version, dry_run, progress)
    wrapped = last = job.run_pass(verify=False)
    passes = 1
    while not dry_run and passes < MAX_PASSES and (last or passes == 1):
        last = job.run_pass(verify=True)
        wrapped += last
        passes += 1
    complete = not dry_run and last == 0 and job.failures.count == 0
    return RewrapReport(
        dry_run,
        from_uri,
        to_uri,
        version,
        job.deks,
        wrapped,
        job.verified,
        passes,
        complete,
        job.failures.count,
        tuple(job.failures.listed),
    )


class _Rewrap:
    """Passes over all DEKs. What is done is recognised from the rows: so the first pass goes on where a killed job stopped, and the last
    one, which finds nothing to do, has opened every new wrap once more and seen the DEKs that others made meanwhile."""

    def __init__(
        self, keys: Keys, from_uri: str, target: KeyManagementProvider, version: str, dry_run: bool, progress: Progress | None
    ) -> None:
        self._keys, self._from, self._target, self._version = keys, from_uri, target, version
        self._dry_run, self._progress = dry_run, progress

    def run_pass(self, *, verify: bool) -> int:
        """How many wraps it stored, or in a dry run would store."""
        self.deks = self.verified = stored = 0
        self.failures = Failures()
        for page in self._keys.deks():
            changes = [change for row in page if (change := self._examine(row, verify)) is not None]
            stored += len(changes) if self._dry_run else self._keys.store.put_wraps(changes) if changes else 0
            if self._progress is not None:
                self._progress(self.deks)
        return stored

    def _examine(self, row: DekRecord | DamagedDek, verify: bool) -> WrapChange | None:
        if isinstance(row, DamagedDek):
            self.deks += 1
            self.failures.damaged(row)
            return None
        try:
            if row.state == "destroyed":
                _require_gone(row)
                return None
            self.deks += 1
            return self._change(row, verify)
        except SealpointError as error:
            self.failures.add(row, error)
            return None

    def _change(self, record: DekRecord, verify: bool) -> WrapChange | None:
        if record.shredded_at is not None:
            raise KeyUnusableError("key_destroyed", f"the tenant was shredded, but this key is not destroyed: {SET_BACK}")
        there = {wrap.kek_uri: wrap for wrap in record.wraps}
        old = there.get(self._target.uri)
        done = old is not None and old.kek_version == self._version
        if done and not verify:
            return None
        context = context_of(record)
        if old is not None and self._target.capabilities.can_unwrap:  # a planted one is not replaced
            self._keys.prove(record, (old,), context, authenticated=False)
            self.verified += done
        if done:
            return None
        through = (there[self._from],) if self._from in there else record.wraps
        secret = self._keys.prove(record, through, context)
        if self._dry_run:
            return WrapChange(record.dek_id, through[0])
        wrap = self._keys.keks.wrap_under(self._target, secret, context)
        return WrapChange(record.dek_id, wrap, old.wrapped if old else None)


def drop_wraps(keys: Keys, from_uri: str, *, dry_run: bool, progress: Progress | None) -> DropReport:
    """See `Keyring.drop_wraps`."""
    if any(provider.uri == from_uri for provider in keys.keks.providers):
        raise InvalidArgumentError(
            "invalid_argument",
            "this keyring still wraps new keys by that KEK: take it out of kek=, here and everywhere, before its wraps are dropped",
        )
    wait = keys.wait_us()
    _require_replaced(keys, from_uri, wait)
    failures, dropped, seen = Failures(), 0, 0
    for page in keys.deks():
        drops = []
        for row in page:
            if isinstance(row, DamagedDek) or row.state == "destroyed":
                continue
            old = next((wrap for wrap in row.wraps if wrap.kek_uri == from_uri), None)
            kept = _kept(keys.keks, row, wait)
            try:
                if old is None:
                    continue
                if kept is None:
                    raise AuthenticationError("authentication_failed", "it was changed while this ran, and keeps the wrap")
                keys.prove(row, (kept,))
                drops.append(WrapDrop(row.dek_id, old, kept))
            except SealpointError as error:
                failures.add(row, error)
        dropped += len(drops) if dry_run else keys.store.drop_wraps(drops) if drops else 0
        seen += len(page)
        if progress is not None:
            progress(seen)
    left_behind = "" if dry_run else keys.store.scrub()
    return DropReport(dry_run, from_uri, dropped, left_behind, failures.count, tuple(failures.listed))


def _require_replaced(keys: Keys, from_uri: str, wait: int) -> None:
    """Before the first wrap goes, all could go. Raises: `invalid_argument`."""
    without, ready_at = 0, 0
    for page in keys.deks():
        for row in page:
            if isinstance(row, DamagedDek):
                without += 1
            elif row.state != "destroyed" and any(wrap.kek_uri == from_uri for wrap in row.wraps):
                kept = _kept(keys.keks, row, 0)
                without += kept is None
                ready_at = max(ready_at, kept.verified_at + wait if kept and kept.verified_at else 0)
    if without:
        raise InvalidArgumentError(
            "invalid_argument",
            f"{without} keys have no verified wrap under a KEK of this configuration that authenticates: rewrap first, and see to what it "
            "reports; nothing was dropped",
        )
    if ready_at > now():
        raise InvalidArgumentError(
            "invalid_argument",
            f"the newest wrap has to be as old as the fleet's largest cache_ttl and {wait // 1_000_000} seconds in all: not before "
            f"{at(ready_at).isoformat(timespec='seconds')}; nothing was dropped",
        )


def _kept(keks: Keks, record: DekRecord, wait: int) -> WrapRecord | None:
    """The wrap that a DEK could go on with: the one that was verified first, at least `wait` microseconds ago."""
    reliable = {provider.uri for provider in keks.providers if provider.capabilities.authenticates}
    verified = [wrap for wrap in record.wraps if wrap.kek_uri in reliable and wrap.verified_at is not None]
    oldest = min(verified, key=lambda wrap: wrap.verified_at or 0, default=None)
    return oldest if oldest and oldest.verified_at is not None and oldest.verified_at + wait <= now() else None


def _require_gone(record: DekRecord) -> None:
    if record.wraps:
        raise StoreError("store_invalid", f"it is destroyed and has wraps: {SET_BACK}")


def _ensure_canary(store: KeyLifecycle, keks: Keks, provider: KeyManagementProvider) -> None:
    """The first thing under a new KEK, so that a wrong one shows before anything depends on it."""
    if provider.uri not in store.canaries():
        store.add_canary(provider.uri, keks.make_canary(provider))
    keks.check_canary(provider, store.canaries()[provider.uri])
