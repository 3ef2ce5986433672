"""The keyring's methods for the life of keys. What they do is in the modules beside this one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TypeVar

from .._keks import Keks
from .._loader import Loader
from .._purposes import DekPurpose, checked_tenant
from ..errors import InvalidArgumentError
from ..stores import KeyLifecycle, KeyStore, now
from . import destroy, policy, recover, rewrap, rotate, status
from ._jobs import Keys, Progress
from .reports import (
    DropReport,
    RecoveryReport,
    ReplayReport,
    RewrapReport,
    Rotation,
    RotationReport,
    ShredReport,
    TenantStatus,
    Tombstone,
)

POLICY = timedelta(days=90)
MAX_PAGE = 1_000

_Result = TypeVar("_Result")


class Lifecycle:
    """The half of `Keyring` that changes keys instead of using them.

    Every method raises, beside what it says: `invalid_argument` (closed; a key store that lacks `KeyLifecycle`; an argument that is
    none), `store_*`. Those that meet a KEK: `kms_*`. An outage ends a job; run it again, and it goes on. What is wrong with one key does
    not: the report names it, and the key is left alone.
    """

    _store: KeyStore
    _keks: Keks
    _loader: Loader

    def rotate(self, tenant: str, *, dek_purpose: DekPurpose = "data", dry_run: bool = False) -> Rotation:
        """Makes a new active DEK, wrapped by every configured KEK, and retires the old one, in one transaction.

        The old one opens what it sealed, for as long as it is not destroyed. This process seals under the new one at once; others go on
        under the old one for up to 60 seconds, until they read the key store again. Nothing is lost by that. Of two rotations at the same
        moment one wins, and the other returns the winner's DEK. DEKs of other purposes stay: an index survives a rotation of data.

        Raises: `key_not_found` (no active DEK), `key_destroyed` (shredded), `authentication_failed`, `store_invalid` (the old one does
        not open, or is not the newest: somebody changed the key store).
        """
        return self._do(lambda keys: rotate.rotate(keys, checked_tenant(tenant), dek_purpose, dry_run=_flag(dry_run)))

    async def arotate(self, tenant: str, *, dek_purpose: DekPurpose = "data", dry_run: bool = False) -> Rotation:
        """See `rotate`."""
        return await self._ado(lambda keys: rotate.rotate(keys, checked_tenant(tenant), dek_purpose, dry_run=_flag(dry_run)))

    def rotate_all(
        self,
        *,
        dek_purpose: DekPurpose = "data",
        made_before: datetime | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> RotationReport:
        """Rotates for every tenant whose active DEK was made before this moment (now, unless given). See `rotate`.

        `made_before=datetime.now(UTC) - timedelta(days=90)` rotates what a policy of 90 days says is due. A job that was interrupted goes
        on when it is given the same moment again: what it has rotated is newer.
        """
        before = now() if made_before is None else _microseconds(made_before, "made_before=")
        return self._do(lambda keys: rotate.rotate_all(keys, dek_purpose, before, dry_run=_flag(dry_run), progress=progress))

    async def arotate_all(
        self,
        *,
        dek_purpose: DekPurpose = "data",
        made_before: datetime | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> RotationReport:
        """See `rotate_all`. `progress` is called in another thread."""
        before = now() if made_before is None else _microseconds(made_before, "made_before=")
        return await self._ado(lambda keys: rotate.rotate_all(keys, dek_purpose, before, dry_run=_flag(dry_run), progress=progress))

    def rewrap(self, from_uri: str, to_uri: str, *, dry_run: bool = False, progress: Progress | None = None) -> RewrapReport:
        """Gives every DEK that is not destroyed a wrap under the KEK `to_uri`, or, where both are the same, under its current version.

        No payload is touched and no wrap under another KEK removed (`drop_wraps`). Both KEKs are named in `kek=`. A DEK is opened through
        `from_uri`, or where it has no wrap under that, through another configured KEK; it is compared with its key check, and each new
        wrap is opened and compared before it is stored. The new KEK's canary is made first. Passes over all DEKs follow until one finds
        nothing to do; the last has opened every new wrap once more. Configure both KEKs in the whole fleet first: DEKs that others make
        with the old one alone, after the last pass, have no wrap under the new one.

        Killed and run again it goes on. dry_run: one pass that opens what it would wrap, and stores nothing.
        """
        return self._do(lambda keys: rewrap.rewrap(keys, from_uri, to_uri, dry_run=_flag(dry_run), progress=progress))

    async def arewrap(self, from_uri: str, to_uri: str, *, dry_run: bool = False, progress: Progress | None = None) -> RewrapReport:
        """See `rewrap`. `progress` is called in another thread."""
        return await self._ado(lambda keys: rewrap.rewrap(keys, from_uri, to_uri, dry_run=_flag(dry_run), progress=progress))

    def drop_wraps(self, from_uri: str, *, dry_run: bool = False, progress: Progress | None = None) -> DropReport:
        """Removes the wraps under a KEK that `kek=` does not name any more.

        Refused (`invalid_argument`, nothing is removed) until every DEK that has one also has a verified wrap under a configured KEK that
        authenticates, as old as the fleet's largest `cache_ttl` and 5 minutes. That wrap is opened once more before the old one goes.
        """
        return self._do(lambda keys: rewrap.drop_wraps(keys, from_uri, dry_run=_flag(dry_run), progress=progress))

    async def adrop_wraps(self, from_uri: str, *, dry_run: bool = False, progress: Progress | None = None) -> DropReport:
        """See `drop_wraps`. `progress` is called in another thread."""
        return await self._ado(lambda keys: rewrap.drop_wraps(keys, from_uri, dry_run=_flag(dry_run), progress=progress))

    def recover(self, *, dry_run: bool = False, progress: Progress | None = None) -> RecoveryReport:
        """With every other KEK lost: brings the DEKs back by the recovery key whose secret half `kek=` has, and puts them under its others.

        Each is compared with its key check, wrapped by every other KEK of `kek=`, and that wrap opened and compared before it is stored,
        and once more at the end. Anybody could have made what came back so: it opens what it sealed, under the new KEKs too, and nothing is
        sealed under it (SPEC section 6.5). So where such a DEK was active it is retired, and its tenant gets a new one, in one transaction.
        What does not open is listed and left alone. DEKs that a KEK of `kek=` opens are not touched.

        Refused (`invalid_argument`) without a secret half, and with a KEK that does not authenticate or does not bind the context. Killed
        and run again it goes on. dry_run: one pass that opens what it would wrap, and stores nothing.
        """
        return self._do(lambda keys: recover.recover(keys, dry_run=_flag(dry_run), progress=progress))

    async def arecover(self, *, dry_run: bool = False, progress: Progress | None = None) -> RecoveryReport:
        """See `recover`. `progress` is called in another thread."""
        return await self._ado(lambda keys: recover.recover(keys, dry_run=_flag(dry_run), progress=progress))

    def require_wraps(self, uris: Iterable[str]) -> None:
        """From now on no DEK is made, by anybody in the fleet, without a wrap under each of these KEKs; with none, the demand is gone.

        uris: of KEKs that `kek=` names, as it does. Who makes a DEK (`load`, sealing, `rotate`, `recover`) with a configuration that lacks
        one gets `invalid_argument`; opening is as before. DEKs from before: `rewrap`, and `status` shows which. Whoever writes the key
        store can take the demand away: it guards against a wrong configuration, and every KEK of `kek=` wraps each new DEK anyhow.

        Raises also: `store_invalid` (a key store of an older schema: run setup()).
        """
        named = tuple(uris)
        self._do(lambda keys: policy.require_wraps(keys, named))

    async def arequire_wraps(self, uris: Iterable[str]) -> None:
        """See `require_wraps`."""
        named = tuple(uris)
        await self._ado(lambda keys: policy.require_wraps(keys, named))

    def required_wraps(self) -> tuple[str, ...]:
        """What `require_wraps` was called with last."""
        return self._do(policy.required_wraps)

    async def arequired_wraps(self) -> tuple[str, ...]:
        """See `required_wraps`."""
        return await self._ado(policy.required_wraps)

    def schedule_destroy(self, dek_id: str) -> None:
        """`retired` to `pending_destroy`: what the DEK sealed does not open any more (`key_disabled`), elsewhere within the caches' TTL.

        dek_id: in hex. Refused (`invalid_argument`) until it has been retired for the fleet's largest `cache_ttl` and 5 minutes.
        """
        self._do(lambda keys: destroy.schedule_destroy(keys, dek_id))

    async def aschedule_destroy(self, dek_id: str) -> None:
        """See `schedule_destroy`."""
        await self._ado(lambda keys: destroy.schedule_destroy(keys, dek_id))

    def cancel_destroy(self, dek_id: str) -> None:
        """`pending_destroy` back to `retired`: it opens again."""
        self._do(lambda keys: destroy.cancel_destroy(keys, dek_id))

    async def acancel_destroy(self, dek_id: str) -> None:
        """See `cancel_destroy`."""
        await self._ado(lambda keys: destroy.cancel_destroy(keys, dek_id))

    def destroy(self, dek_id: str, *, scanned_at: datetime, confirm: str) -> str:
        """`pending_destroy` to `destroyed`: the wraps are gone, and so is everything that the DEK sealed.

        scanned_at: when a scan began that found nothing under this DEK in any database; refused (`confirmation_required`) if others may
        have sealed under it after that. confirm: the dek_id once more. Returns where copies of the wraps may still lie in the key store's
        own files; for what else may be left see `ShredReport.unreached`.
        """
        return self._do(lambda keys: destroy.destroy(keys, dek_id, scanned_at=scanned_at, confirm=confirm))

    async def adestroy(self, dek_id: str, *, scanned_at: datetime, confirm: str) -> str:
        """See `destroy`."""
        return await self._ado(lambda keys: destroy.destroy(keys, dek_id, scanned_at=scanned_at, confirm=confirm))

    def shred(self, tenant: str, *, confirm: str | None = None, dry_run: bool = False) -> ShredReport:
        """Erases a tenant: in one transaction its tombstone is set, all its DEKs of every purpose are destroyed, and their wraps deleted.

        At once and without a waiting time. This process forgets the opened DEKs now, others within the caches' TTL. Until `readmit` no DEK
        is made for the tenant. The report says what could not be reached: keep it, to replay it after a restore. A tenant that the key
        store does not know gets its tombstone all the same. Run again it finishes what was interrupted.

        confirm: the tenant once more, or `confirmation_required`.
        """
        return self._do(lambda keys: destroy.shred(keys, checked_tenant(tenant), confirm=confirm, dry_run=_flag(dry_run)))

    async def ashred(self, tenant: str, *, confirm: str | None = None, dry_run: bool = False) -> ShredReport:
        """See `shred`."""
        return await self._ado(lambda keys: destroy.shred(keys, checked_tenant(tenant), confirm=confirm, dry_run=_flag(dry_run)))

    def tombstones(self) -> tuple[Tombstone, ...]:
        """All tombstones: what to keep outside of the key store's backups."""
        return self._do(destroy.tombstones)

    async def atombstones(self) -> tuple[Tombstone, ...]:
        """See `tombstones`."""
        return await self._ado(destroy.tombstones)

    def replay_tombstones(
        self, tombstones: Iterable[Tombstone], *, dry_run: bool = False, progress: Progress | None = None
    ) -> ReplayReport:
        """Shreds these tenants again, after the key store was restored from a backup. A tenant with DEKs from after its tombstone was
        readmitted: it is reported, and left alone."""
        return self._do(lambda keys: destroy.replay(keys, tombstones, dry_run=_flag(dry_run), progress=progress))

    async def areplay_tombstones(
        self, tombstones: Iterable[Tombstone], *, dry_run: bool = False, progress: Progress | None = None
    ) -> ReplayReport:
        """See `replay_tombstones`. `progress` is called in another thread."""
        return await self._ado(lambda keys: destroy.replay(keys, tombstones, dry_run=_flag(dry_run), progress=progress))

    def readmit(self, tenant: str) -> bool:
        """Takes a tenant's tombstone away, so that sealing makes it a new DEK. What was shredded stays so. Whether there was one."""
        return self._do(lambda keys: keys.store.readmit_tenant(checked_tenant(tenant)))

    async def areadmit(self, tenant: str) -> bool:
        """See `readmit`."""
        return await self._ado(lambda keys: keys.store.readmit_tenant(checked_tenant(tenant)))

    def status(
        self, tenant: str | None = None, *, policy: timedelta = POLICY, after: str | None = None, limit: int = 100
    ) -> tuple[TenantStatus, ...]:
        """What keys a tenant has, or each tenant, and what is due when active DEKs may be no older than `policy`. Opens nothing.

        Without a tenant, a page: at most `limit` tenants, bytewise after `after` (the last one of the page before). Raises:
        `key_not_found` (the key store does not know the tenant).
        """
        checked = _status_arguments(tenant, policy, after, limit)
        return self._do(lambda keys: status.status(keys, *checked))

    async def astatus(
        self, tenant: str | None = None, *, policy: timedelta = POLICY, after: str | None = None, limit: int = 100
    ) -> tuple[TenantStatus, ...]:
        """See `status`."""
        checked = _status_arguments(tenant, policy, after, limit)
        return await self._ado(lambda keys: status.status(keys, *checked))

    def _require_open(self) -> None:
        raise NotImplementedError

    def _require_blocking(self) -> None:
        raise NotImplementedError

    def _do(self, work: Callable[[Keys], _Result]) -> _Result:
        self._require_blocking()
        return work(self._keys())

    async def _ado(self, work: Callable[[Keys], _Result]) -> _Result:
        self._require_open()
        keys = self._keys()
        return await asyncio.to_thread(work, keys)

    def _keys(self) -> Keys:
        if not isinstance(self._store, KeyLifecycle):
            raise InvalidArgumentError(
                "invalid_argument",
                f"the key store {type(self._store).__name__} can load keys but not change them: it lacks methods of "
                "sealpoint.stores.KeyLifecycle",
            )
        return Keys(self._store, self._keks, self._loader)


def _status_arguments(tenant: object, policy: object, after: object, limit: object) -> tuple[str | None, int, str | None, int]:
    if not isinstance(policy, timedelta) or policy <= timedelta(0):
        raise InvalidArgumentError("invalid_argument", "policy= is a timedelta of more than nothing: the age at which a key is due")
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise InvalidArgumentError("invalid_argument", f"limit= is a number from 1 to {MAX_PAGE}")
    checked = None if tenant is None else checked_tenant(tenant)
    return checked, policy // timedelta(microseconds=1), None if after is None else checked_tenant(after), limit


def _microseconds(when: object, name: str) -> int:
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise InvalidArgumentError("invalid_argument", f"{name} is a datetime with a time zone")
    return round(when.timestamp() * 1_000_000)


def _flag(dry_run: object) -> bool:
    if not isinstance(dry_run, bool):
        raise InvalidArgumentError("invalid_argument", "dry_run is True or False")
    return dry_run
