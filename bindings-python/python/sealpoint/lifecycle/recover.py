"""Every DEK brought back by a recovery key, with all other KEKs lost, and put under those of the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from .._keks import can_hold_open_only, is_open_only, is_recovery
from .._loader import context_of
from ..errors import InvalidArgumentError, SealpointError
from ..kms import scheme_of
from ..stores import DekRecord, WrapChange
from ._jobs import Keys, Passes, Progress
from .reports import RecoveryReport
from .rotate import replace_active


def recover(keys: Keys, *, dry_run: bool, progress: Progress | None) -> RecoveryReport:
    """See `Keyring.recover`."""
    if not keys.keks.recovers:
        raise InvalidArgumentError(
            "invalid_argument", "recovering takes the secret half of a recovery key: OfflineRecoveryProvider(secret) in kek="
        )
    job = _Recovery(keys, dry_run, progress)
    for target in job.targets:
        if not can_hold_open_only(target):
            raise InvalidArgumentError(
                "invalid_argument",
                f"the {scheme_of(target.uri)} KEK does not both authenticate and bind the context: under it a recovered key could not be "
                "told from others (SPEC section 6.5); recover without it",
            )
    for target in () if dry_run else job.targets:
        keys.ensure_canary(target)
    keys.loader.require_keks()
    job.run()
    return RecoveryReport(
        dry_run,
        tuple(target.uri for target in job.targets),
        job.deks,
        job.recovered,
        job.activated,
        job.verified,
        job.passes,
        job.complete,
        job.failures.count,
        tuple(job.failures.listed),
    )


class _Recovery(Passes):
    """A DEK that no configured KEK opens gets an open-only wrap under each, and if it was active, a successor that seals."""

    def __init__(self, keys: Keys, dry_run: bool, progress: Progress | None) -> None:
        super().__init__(keys, dry_run, progress)
        self.targets = tuple(provider for provider in keys.keks.providers if not is_recovery(provider))
        self.recovered = self.activated = 0
        self._retired: list[DekRecord] = []

    def examine(self, record: DekRecord, *, verify: bool) -> Sequence[WrapChange]:
        """See `Passes`."""
        there = {wrap.kek_uri: wrap for wrap in record.wraps}
        own = [there[target.uri] for target in self.targets if target.uri in there]
        ordinary = any(not is_open_only(wrap) for wrap in own)
        missing = [] if ordinary else [target for target in self.targets if target.uri not in there]
        context, secret = context_of(record), None
        for wrap in own if verify or missing else ():  # a planted one is not replaced
            secret = self.keys.prove(record, (wrap,), context, authenticated=False)
            self.verified += 1
        changes = []
        if missing:
            secret = secret or self.keys.prove(record, record.wraps, context, authenticated=False)
            for target in missing:
                made = record.wraps[0] if self.dry_run else self.keys.keks.wrap_under(target, secret, context, open_only=True)
                changes.append(WrapChange(record.dek_id, made))
            self.recovered += not own
        if record.state == "active" and not ordinary:
            self._retired.append(record)
        return changes

    def store(self, changes: Sequence[WrapChange]) -> int:
        """See `Passes`. A DEK that only opens is retired after its wraps are stored: what is cut short between the two goes on here."""
        changed = super().store(changes)
        retired, self._retired = self._retired, []
        for record in retired:
            try:
                replaced = self.dry_run or replace_active(self.keys, record)[1]
            except SealpointError as error:
                self.failures.add(record, error)
            else:
                self.activated += replaced
                changed += replaced
        return changed
