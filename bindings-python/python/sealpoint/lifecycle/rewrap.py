"""Every DEK under another KEK, or under the current version of its own; and the old KEK's wraps removed, later, by a step of its own."""

from __future__ import annotations

from collections.abc import Sequence

from .._keks import Keks, is_open_only
from .._loader import context_of
from .._native import canary_context, canary_secret
from ..errors import AuthenticationError, InvalidArgumentError, SealpointError
from ..kms import KeyManagementProvider
from ..stores import DamagedDek, DekRecord, WrapChange, WrapDrop, WrapRecord, now
from ._jobs import Failures, Keys, Passes, Progress
from .reports import DropReport, RewrapReport, at


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
        keys.ensure_canary(target)
    job = _Rewrap(keys, from_uri, target, version, dry_run, progress)
    job.run()
    return RewrapReport(
        dry_run,
        from_uri,
        to_uri,
        version,
        job.deks,
        job.done,
        job.verified,
        job.passes,
        job.complete,
        job.failures.count,
        tuple(job.failures.listed),
    )


class _Rewrap(Passes):
    """Every DEK under the current version of one KEK."""

    def __init__(
        self, keys: Keys, from_uri: str, target: KeyManagementProvider, version: str, dry_run: bool, progress: Progress | None
    ) -> None:
        super().__init__(keys, dry_run, progress)
        self._from, self._target, self._version = from_uri, target, version
        self._authenticating = {provider.uri for provider in keys.keks.providers if provider.capabilities.authenticates}

    def examine(self, record: DekRecord, *, verify: bool) -> Sequence[WrapChange]:
        """See `Passes`."""
        there = {wrap.kek_uri: wrap for wrap in record.wraps}
        old = there.get(self._target.uri)
        done = old is not None and old.kek_version == self._version
        if done and not verify:
            return ()
        context = context_of(record)
        if old is not None and self._target.capabilities.can_unwrap:  # a planted one is not replaced
            self.keys.prove(record, (old,), context, authenticated=False)
            self.verified += done
        if done:
            return ()
        source = there.get(self._from)
        reliable = tuple(wrap for wrap in record.wraps if wrap.kek_uri in self._authenticating)
        through = (source,) if source is not None and not is_open_only(source) else reliable
        ordinary = tuple(wrap for wrap in through if not is_open_only(wrap))
        secret = self.keys.prove(record, ordinary or through, context, authenticated=bool(ordinary))
        if self.dry_run:
            return (WrapChange(record.dek_id, through[0]),)
        open_only = not ordinary and self._target.capabilities.authenticates  # what opens only stays so (SPEC section 6.5)
        wrap = self.keys.keks.wrap_under(self._target, secret, context, open_only=open_only)
        return (WrapChange(record.dek_id, wrap, old.wrapped if old else None),)


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
                keys.prove(row, (kept,), authenticated=not is_open_only(kept))
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
    """The wrap that a DEK could go on with: the one that was verified first, at least `wait` microseconds ago. An open-only one does for
    a DEK that is not active, if it has no other."""
    reliable = {provider.uri for provider in keks.providers if provider.capabilities.authenticates}
    verified = [
        wrap
        for wrap in record.wraps
        if wrap.kek_uri in reliable and wrap.verified_at is not None and not (record.state == "active" and is_open_only(wrap))
    ]
    oldest = min(verified, key=lambda wrap: (is_open_only(wrap), wrap.verified_at or 0), default=None)
    return oldest if oldest and oldest.verified_at is not None and oldest.verified_at + wait <= now() else None
