"""Somebody writes the key store, and holds no KEK. Each row that they plant is refused or found, or the table says that it is neither.

Four tenants: TENANT with a retired key v1, an active v2 and a client key; OTHER_TENANT; FOURTH, whom nobody attacks; and SHREDDED. Every
key is wrapped by two KEKs: `fake:one`, and `fake:public`, for which anyone can make wraps. What a case does not name must be as before:
every envelope opens, but SHREDDED's, and every tenant seals under the key that was active. What jobs make of planted rows is in
`test_rotate.py`, `test_rewrap.py`, `test_destroy.py` and `test_status.py`, what an export does in `test_client_keys.py`.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import (
    KEK_TEXT,
    OTHER_KEK_TEXT,
    OTHER_TENANT,
    PLAINTEXT,
    TENANT,
    FakeKms,
    lift_constraints,
    query,
    ready,
    refused,
)

from sealpoint import Context, DataKey, Keyring, SealpointError, SecretKey
from sealpoint._native import LocalKek, envelope_dek_id, wrap_context
from sealpoint.doctor import doctor

FOURTH, SHREDDED = "nobody-attacks", "was-shredded"
ATTACKERS_KEK = base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


@dataclass
class Scene:
    """A key store with its genuine rows, and the attacker's hands."""

    url: str
    one: FakeKms = field(default_factory=FakeKms)
    public: FakeKms = field(default_factory=lambda: FakeKms("fake:public", OTHER_KEK_TEXT, authenticates=False))
    sealed: dict[str, tuple[bytes, Context]] = field(default_factory=dict)
    ids: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with ready(self.url, [self.one, self.public]) as keyring:
            self._seal(keyring, "shredded", SHREDDED)
            self._seal(keyring, "v1", TENANT)
            keyring.rotate(TENANT)
            for name, tenant in (("v2", TENANT), ("other", OTHER_TENANT), ("fourth", FOURTH)):
                self._seal(keyring, name, tenant)
            self._seal(keyring, "client", TENANT, "client")
            self.kept = query(self.url, "SELECT * FROM sealpoint_wraps WHERE dek_id = ?", self.ids["shredded"])
            keyring.shred(SHREDDED, confirm=SHREDDED)
        self.ids["nobody"] = bytes(16)
        lift_constraints(self.url)
        assert self.doctor(write_baseline="before") == set()

    def _seal(self, keyring: Keyring, name: str, tenant: str, purpose: Any = "data") -> None:
        context = Context(tenant=tenant, purpose="field", document="u-42")
        self.sealed[name] = keyring.seal(PLAINTEXT, context, dek_purpose=purpose), context
        self.ids[name] = envelope_dek_id(self.sealed[name][0])

    def run(self, sql: str, *parameters: object) -> None:
        """Statements. Tables are named without their prefix; `{v1}` and the like stand for dek_ids, `{tenant}` and the like for tenants."""
        form = "x'{}'" if self.url.startswith("sqlite") else "'\\x{}'::bytea"
        names = {name: form.format(dek_id.hex()) for name, dek_id in self.ids.items()}
        names |= {"tenant": f"'{TENANT}'", "other_tenant": f"'{OTHER_TENANT}'", "shredded_tenant": f"'{SHREDDED}'"}
        for statement in re.sub(r"\b(deks|wraps|tenants|canaries|settings)\b", r"sealpoint_\1", sql).split(";"):
            query(self.url, statement.format(**names), *parameters)

    def doctor(self, **options: Any) -> set[str]:
        """The checks that are not ok, with a `?` if they only warn; but for that tests are superusers."""
        report = doctor(self.url, [self.one, self.public], open_keys=True, **options)
        bad = [one for one in report.checks if one.verdict != "ok" and "is a superuser" not in one.seen]
        return {one.name + ("?" if one.verdict == "warning" else "") for one in bad}

    def open(self, keyring: Keyring, name: str) -> str:
        """How opening an envelope ends."""
        try:
            assert keyring.open(*self.sealed[name], dek_purpose="client" if name == "client" else "data") == PLAINTEXT
        except SealpointError as error:
            return error.code
        return "opens"

    def seals(self, keyring: Keyring) -> dict[str, str]:
        """Under which key each tenant seals now, or how that is refused."""
        known = {dek_id: name for name, dek_id in self.ids.items()}
        ended = {}
        for tenant in (TENANT, OTHER_TENANT, FOURTH, SHREDDED):
            try:
                sealed = keyring.seal(PLAINTEXT, Context(tenant=tenant, purpose="field"))
                ended[tenant] = known.get(envelope_dek_id(sealed), "a new key")
            except SealpointError as error:
                ended[tenant] = error.code
        return ended

    def plant(self, make: Callable[[SecretKey, Context], tuple[str, bytes]]) -> None:
        """The attacker's own key becomes TENANT's active one, as a rotation would leave the rows. make: its kek_uri and wrap."""
        key, secret = DataKey.generate(tenant=TENANT, dek_purpose=1, version=3)
        uri, wrapped = make(secret, wrap_context(tenant=TENANT, dek_id=key.dek_id, dek_purpose=1, suite=key.suite))
        ((now,),) = query(self.url, "SELECT created_at + 1000 FROM sealpoint_deks WHERE dek_id = ?", self.ids["v2"])
        retire = "UPDATE deks SET state = 'retired', retired_at = ?, rotated_by = ? WHERE dek_id = {v2}"
        self.run(retire, now, key.dek_id.hex())
        row = "INSERT INTO sealpoint_deks VALUES (?, ?, 1, 1, 3, 'active', ?, ?, NULL, NULL, NULL)"
        query(self.url, row, key.dek_id, TENANT, key.key_check, now)
        query(self.url, "INSERT INTO sealpoint_wraps VALUES (?, ?, '', 'fake', ?, ?, ?)", key.dek_id, uri, wrapped, now, now)
        self.ids["planted"] = key.dek_id
        context = Context(tenant=TENANT, purpose="field", document="u-42")
        self.sealed["planted"] = key.seal(PLAINTEXT, context), context


@dataclass(frozen=True)
class Case:
    """What is planted, and what comes of it."""

    name: str
    plant: str | Callable[[Scene], None]
    opens: Mapping[str, str] = field(default_factory=dict)
    """Envelopes that do not open, and the code."""
    seals: str = "v2"
    """The key that TENANT seals under, or the code."""
    others: Mapping[str, str] = field(default_factory=dict)
    """The same for other tenants, where it is not as before."""
    found: tuple[str, ...] = ()
    """The checks of `doctor --open --baseline` that name it, with a `?` if they only warn. Empty: nothing does."""
    unasked: bool = False
    """Whether it is refused before any KEK is asked."""


def _his_kek(uri: str) -> Callable[[SecretKey, Context], tuple[str, bytes]]:
    return lambda secret, context: (uri, LocalKek.parse(ATTACKERS_KEK).wrap(secret, context))


def _his_file(scene: Scene) -> None:
    """A KEK of his that can be read here: if a row's kek_uri were followed, it would open."""
    Path("his-kek").write_text(ATTACKERS_KEK)
    Path("his-kek").chmod(0o600)
    scene.plant(_his_kek(f"file:{Path('his-kek').absolute()}"))


def _minted(scene: Scene) -> None:
    scene.plant(lambda secret, context: ("fake:public", scene.public.wrap(secret, context).wrapped))


def _another_key(scene: Scene) -> None:
    """Even who can wrap under the KEK cannot put another key behind a dek_id."""
    context = wrap_context(tenant=TENANT, dek_id=scene.ids["v2"], dek_purpose=1, suite=1)
    wrapped = LocalKek.parse(KEK_TEXT).wrap(SecretKey.generate(), context)
    scene.run("UPDATE wraps SET wrapped = ? WHERE dek_id = {v2} AND kek_uri = 'fake:one'", wrapped)


def _restore(scene: Scene, tombstone: str) -> None:
    """All of a shredded tenant's rows, as a backup has them."""
    scene.run(f"UPDATE tenants SET shredded_at = {tombstone} WHERE tenant = {{shredded_tenant}}")
    scene.run("UPDATE deks SET state = 'active', destroyed_at = NULL WHERE tenant = {shredded_tenant}")
    for row in scene.kept:
        scene.run("INSERT INTO wraps VALUES (?, ?, ?, ?, ?, ?, ?)", *row)


FAILED = "authentication_failed"
SWAP = (
    "UPDATE wraps SET dek_id = {{nobody}} WHERE dek_id = {{{0}}}; UPDATE wraps SET dek_id = {{{0}}} WHERE dek_id = {{{1}}}; "
    "UPDATE wraps SET dek_id = {{{1}}} WHERE dek_id = {{nobody}}"
)

CASES = [
    # wraps
    Case(
        "the wraps name a KEK that nobody configured",
        "DELETE FROM wraps WHERE dek_id = {v2} AND kek_uri = 'fake:public'; UPDATE wraps SET kek_uri = 'attacker:kek' WHERE dek_id = {v2}",
        {"v2": "key_not_found"},
        "key_not_found",
        found=("keys openable", "keys other keks?", "keys redundancy?"),
        unasked=True,
    ),
    Case(
        "another tenant's wraps",
        "DELETE FROM wraps WHERE dek_id = {v2}; UPDATE wraps SET dek_id = {v2} WHERE dek_id = {other}",
        {"v2": FAILED, "other": "key_not_found"},
        FAILED,
        {OTHER_TENANT: "key_not_found"},
        found=("keys states", "keys opened", "keys redundancy?"),
    ),
    Case(
        "the wraps of two keys of one tenant are swapped",
        SWAP.format("v1", "v2"),
        {"v1": FAILED, "v2": FAILED},
        FAILED,
        found=("keys opened",),
    ),
    Case(
        "the wraps of a data and a client key are swapped",
        SWAP.format("v2", "client"),
        {"v2": FAILED, "client": FAILED},
        FAILED,
        found=("keys opened",),
    ),
    Case("a genuine wrap of another key", _another_key, {"v2": FAILED}, FAILED, found=("keys opened",)),
    Case(
        "a useless wrap under the KEK that is not asked first",
        "UPDATE wraps SET wrapped = (SELECT wrapped FROM canaries WHERE kek_uri = 'fake:public') "
        "WHERE kek_uri = 'fake:public' AND dek_id = {v2}",
        found=("keys opened",),
    ),
    Case("the second wrap is gone", "DELETE FROM wraps WHERE kek_uri = 'fake:public' AND dek_id = {v2}", found=("keys redundancy?",)),
    Case(
        "the wrap that authenticates is gone",
        "DELETE FROM wraps WHERE kek_uri = 'fake:one' AND dek_id = {v2}",
        seals="key_not_found",
        found=("keys sealing", "keys redundancy?"),
    ),
    Case(
        "all wraps are gone",
        "DELETE FROM wraps WHERE dek_id = {v2}",
        {"v2": "key_not_found"},
        "key_not_found",
        found=("keys states", "keys redundancy?"),
        unasked=True,
    ),
    Case("a wrap is said to have been verified long ago", "UPDATE wraps SET verified_at = 1", found=("keys states",)),
    Case(
        "a wrap is said to be as old as its key",
        "UPDATE wraps SET verified_at = (SELECT created_at FROM deks WHERE deks.dek_id = wraps.dek_id)",
    ),
    # a key of the attacker's own
    Case(
        "his own key under a KEK of his",
        lambda scene: scene.plant(_his_kek("attacker:kek")),
        {"planted": "key_not_found"},
        "key_not_found",
        found=("keys openable", "keys other keks?", "keys redundancy?"),
        unasked=True,
    ),
    Case(
        "his own key under a KEK of his that a kek_uri leads to",
        _his_file,
        {"planted": "key_not_found"},
        "key_not_found",
        found=("keys openable", "keys other keks?", "keys redundancy?"),
        unasked=True,
    ),
    Case(
        "his own key under a KEK of his, by the name of ours",
        lambda scene: scene.plant(_his_kek("fake:one")),
        {"planted": "key_not_found"},
        "key_not_found",
        found=("keys redundancy?", "keys opened"),
    ),
    Case(
        "his own key, wrapped with a public key: what he sealed opens, nothing is sealed under it",
        _minted,
        seals="key_not_found",
        found=("keys sealing", "keys redundancy?"),
    ),
    # what a key is
    Case(
        "no key check",
        "UPDATE deks SET key_check = NULL WHERE dek_id = {v2}",
        {"v2": "store_invalid"},
        "store_invalid",
        found=("keys rows",),
        unasked=True,
    ),
    Case(
        "a short key check",
        "UPDATE deks SET key_check = {nobody} WHERE dek_id = {v2}",
        {"v2": "store_invalid"},
        "store_invalid",
        found=("keys rows",),
        unasked=True,
    ),
    Case(
        "the key check of another key",
        "UPDATE deks SET key_check = (SELECT key_check FROM deks WHERE dek_id = {other}) WHERE dek_id = {v2}",
        {"v2": FAILED},
        FAILED,
        found=("keys opened", "baseline"),
    ),
    Case(
        "another suite",
        "UPDATE deks SET suite = 2 WHERE dek_id = {v2}",
        {"v2": "unsupported_suite"},
        "unsupported_suite",
        found=("keys opened", "baseline"),
    ),
    Case(
        "another version",
        "UPDATE deks SET version = 9 WHERE dek_id = {v2}",
        {"v2": FAILED},
        FAILED,
        found=("keys versions", "keys opened", "baseline"),
    ),
    Case(
        "two keys exchange their versions",
        "UPDATE deks SET version = 9 WHERE dek_id = {v1}; UPDATE deks SET version = 1 WHERE dek_id = {v2}; "
        "UPDATE deks SET version = 2 WHERE dek_id = {v1}",
        {"v1": FAILED, "v2": FAILED},
        FAILED,
        found=("keys versions", "keys opened", "baseline"),
    ),
    Case(
        "another purpose",
        "UPDATE deks SET purpose = 2 WHERE dek_id = {v2}",
        {"v2": FAILED},
        "a new key",
        found=("keys versions", "keys opened", "baseline"),
        unasked=True,
    ),
    Case(
        "a retired key is moved to another tenant",
        "UPDATE deks SET tenant = {other_tenant}, version = 2 WHERE dek_id = {v1}",
        {"v1": FAILED},
        found=("keys versions", "keys opened", "baseline"),
        unasked=True,
    ),
    Case(
        "another tenant's key becomes the active one",
        "DELETE FROM deks WHERE dek_id = {v2}; UPDATE deks SET tenant = {tenant}, version = 2 WHERE dek_id = {other}",
        {"v2": "key_not_found", "other": FAILED},
        FAILED,
        {OTHER_TENANT: "a new key"},
        found=("keys versions", "keys opened", "baseline"),
    ),
    # states
    Case(
        "an older genuine key is active again",
        "UPDATE deks SET state = 'retired' WHERE dek_id = {v2}; UPDATE deks SET state = 'active' WHERE dek_id = {v1}",
        seals="v1",
        found=("keys versions", "keys states", "baseline"),
    ),
    Case(
        "an older genuine key is active again, and nothing tells that it was retired",
        "UPDATE deks SET state = 'retired', retired_at = created_at, rotated_by = 'x' WHERE dek_id = {v2}; "
        "UPDATE deks SET state = 'active', retired_at = NULL, rotated_by = NULL WHERE dek_id = {v1}",
        seals="v1",
        found=("keys versions", "baseline"),
    ),
    Case(
        "as before the rotation: the newest key is gone, the older one active",
        "DELETE FROM wraps WHERE dek_id = {v2}; DELETE FROM deks WHERE dek_id = {v2}; "
        "UPDATE deks SET state = 'active', retired_at = NULL, rotated_by = NULL WHERE dek_id = {v1}",
        {"v2": "key_not_found"},
        "v1",
        found=("baseline",),
        unasked=True,
    ),
    Case(
        "two active keys",
        "DROP INDEX sealpoint_deks_active; UPDATE deks SET state = 'active' WHERE dek_id = {v1}",
        seals="store_invalid",
        found=("store guards", "keys versions", "keys states", "baseline"),
    ),
    Case(
        "no active key", "UPDATE deks SET state = 'retired' WHERE dek_id = {v2}", seals="a new key", found=("keys versions", "keys states")
    ),
    Case(
        "a key is said to be destroyed",
        "UPDATE deks SET state = 'destroyed', destroyed_at = created_at WHERE dek_id = {v1}",
        {"v1": "key_destroyed"},
        found=("keys states",),
        unasked=True,
    ),
    Case(
        "a key is said to wait for its destruction",
        "UPDATE deks SET state = 'pending_destroy' WHERE dek_id = {v1}",
        {"v1": "key_disabled"},
        unasked=True,
    ),
    Case("rotated_by names another key", "UPDATE deks SET rotated_by = 'x' WHERE dek_id = {v1}", found=("keys versions", "baseline")),
    Case(
        "retired long ago, to be destroyed at once",
        "UPDATE deks SET retired_at = 1 WHERE dek_id = {v1}",
        found=("keys versions", "baseline"),
    ),
    Case("a key is said to be younger", "UPDATE deks SET created_at = created_at + 1000000 WHERE dek_id = {v2}", found=("baseline",)),
    Case(
        "a retired key is gone",
        "DELETE FROM deks WHERE dek_id = {v1}",
        {"v1": "key_not_found"},
        found=("keys versions", "baseline"),
        unasked=True,
    ),
    Case(
        "all of a tenant's keys are gone",
        "DELETE FROM deks WHERE tenant = {tenant}; DELETE FROM tenants WHERE tenant = {tenant}",
        {"v1": "key_not_found", "v2": "key_not_found", "client": "key_not_found"},
        "a new key",
        found=("baseline",),
        unasked=True,
    ),
    # tenants
    Case(
        "a tombstone, for a tenant that was not shredded",
        "UPDATE tenants SET shredded_at = 1 WHERE tenant = {tenant}",
        {"v1": "key_destroyed", "v2": "key_destroyed", "client": "key_destroyed"},
        "key_destroyed",
        found=("keys states",),
        unasked=True,
    ),
    Case(
        "a tombstone is gone",
        "UPDATE tenants SET shredded_at = NULL WHERE tenant = {shredded_tenant}",
        others={SHREDDED: "a new key"},
        found=("baseline",),
    ),
    Case(
        "a shredded tenant's rows are put back, but for the tombstone",
        lambda scene: _restore(scene, "shredded_at"),
        found=("keys states", "baseline"),
    ),
    Case(
        "a shredded tenant's rows are put back",
        lambda scene: _restore(scene, "NULL"),
        {"shredded": "opens"},
        others={SHREDDED: "shredded"},
        found=("baseline",),
    ),
    Case("a tenant's row is gone", "DELETE FROM tenants WHERE tenant = {tenant}", found=("tenants", "baseline")),
    Case(
        "a tenant gets a KEK of its own",
        "UPDATE tenants SET kek_uri = 'attacker:kek' WHERE tenant = {tenant}",
        found=("tenants keks?", "baseline"),
    ),
    # settings and canaries
    Case("max_ttl is raised", "UPDATE settings SET max_ttl = max_ttl * 24", found=("baseline",)),
    Case("max_ttl is raised beyond what setup() writes", "UPDATE settings SET max_ttl = max_ttl * 1000", found=("settings", "baseline")),
    Case("a canary is gone", "DELETE FROM canaries WHERE kek_uri = 'fake:public'", found=("kek fake?", "baseline")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_planted_row(case: Case, url: str) -> None:
    scene = Scene(url)
    if isinstance(case.plant, str):
        scene.run(case.plant)
    else:
        case.plant(scene)
    assert scene.doctor(baseline="before") == set(case.found)
    with Keyring.connect(url, kek=[scene.one, scene.public]) as keyring:
        opened = {name: scene.open(keyring, name) for name in scene.sealed}
        assert opened == {**dict.fromkeys(scene.sealed, "opens"), "shredded": "key_destroyed", **case.opens}
        if case.unasked:
            scene.one.calls.clear()
            scene.public.calls.clear()
            assert {name: scene.open(keyring, name) for name in case.opens} == case.opens
            assert (scene.one.calls, scene.public.calls) == ({}, {})
        keyring._cache.clear()
        expected = {TENANT: case.seals, OTHER_TENANT: "other", FOURTH: "fourth", SHREDDED: "key_destroyed"}
        assert scene.seals(keyring) == {**expected, **case.others}


@pytest.mark.parametrize(
    ("change", "code", "found"),
    [
        ("UPDATE settings SET schema_version = 3", "store_invalid", {"store"}),
        ("UPDATE settings SET max_ttl = 60", "invalid_argument", {"settings", "baseline"}),
        ("DELETE FROM settings", "store_invalid", {"store"}),
        (
            "UPDATE canaries SET wrapped = (SELECT wrapped FROM wraps WHERE dek_id = {v2} AND wraps.kek_uri = canaries.kek_uri)",
            FAILED,
            {"kek fake", "baseline"},
        ),
        (
            "UPDATE canaries SET kek_uri = 'x:x' WHERE kek_uri = 'fake:one'; "
            "UPDATE canaries SET kek_uri = 'fake:one' WHERE kek_uri = 'fake:public'; "
            "UPDATE canaries SET kek_uri = 'fake:public' WHERE kek_uri = 'x:x'",
            FAILED,
            {"kek fake", "baseline"},
        ),
    ],
    ids=["a newer schema", "max_ttl is lowered", "no settings", "a DEK's wraps as canaries", "canaries are swapped"],
)
def test_what_refuses_to_connect(change: str, code: str, found: set[str], url: str) -> None:
    scene = Scene(url)
    scene.run(change)
    assert scene.doctor(baseline="before") == found
    refused(lambda: Keyring.connect(url, kek=[scene.one, scene.public]), code)
