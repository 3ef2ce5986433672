"""`doctor`: what is sound, and what of machine, configuration and database is not. For rows see `test_planted_rows.py`."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import CONTEXT, KEK, KEK_TEXT, OTHER_CONTEXT, OTHER_KEK_TEXT, OTHER_TENANT, PLAINTEXT, TENANT, FakeKms, query, ready, refused
from test_postgres_privileges import OPERATING, PRIVILEGES, READING, as_role, grant, revoke, role

from sealpoint import Keyring
from sealpoint.cli import main
from sealpoint.doctor import Check, Report, _databases, _machine, doctor
from sealpoint.stores.memory import MemoryStore

assert role  # a fixture

DAY_US = 86_400_000_000


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


def check(report: Report, name: str) -> Check:
    (found,) = (one for one in report.checks if one.name == name)
    return found


def wrong(report: Report) -> dict[str, str]:
    """What is not ok, but that it is one KEK, and that tests are superusers."""
    expected = {"keks": "there is one KEK: whoever loses it loses everything", "store privileges": "is a superuser"}
    return {one.name: one.verdict for one in report.checks if one.verdict != "ok" and expected.get(one.name, "\0") not in one.seen}


def told(report: Report, name: str) -> str:
    """All that a check says."""
    found = check(report, name)
    return " ".join([found.seen, *(one.what for one in found.found)])


# what is sound


def test_a_sound_key_store(url: str, kms: FakeKms, tmp_path: Path) -> None:
    with ready(url, kms) as keyring:
        keyring.load(TENANT)
        keyring.load(TENANT, dek_purpose="client")
        for name in (TENANT, OTHER_TENANT, "third"):
            keyring.load(name)
            keyring.rotate(name)
        keyring.rotate(TENANT)
        keyring.shred("third", confirm="third")
        keyring.readmit("third")
        keyring.load("third")
        keyring.shred("fourth", confirm="fourth")
        kms.calls.clear()
        report = doctor(url, kms)
        assert (report.sound, wrong(report)) == (True, {})
        assert report.kms_calls == {"fake:one": 3}
        assert check(report, "tenants").seen == "4 tenants, 1 of them shredded"
        opened = doctor(url, kms, open_keys=True)
        assert (wrong(opened), told(opened, "keys opened")) == ({}, "7 wraps opened, each compared with its key check")
        assert opened.kms_calls == {"fake:one": 3 + 7}
        assert kms.calls == {"wrap": 2, "unwrap": 4 + 7}


def test_memory_and_progress(kms: FakeKms) -> None:
    store = MemoryStore()
    with ready(store, kms) as keyring:  # type: ignore[arg-type]
        keyring.load(TENANT)
        keyring.rotate(TENANT)
    said: list[str] = []
    report = doctor(store, [kms], open_keys=True, progress=said.append)
    assert (report.sound, wrong(report)) == (True, {})
    assert {"KEKs", "2 keys", "1 tenants"} <= set(said)


def test_a_key_store_that_lists_nothing(kms: FakeKms) -> None:
    full = MemoryStore()
    full.setup(3600)

    needed = ("setup", "settings", "canaries", "add_canary", "tenant", "dek", "active_dek", "next_version", "create_dek")
    bare = type("Bare", (), {name: staticmethod(getattr(full, name)) for name in needed})()
    report = doctor(bare, kms)
    assert wrong(report) == {"keys": "problem", "kek fake": "warning"}
    assert "KeyLifecycle" in told(report, "keys")


# KEKs


def test_each_kek_by_itself(url: str) -> None:
    kms, gone = FakeKms(), FakeKms("fake:two", OTHER_KEK_TEXT)
    with ready(url, [kms, gone]) as keyring:
        keyring.load(TENANT)
    gone.fail("key_disabled")
    report = doctor(url, [kms, gone, "env:NO_KEK", "nonsense", "hcvault:x", 7], open_keys=True)  # type: ignore[list-item]
    (good, bad) = (one for one in report.checks if one.name == "kek fake")
    assert (good.verdict, bad.verdict, bad.seen.startswith("fake:two: key_disabled: ")) == ("ok", "problem", True)
    codes = [told(report, f"kek {number}").partition(":")[0] for number in (3, 4, 5, 6)]
    assert codes == ["invalid_argument", "invalid_argument", "missing_dependency", "invalid_argument"]
    assert "1 wraps do not open; 1 do" in told(report, "keys opened")
    assert not report.sound


def test_a_kek_that_cannot_be_reached_is_not_asked_for_every_key(url: str) -> None:
    kms, gone = FakeKms(), FakeKms("fake:two", OTHER_KEK_TEXT)
    with ready(url, [kms, gone]) as keyring:
        for number in range(5):
            keyring.load(f"tenant {number}")
    gone.fail("kms_unavailable")
    report = doctor(url, [kms, gone], open_keys=True)
    assert report.kms_calls == {"fake:one": 3 + 5, "fake:two": 1 + 1}
    assert told(report, "keys untried").startswith("5 wraps were not tried: fake:two: kms_unavailable: ")
    assert check(report, "keys opened").verdict == "ok"
    gone.fail(None)
    assert wrong(doctor(url, [kms, gone], open_keys=True)) == {}


def test_another_kek_under_the_same_name(url: str) -> None:
    ready(url, FakeKms()).close()
    report = doctor(url, FakeKms("fake:one", OTHER_KEK_TEXT))
    assert "fake:one: authentication_failed" in told(report, "kek fake")


def test_keks_that_do_not_belong_to_the_key_store(url: str) -> None:
    ready(url, FakeKms()).close()
    report = doctor(url, FakeKms("fake:two", OTHER_KEK_TEXT))
    assert wrong(report) == {"keks": "problem", "kek fake": "warning"}
    assert "other KEKs" in told(report, "keks")
    both = doctor(url, [FakeKms(), FakeKms("fake:two", OTHER_KEK_TEXT)])
    assert [one.seen for one in both.of("warning") if one.name == "kek fake"] == [
        "fake:two wraps and opens, but has no canary in the key store"
    ]
    assert "twice" in told(doctor(url, [FakeKms(), FakeKms()]), "keks")
    assert "authenticate" in told(doctor(url, FakeKms(authenticates=False)), "keks")


def test_without_any_kek_rows_are_still_looked_at(url: str, kms: FakeKms) -> None:
    with ready(url, kms) as keyring:
        keyring.load(TENANT)
    report = doctor(url, "env:NO_KEK", open_keys=True)
    assert wrong(report) == {"kek 1": "problem", "keys keks": "problem"}
    assert told(report, "keys versions").startswith("one active key each")


def test_a_recovery_key(url: str, tmp_path: Path) -> None:
    assert main(["keygen", "--recovery", "--public-file", "recovery.pub", "--file", "secret"]) == 0
    with ready(url, [KEK, "recovery:recovery.pub"]) as keyring:
        keyring.load(TENANT)
    report = doctor(url, [KEK, "recovery:recovery.pub"], open_keys=True)
    assert wrong(report) == {}
    assert "its secret half" in told(report, "kek recovery")
    assert told(report, "keys opened") == "1 wraps opened, each compared with its key check"
    query(url, "DELETE FROM sealpoint_wraps WHERE kek_uri NOT LIKE ?", "recovery:%")
    assert wrong(doctor(url, [KEK, "recovery:recovery.pub"])) == {"keys openable": "problem", "keys redundancy": "warning"}


def test_where_a_kek_lies(tmp_path: Path) -> None:
    safe = tmp_path / "safe"
    safe.mkdir(mode=0o700)
    assert main(["keygen", "--file", str(safe / "kek")]) == 0
    store = f"sqlite:///{safe}/keys.db"
    ready(store, f"file:{safe}/kek").close()

    def source() -> tuple[str, str]:
        found = check(doctor(store, f"file:{safe}/kek"), "kek source")
        return found.verdict, found.seen

    assert source() == ("warning", f"file:{safe}/kek: it lies in the folder of the key store, where one backup has both")
    for mode, verdict in ((0o770, "warning"), (0o777, "problem")):
        safe.chmod(mode)
        assert source()[0] == verdict
        assert f"mode {mode:03o}" in source()[1]
    safe.chmod(0o700)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (safe / "kek").rename(elsewhere / "kek")
    assert check(doctor(store, f"file:{elsewhere}/kek"), "kek source").verdict == "ok"
    (elsewhere / "kek").chmod(0o644)
    assert "chmod 600" in told(doctor(store, f"file:{elsewhere}/kek"), "kek 1")


# the key store


def test_not_set_up_and_not_there(url: str, kms: FakeKms) -> None:
    assert "setup()" in told(doctor(url, kms), "store")
    report = doctor("sqlite:////no/such/folder/keys.db", kms)
    assert wrong(report) == {"store": "problem"}
    assert "store_unavailable" in told(report, "store")
    report = doctor(f"postgresql:///nothing?host={os.getcwd()}", kms)
    assert (wrong(report), "store_unavailable" in told(report, "store")) == ({"store": "problem"}, True)


def test_settings(url: str, kms: FakeKms) -> None:
    ready(url, kms).close()
    assert "--cache-ttl" in check(doctor(url, kms, cache_ttl=3601), "settings").remedy
    assert doctor(url, kms, cache_ttl=3600).sound
    for ttl in (3599, 30 * 86_400 + 1):
        query(url, "UPDATE sealpoint_settings SET max_ttl = ?", ttl)
        assert wrong(doctor(url, kms, cache_ttl=60)) == {"settings": "problem"}
    query(url, "UPDATE sealpoint_settings SET schema_version = 3")
    assert "upgrade" in told(doctor(url, kms), "store")


def test_the_sqlite_file(path: Path, kms: FakeKms) -> None:
    url = f"sqlite:///{path}"
    ready(url, kms).close()
    path.chmod(0o640)
    assert "mode 640" in told(doctor(url, kms), "store file")
    path.chmod(0o600)
    path.parent.chmod(0o777)
    assert "folder has mode 777" in told(doctor(url, kms), "store file")
    path.parent.chmod(0o700)
    query(url, "PRAGMA journal_mode = DELETE")
    assert wrong(doctor(url, kms)) == {"store journal": "warning"}


def test_a_damaged_sqlite_file(path: Path, kms: FakeKms) -> None:
    with ready(f"sqlite:///{path}", kms) as keyring:
        keyring.load(TENANT)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_sealpoint_deks_2'").fetchall()
        ((size,),) = db.execute("PRAGMA page_size").fetchall()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes([10, 0, 0, 0, 0]))  # an index without entries
    assert wrong(doctor(f"sqlite:///{path}", kms))["store integrity"] == "problem"


@pytest.mark.parametrize(
    ("sqlite", "postgres", "words"),
    [
        ("DROP INDEX sealpoint_deks_active", "DROP INDEX sealpoint_deks_active", "the index"),
        (
            "CREATE TRIGGER t AFTER INSERT ON sealpoint_wraps BEGIN DELETE FROM sealpoint_wraps; END",
            "CREATE RULE r AS ON DELETE TO sealpoint_wraps DO INSTEAD NOTHING",
            "triggers or rules",
        ),
    ],
)
def test_what_guards_the_tables(sqlite: str, postgres: str, words: str, url: str, kms: FakeKms) -> None:
    ready(url, kms).close()
    query(url, sqlite if url.startswith("sqlite") else postgres)
    report = doctor(url, kms)
    assert (wrong(report), words in told(report, "store guards")) == ({"store guards": "problem"}, True)


def test_the_clock(postgres_schema: str, kms: FakeKms, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(postgres_schema, kms).close()
    assert check(doctor(postgres_schema, kms), "clock").verdict == "ok"
    for ahead, verdict in ((60, "warning"), (-400, "problem")):
        monkeypatch.setattr(_databases.time, "time", lambda real=time.time, ahead=ahead: real() + ahead)
        found = check(doctor(postgres_schema, kms), "clock")
        monkeypatch.undo()
        assert (found.verdict, found.seen.split()[0] in (f"{-ahead:+d}", f"{-ahead + 1:+d}", f"{-ahead - 1:+d}")) == (verdict, True)


def test_the_machine(kms: FakeKms, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu = tmp_path / "cpuinfo"
    monkeypatch.setattr(_machine, "_CPU_INFO", cpu)
    assert _machine.package().verdict == "ok"
    for text, verdict in (("flags\t\t: fpu aes sse\n", "ok"), ("Features\t: fp asimd\n", "warning"), ("", "ok")):
        cpu.write_text(text)
        assert _machine.package().verdict == verdict
    monkeypatch.setattr(_machine, "__version__", "0.0.0")
    assert _machine.package().verdict == "problem"


# Postgres privileges


def test_the_privileges_of_a_role(postgres_schema: str, role: str, kms: FakeKms) -> None:
    url = postgres_schema
    ready(url, kms).close()
    as_app = as_role(url, role)

    def judged(dsn: str = as_app, **options: Any) -> tuple[str, str]:
        found = check(doctor(dsn, kms, **options), "store privileges")
        return found.verdict, found.seen

    try:
        assert "superuser" in judged(url)[1]
        grant(url, role, READING)
        assert judged() == ("warning", judged()[1])
        assert "lacks INSERT on sealpoint_tenants, UPDATE on sealpoint_tenants, INSERT on sealpoint_deks" in judged()[1]
        grant(url, role, PRIVILEGES)
        assert judged() == ("ok", f"the role {role}, which connects here, has what an application needs, and no more")
        assert judged(url, role=role) == ("ok", f"the role {role} has what an application needs, and no more")
        assert judged(url, role="nobody-there") == ("problem", "there is no role nobody-there")
        grant(url, role, "GRANT UPDATE (state) ON {schema}.sealpoint_deks TO {role}")
        assert judged()[1].endswith("more than an application needs: UPDATE on sealpoint_deks")
        grant(url, role, OPERATING)
        assert "INSERT on sealpoint_canaries" in judged()[1]
        assert "DELETE on sealpoint_wraps" in judged()[1]
        assert doctor(as_app, kms).sound
        grant(url, role, "GRANT SELECT ON {schema}.sealpoint_wraps TO PUBLIC")
        assert "sealpoint_wraps" in told(doctor(as_app, kms), "store public")
        grant(url, role, "ALTER TABLE {schema}.sealpoint_settings OWNER TO {role}")
        assert "owns" in judged()[1]
        grant(url, role, "ALTER TABLE {schema}.sealpoint_settings OWNER TO CURRENT_USER")
    finally:
        revoke(url, role)


def test_who_may_nothing(postgres_schema: str, role: str, kms: FakeKms) -> None:
    ready(postgres_schema, kms).close()
    try:
        grant(postgres_schema, role, "GRANT USAGE ON SCHEMA {schema} TO {role}")
        report = doctor(as_role(postgres_schema, role), kms)
        assert (wrong(report), "store_unavailable" in told(report, "store")) == ({"store": "problem"}, True)
    finally:
        revoke(postgres_schema, role)


# baselines


@pytest.fixture
def living(url: str, kms: FakeKms) -> Callable[[], Keyring]:
    """Four tenants, one of them shredded; and a baseline of it, `before`."""
    with ready(url, kms) as keyring:
        for name in (TENANT, OTHER_TENANT, "third", "fourth"):
            keyring.load(name)
        keyring.rotate(TENANT)
        keyring.rotate(OTHER_TENANT)
        keyring.shred("fourth", confirm="fourth")
    assert doctor(url, kms, write_baseline="before").sound
    return lambda: ready(url, kms)


def test_a_baseline_holds_no_secret(living: object, url: str) -> None:
    content = Path("before").read_bytes()
    assert Path("before").stat().st_mode & 0o777 == 0o600
    for column in ("key_check FROM sealpoint_deks", "wrapped FROM sealpoint_wraps", "wrapped FROM sealpoint_canaries"):
        for (value,) in query(url, f"SELECT {column}"):
            assert bytes(value).hex().encode() not in content
    assert not list(Path().glob("before.*"))


def test_what_sealpoint_itself_changes_is_no_difference(living: Callable[[], Keyring], url: str, kms: FakeKms) -> None:
    other = FakeKms("fake:two", OTHER_KEK_TEXT)
    with living() as keyring:
        keyring.load("fifth")
        keyring.rotate(TENANT)
        keyring.shred("third", confirm="third")
        (status,) = keyring.status(OTHER_TENANT)
        retired = status.purposes[0].deks[0].dek_id
        query(url, "UPDATE sealpoint_deks SET retired_at = retired_at - ?", DAY_US)
        query(url, "UPDATE sealpoint_deks SET created_at = created_at - ?", DAY_US)
        assert doctor(url, kms, write_baseline="before").sound
        keyring.schedule_destroy(retired)
        assert doctor(url, kms, baseline="before", write_baseline="before").sound
        keyring.cancel_destroy(retired)
        assert doctor(url, kms, baseline="before").sound
    with ready(url, [kms, other]) as keyring:
        keyring.rewrap("fake:one", "fake:two")
        keyring.rotate(TENANT)
    report = doctor(url, [kms, other], baseline="before")
    assert (report.sound, told(report, "baseline")) == (True, "8 keys are as they were, or went on as they may")


def test_a_baseline_is_not_replaced_where_something_differs(living: object, url: str, kms: FakeKms) -> None:
    was = Path("before").read_bytes()
    query(url, "DELETE FROM sealpoint_deks WHERE tenant = ?", "third")
    report = doctor(url, kms, baseline="before", write_baseline="before")
    assert (wrong(report), Path("before").read_bytes()) == ({"baseline": "problem", "new baseline": "problem"}, was)
    assert "cannot be written" in told(doctor(url, kms, write_baseline="no/such/folder"), "new baseline")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("deks SET state = 'retired' WHERE state = 'destroyed'", "it was destroyed and is retired"),
        ("deks SET state = CASE state WHEN 'active' THEN 'retired' ELSE 'pending_destroy' END WHERE state <> 'destroyed'", None),
        ("tenants SET shredded_at = NULL", "its tombstone is gone"),
        ("tenants SET shredded_at = shredded_at - 1", "its tombstone has another time"),
        ("deks SET key_check = (SELECT min(key_check) FROM sealpoint_deks)", "changed: key_check"),
        ("canaries SET wrapped = (SELECT min(wrapped) FROM sealpoint_wraps)", "the canary of a KEK is another one"),
        ("settings SET max_ttl = 7200", "max_ttl was 3600 and is 7200"),
    ],
)
def test_what_a_baseline_says(change: str, words: str | None, living: object, url: str, kms: FakeKms) -> None:
    query(url, f"UPDATE sealpoint_{change}")
    report = doctor(url, kms, baseline="before")
    assert (check(report, "baseline").verdict, (words or "") in told(report, "baseline")) == ("problem" if words else "ok", True)


def test_a_key_that_claims_to_be_older_than_the_baseline(living: Callable[[], Keyring], url: str, kms: FakeKms) -> None:
    with living() as keyring:
        keyring.load("fifth")
    assert doctor(url, kms, baseline="before").sound
    query(url, "UPDATE sealpoint_deks SET created_at = created_at - ? WHERE tenant = 'fifth'", DAY_US)
    assert "made before the baseline" in told(doctor(url, kms, baseline="before"), "baseline")


def test_files_that_are_no_baseline(living: object, url: str, kms: FakeKms) -> None:
    good = json.loads(Path("before").read_text())
    dek = next(iter(good["deks"]))
    bad: list[Any] = [7, [], {}, {**good, "version": 2}, {**good, "made_at": "x"}, {**good, "settings": {}}, {**good, "deks": []}]
    bad += [{**good, "deks": {dek: {**good["deks"][dek], "state": "x"}}}, {**good, "deks": {dek: {}}}, {**good, "tenants": {"a": None}}]
    texts = ["", "{", "[" * 100_000, *map(json.dumps, bad)]
    for text in texts:
        Path("bad").write_text(text)
        refused(lambda: doctor(url, kms, baseline="bad"), "invalid_argument", "no baseline")
    Path("bad").write_bytes(b"\xff")
    refused(lambda: doctor(url, kms, baseline="bad"), "invalid_argument", "no baseline")
    refused(lambda: doctor(url, kms, baseline="missing"), "invalid_argument", "cannot be read")


# the command


def test_the_command(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALPOINT_STORE", url)
    with ready(url) as keyring:
        keyring.seal(PLAINTEXT, CONTEXT)
        keyring.seal(PLAINTEXT, OTHER_CONTEXT)
        keyring.rotate(TENANT)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["doctor", *arguments])
        printed = capsys.readouterr()
        for secret in (KEK_TEXT, OTHER_KEK_TEXT, PLAINTEXT.decode()):
            assert secret not in printed.out + printed.err
        return code, printed.out + printed.err

    code, out = run("--open", "--write-baseline", "b.json")
    assert (code, out.splitlines()[-1].startswith("Sound: 0 problems, ")) == (0, True)
    assert out.splitlines()[-1].endswith("6 calls to KEKs")
    code, out = run("--json", "--baseline", "b.json")
    shown = json.loads(out)
    assert (code, shown["version"], shown["sound"], shown["kms_calls"]) == (0, 1, True, {"env:SEALPOINT_KEK": 3})
    query(url, "UPDATE sealpoint_deks SET retired_at = NULL")
    code, out = run("--baseline", "b.json")
    assert (code, "not since when" in out, "changed: retired_at" in out) == (3, True, True)
    code, out = run("--kek", KEK_TEXT)
    assert (code, "kek 1" in out) == (3, True)
    code, out = run("--baseline", "missing")
    assert (code, out.startswith("sealpoint: invalid_argument: ")) == (1, True)
    assert run("--store", "sqlite:///missing.db")[0] == 3
    for arguments in (["--cache-ttl", "0"], ["--cache-ttl", "x"], ["--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code == 2
    assert run("--cache-ttl", "7200")[0] == 3
    monkeypatch.delenv("SEALPOINT_STORE")
    assert run()[0] == 1


def test_many_rows_are_counted_and_the_first_named(url: str, kms: FakeKms) -> None:
    with ready(url, kms) as keyring:
        for number in range(25):
            keyring.load(f"tenant {number}\x1b[2J")
    query(url, "DELETE FROM sealpoint_wraps")
    report = doctor(url, kms)
    text = report.to_text()
    assert (check(report, "keys states").count, len(check(report, "keys states").found)) == (25, 25)
    assert (text.count("it has no wraps"), "- 5 more; --json" in text, "\x1b" in text) == (20, True, False)
