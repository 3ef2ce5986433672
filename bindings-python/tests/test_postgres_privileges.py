"""What a database role needs for the Postgres key store, and what it is told that it lacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from postgres import with_options
from support import CONTEXT, KEK, PLAINTEXT, TENANT, ready, refused
from test_postgres import schema_of

from sealpoint import Keyring
from sealpoint.stores.postgres import PostgresStore


@pytest.fixture
def url(postgres_schema: str) -> str:
    return postgres_schema


PRIVILEGES = """
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON {schema}.sealpoint_settings, {schema}.sealpoint_canaries TO {role};
GRANT SELECT, INSERT ON {schema}.sealpoint_deks, {schema}.sealpoint_wraps TO {role};
GRANT SELECT, INSERT, UPDATE ON {schema}.sealpoint_tenants TO {role};
"""
OPERATING = """
GRANT INSERT ON {schema}.sealpoint_canaries TO {role};
GRANT UPDATE (required_keks) ON {schema}.sealpoint_settings TO {role};
GRANT UPDATE ON {schema}.sealpoint_deks TO {role};
GRANT UPDATE, DELETE ON {schema}.sealpoint_wraps TO {role};
"""
READING = "GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};"


@pytest.fixture
def role(postgres_admin: str) -> Any:
    name = f"sealpoint_role_{os.urandom(6).hex()}"
    with psycopg.connect(postgres_admin, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    return name


def as_role(url: str, role: str) -> str:
    """The same schema of the same database by another user."""
    parameters = {key: values[-1] for key, values in parse_qs(urlsplit(url).query).items()}
    parameters |= {"user": role, "password": role}
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    return with_options(f"postgresql://{host}{split.path}", **parameters)


def grant(url: str, role: str, text: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(text.format(schema=schema_of(url), role=role))


def revoke(url: str, role: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_documented_privileges_are_enough(url: str, role: str) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text()
    assert PRIVILEGES.strip().format(schema="keys", role="app") in documented
    ready(url).close()
    grant(url, role, PRIVILEGES)
    try:
        with Keyring.connect(as_role(url, role), kek=KEK) as keyring:
            keyring.setup()  # nothing to do, so nothing that needs more
            sealed = keyring.seal(PLAINTEXT, CONTEXT)
            keyring._cache.clear()
            assert keyring.open(sealed, CONTEXT) == PLAINTEXT
            assert keyring.health().status == "ok"
        with psycopg.connect(as_role(url, role)) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("DELETE FROM sealpoint_deks")
    finally:
        revoke(url, role)


def test_what_an_operator_needs_beside_that(url: str, role: str) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "OPERATIONS.md").read_text()
    assert OPERATING.strip().format(schema="keys", role="operator") in documented
    with ready(url) as keyring:
        keyring.load(TENANT)
    grant(url, role, PRIVILEGES)
    try:
        with Keyring.connect(as_role(url, role), kek=[KEK, "env:OTHER_KEK"]) as keyring:
            refused(lambda: keyring.rotate(TENANT), "store_unavailable", "privileges")
            refused(lambda: keyring.rewrap(KEK, "env:OTHER_KEK"), "store_unavailable", "privileges")
            refused(lambda: keyring.shred(TENANT, confirm=TENANT), "store_unavailable", "privileges")
            refused(lambda: keyring.require_wraps([KEK]), "store_unavailable", "privileges")
            keyring.load(TENANT)
            grant(url, role, OPERATING)
            keyring.require_wraps([KEK])
            keyring.require_wraps([])
            keyring.rotate(TENANT)
            assert keyring.rewrap(KEK, "env:OTHER_KEK").complete
            age: Any = "UPDATE sealpoint_wraps SET verified_at = 1"
            with psycopg.connect(url, autocommit=True) as admin:
                admin.execute(age)
            with Keyring.connect(as_role(url, role), kek="env:OTHER_KEK") as newer:
                assert newer.drop_wraps(KEK).dropped == 2
            keyring.shred(TENANT, confirm=TENANT)
            keyring.readmit(TENANT)
    finally:
        revoke(url, role)


def test_who_may_only_read(url: str, role: str) -> None:
    with ready(url) as keyring:
        sealed = keyring.seal(PLAINTEXT, CONTEXT)
    grant(url, role, READING)
    try:
        with Keyring.connect(as_role(url, role), kek=KEK) as reader:
            assert reader.open(sealed, CONTEXT) == PLAINTEXT
            reader.load(TENANT)
            refused(lambda: reader.load("new"), "store_unavailable", "privileges")
        refused(lambda: Keyring.connect(as_role(url, role), kek=[KEK, "env:OTHER_KEK"]).setup(), "store_unavailable", "privileges")
    finally:
        revoke(url, role)


def test_who_may_nothing(url: str, role: str) -> None:
    ready(url).close()
    try:
        with PostgresStore(as_role(url, role), schema=schema_of(url)) as store:
            for call in (store.settings, store.canaries, lambda: store.setup(3600)):
                refused(call, "store_unavailable", "privileges")
    finally:
        revoke(url, role)
