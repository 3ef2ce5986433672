"""`scan` without LangGraph: single values, words, the report, the command."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import CONTEXT, TENANT, refused, sqlite_url

from sealpoint import Keyring
from sealpoint._native import DataKey
from sealpoint.cli import main
from sealpoint.scan import Finding, Report, Verdict, WordHit, scan
from sealpoint.scan.plain import Ext, Pairs, from_json, from_msgpack
from sealpoint.scan.report import printable
from sealpoint.scan.tables import TABLES
from sealpoint.scan.words import CHUNK_BYTES, Words

SECRET = "Merkwürdiges Leiden"
SEALED_TEXT = DataKey.generate(tenant=TENANT)[0].seal_text(b"x", CONTEXT)
SEALED = DataKey.generate(tenant=TENANT)[0].seal(b"x", CONTEXT)


@pytest.fixture
def db_path(tmp_path: Path) -> Path:
    """A store with one sealed item."""
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE store (prefix text, key text, value text)")
        db.execute("INSERT INTO store VALUES ('users', 'u-1', ?)", (json.dumps({"sealpoint": SEALED_TEXT}),))
    return path


def add(path: Path, key: str, value: object) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO store VALUES ('users', ?, ?)", (key, value))


def words_file(tmp_path: Path, *words: str) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("\n".join(words), encoding="utf-8")
    return path


# -- plain data


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(max_size=300),
        lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
        max_leaves=40,
    )
)
def test_messagepack_is_read_as_langgraphs_library_reads_it(value: Any) -> None:
    def same(read: Any) -> Any:
        if isinstance(read, Pairs):
            return {key: same(entry) for key, entry in read}
        return [same(item) for item in read] if isinstance(read, list) else read

    packed = ormsgpack.packb(value)
    assert same(from_msgpack(packed)) == ormsgpack.unpackb(packed)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 3, 255, 256, 65_535, 65_536])
def test_lengths_of_messagepack(size: int) -> None:
    assert from_msgpack(ormsgpack.packb(ormsgpack.Ext(5, bytes(size)))) == Ext(5, bytes(size))
    assert from_msgpack(ormsgpack.packb(bytes(size))) == bytes(size)
    assert from_msgpack(ormsgpack.packb("x" * size)) == "x" * size
    assert from_msgpack(ormsgpack.packb([None] * size)) == [None] * size
    assert from_msgpack(ormsgpack.packb(dict.fromkeys(map(str, range(size))))) == Pairs((str(n), None) for n in range(size))


@given(st.binary(max_size=200))
def test_untrusted_bytes_never_crash(data: bytes) -> None:
    for read in (from_msgpack, from_json):
        with suppress(ValueError):
            read(data)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x91" * 5000, b"\xdd\xff\xff\xff\xff", b"\xc4\x05ab", b"\x01\x02", b"\xa2\xff\xfe", b"\xca\x00"]
)
def test_messagepack_that_is_none(data: bytes) -> None:
    with pytest.raises(ValueError):
        from_msgpack(data)


def test_both_entries_of_one_key_are_kept() -> None:
    assert from_json('{"a": 1, "a": 2}') == Pairs([("a", 1), ("a", 2)])
    assert from_msgpack(b"\x82\xa1a\x01\xa1a\x02") == Pairs([("a", 1), ("a", 2)])


# -- words


def written(word: str) -> dict[str, bytes]:
    raw = word.encode()
    forms = {
        "utf-8": raw,
        "utf-16": word.encode("utf-16-le"),
        "json": json.dumps({"k": word}).encode(),
        "json in capitals": json.dumps({"k": word}).replace("u00fc", "u00FC").encode(),
        "hex": b"\\x" + raw.hex().encode(),
        "hex in capitals": raw.hex().upper().encode(),
    }
    for before in range(3):
        for after in range(3):
            around = os.urandom(before) + raw + os.urandom(after)
            forms[f"base64 {before} {after}"] = base64.b64encode(around)
            forms[f"base64url {before} {after}"] = base64.urlsafe_b64encode(around)
    return forms


@pytest.mark.parametrize("name", written(SECRET))
def test_each_form_of_a_word_is_found_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("sealpoint.scan.words.CHUNK_BYTES", 64)
    path = tmp_path / "dump"
    found = written(SECRET)[name]
    for before in range(130):
        path.write_bytes(bytes(before) + found + bytes(11))
        words = Words({7: SECRET, 8: "something else"})
        assert words.search_file(path) == before + len(found) + 11
        assert {(hit.line, hit.form) for hit in words.hits} == {(7, name.split()[0].removesuffix("url"))}
        offset = int(words.hits[0].where.rpartition(" ")[2].replace(",", ""))
        assert before <= offset < before + len(found)


def test_other_spellings_are_not_found(tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(SECRET.upper().encode() + os.urandom(100_000) + SECRET[:-1].encode())
    words = Words({1: SECRET})
    words.search_file(path)
    assert words.hits == []


def test_many_words_are_each_found_once_in_a_file(tmp_path: Path) -> None:
    every = {line: f"word number {line:05}" for line in range(1, 1001)}
    path = tmp_path / "dump"
    path.write_text("".join(f"{word} and again {word}\n" for word in every.values()))
    words = Words(every)
    words.search_file(path)
    assert sorted(hit.line for hit in words.hits) == list(every)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(300 * CHUNK_BYTES)
    code = (
        "import resource, sys; from pathlib import Path; from sealpoint.scan.words import Words; "
        "resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000)); "
        "print(Words({1: 'not in there'}).search_file(Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(300 * CHUNK_BYTES), "")


def test_a_file_that_is_gone_by_now_is_mentioned(tmp_path: Path) -> None:
    words = Words({1: SECRET})
    assert words.search_file(tmp_path / "gone-wal") == 0
    assert any("gone-wal was gone" in note for note in words.notes)


def test_the_words_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_bytes(b"\xef\xbb\xbf first word \r\n\r\n\n  \nsecond\nfirst word\n")
    words = Words.read(path)
    assert len(words) == 2
    assert words.occur_in("a first word") is True
    assert words.occur_in("a first") is False
    assert any("1 words have fewer than 8 bytes" in note for note in words.notes)
    assert "first" not in repr(words)


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "no word"), (b"\n \n\n", "no word"), (b"\xff\xfe", "UTF-8"), (b"long enough\nabc\n", "line 2")]
)
def test_files_without_words_are_refused(tmp_path: Path, db_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "words"
    path.write_bytes(content)
    refused(lambda: scan(db_path, expect=path), "invalid_argument", said)
    refused(lambda: scan(db_path, expect=tmp_path / "missing"), "invalid_argument", "cannot be read")


def test_words_in_a_write_ahead_log_and_in_free_pages(tmp_path: Path, db_path: Path) -> None:
    words = words_file(tmp_path, "nothing of the kind", SECRET)
    assert scan(db_path, expect=words).hits == ()
    with closing(sqlite3.connect(db_path)) as db, closing(sqlite3.connect(db_path)) as other:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("PRAGMA secure_delete = OFF").fetchall()
        other.execute("SELECT * FROM store").fetchall()
        db.execute("INSERT INTO store VALUES ('users', 'gone', ?)", (SECRET,))
        db.commit()
        db.execute("DELETE FROM store WHERE key = 'gone'")
        db.commit()
        report = scan(db_path, expect=words)
        assert report.unsealed == (), "no row holds it any more"
        assert {(hit.line, hit.form) for hit in report.hits} == {(2, "utf-8")}
        assert any(hit.where.startswith("the file state.db-wal, offset ") for hit in report.hits)
        assert not report.ok
        assert report.searched_bytes == sum(file.stat().st_size for file in tmp_path.glob("state.db*"))
    assert SECRET not in report.to_text()


def test_words_in_rows_name_the_row(tmp_path: Path, db_path: Path) -> None:
    add(db_path, "u-2", json.dumps({"sealpoint": SEALED_TEXT, "name": SECRET}))
    with closing(sqlite3.connect(db_path)) as db, db:
        db.execute("CREATE TABLE other (a, key)")
        db.execute("INSERT INTO other VALUES (?, 'private')", (base64.b64encode(b".." + SECRET.encode()),))
    report = scan(db_path, expect=words_file(tmp_path, SECRET))
    places = {(hit.form, hit.where) for hit in report.hits if not hit.where.startswith("the file")}
    assert ("json", "store.value, prefix users, key u-2") in places
    assert any(form == "base64" and where.startswith("other.a, row ") for form, where in places)
    assert "private" not in report.to_text(), "of a table that is not known, nothing is shown"


def test_an_id_that_holds_a_word_is_not_shown(tmp_path: Path, db_path: Path) -> None:
    add(db_path, f"of {SECRET}", "{}")
    named = db_path.rename(tmp_path / f"{SECRET}.db")
    with closing(sqlite3.connect(named)) as db, db:
        db.execute(f'CREATE TABLE "{SECRET}" (a)')
    report = scan(named, expect=words_file(tmp_path, SECRET))
    text = report.to_text() + report.to_json()
    assert SECRET not in text
    assert "rkw" not in text
    assert "withheld" in text
    assert any(hit.line == 1 for hit in report.hits)


def test_any_file_is_searched_and_nothing_else_is_claimed(tmp_path: Path) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text(f"COPY public.notes FROM stdin;\n{SECRET}\n\\x{SECRET.encode().hex()}\n")
    refused(lambda: scan(dump), "invalid_argument", "no SQLite database")
    report = scan(dump, expect=words_file(tmp_path, SECRET))
    assert {hit.form for hit in report.hits} == {"utf-8", "hex"}
    assert report.findings == ()
    assert any("nothing else was judged" in note for note in report.notes)
    assert "sealed values" not in report.summary
    dump.write_text("clean")
    report = scan(dump, expect=words_file(tmp_path, SECRET))
    assert report.ok
    assert report.summary.startswith("OK: none of 1 words")


# -- what is refused


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("missing.db", {}, "cannot be read"),
        ("sqlite:///missing.db", {}, "cannot be read"),
        (".", {}, "cannot be read"),
        ("mysql://u:hunter2-password@h/d", {}, "a database is"),
        ("state.db", {"schemas": ["public"]}, "only Postgres has"),
        ("state.db", {"data_directory": "."}, "file of words"),
        ("state.db", {"data_directory": ".", "expect": "words.txt"}, "only Postgres"),
        ("postgresql:///x", {"data_directory": ".", "expect": "words.txt"}, "PG_VERSION"),
        ("a\0b", {}, "NUL"),
        ("", {}, "cannot be read"),
    ],
)
def test_targets_that_cannot_be_scanned(tmp_path: Path, db_path: Path, target: str, options: dict[str, Any], said: str) -> None:
    words_file(tmp_path, SECRET)
    error = refused(lambda: scan(target, **options), "invalid_argument", said)
    assert "hunter2" not in str(error)


def test_unknown_options_are_refused(db_path: Path) -> None:
    with pytest.raises(TypeError):
        scan(db_path, expects="words.txt")  # type: ignore[call-arg]


@pytest.mark.parametrize(("target", "package"), [("postgresql:///x", "psycopg"), ("redis://h", "redis"), ("mongodb://h", "pymongo")])
def test_a_missing_client_is_named(target: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    refused(lambda: scan(target), "missing_dependency", "pip install", package)


def test_langgraph_is_not_needed(db_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['langgraph', 'langchain_core', 'ormsgpack', 'psycopg', 'redis', 'pymongo'])); "
        "from sealpoint.scan import scan; print(scan(sys.argv[1]).ok)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(db_path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("text", ["sealpoint:v1:\udcff", "\ud800", "sealpoint-", "sealpoint:v2:AAAA", "\0"])
def test_text_of_any_kind_is_judged(db_path: Path, text: str) -> None:
    add(db_path, "u-2", json.dumps({"sealpoint": SEALED_TEXT, "x": text}))
    add(db_path, b"\xff\xfe", b"\xff\xfe")
    report = scan(db_path)
    assert not report.ok
    assert sum(finding.values for finding in (*report.unsealed, *report.corrupt)) == 2
    report.to_text().encode()


# -- the report


def test_the_key_of_the_envelope_is_that_of_the_wrappers() -> None:
    from sealpoint.langgraph import metadata
    from sealpoint.scan import values

    assert values.SEALED_KEY == metadata.SEALED_KEY


def test_every_clear_key_has_a_shape() -> None:
    from sealpoint._native import CLEAR_METADATA
    from sealpoint.scan import values

    assert {*CLEAR_METADATA, *values._FIELDS} == set(values._SHAPES)


def test_every_clear_reason_stands_in_the_threat_model() -> None:
    page = (Path(__file__).parents[2] / "docs" / "THREAT_MODEL.md").read_text(encoding="utf-8")
    from sealpoint.scan import values

    reasons = {rule for columns in TABLES.values() for rule in columns.values() if isinstance(rule, str)}
    reasons |= {values.LOOKED_UP, values.NAMES, values.QUERIED, values.CHOSEN, values.VECTOR}
    assert [reason for reason in sorted(reasons) if reason not in page] == []


def test_names_from_a_database_cannot_steer_a_terminal(db_path: Path) -> None:
    add(db_path, "\x1b[2Jgone\n\u202e", "{}")
    with closing(sqlite3.connect(db_path)) as db, db:
        db.execute('CREATE TABLE "x\x1b[1m" (a)')
    report = scan(db_path)
    assert "\x1b" not in report.to_text()
    assert r"\x1b[2Jgone\x0a\x202e" in report.to_text()
    assert len(printable("x" * 10_000)) == 80


def test_a_report_as_json(tmp_path: Path, db_path: Path) -> None:
    add(db_path, "u-2", "{}")
    report = scan(db_path, expect=words_file(tmp_path, "nothing of the kind"), strict=True)
    read = json.loads(report.to_json())
    assert (read["version"], read["ok"], read["strict"], read["words"]) == (1, False, True, 1)
    assert read["searched_bytes"] == db_path.stat().st_size
    assert set(read) == {"version", "ok", "source", "findings", "words", "searched_bytes", "hits", "notes", "strict"}
    unsealed = next(finding for finding in read["findings"] if finding["verdict"] == "unsealed")
    assert unsealed == {
        "table": "store",
        "column": "value",
        "verdict": "unsealed",
        "reason": "no envelope: not written by a Sealed… wrapper",
        "values": 1,
        "bytes": 2,
        "examples": ["prefix users, key u-2"],
    }


@pytest.mark.parametrize(
    ("report", "ok", "said"),
    [
        (Report("x", (Finding("t", "c", Verdict.SEALED, "", 5, 9),)), True, "OK: 5 sealed values, no unsealed data"),
        (Report("x", (Finding("t", "c", Verdict.UNSEALED, "", 5, 9),)), False, "NOT SEALED: 5 unsealed values; 0 sealed values"),
        (Report("x", (Finding("t", "c", Verdict.CORRUPT, "", 0, 0),)), False, "NOT SEALED: 1 corrupt or unreadable; 0 sealed values"),
        (Report("x", (Finding("t", "", Verdict.UNKNOWN, "", 0, 0),)), True, "OK: 0 sealed values, no unsealed data"),
        (Report("x", (Finding("t", "", Verdict.UNKNOWN, "", 0, 0),), strict=True), False, "NOT SEALED: 1 unknown tables; 0 sealed values"),
        (Report("x", (), words=3, hits=(WordHit(1, "hex", "f"),)), False, "NOT SEALED: words found in 1 places"),
    ],
)
def test_the_summary(report: Report, ok: bool, said: str) -> None:
    assert report.ok is ok
    assert report.summary.startswith(said)
    assert report.to_text().endswith(report.summary)


# -- the command


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sealpoint", "scan", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")


def test_exit_codes(tmp_path: Path, db_path: Path) -> None:
    words = words_file(tmp_path, SECRET)
    done = run(db_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "OK: 1 sealed values, no unsealed data"
    assert run(sqlite_url(db_path)).returncode == 0
    assert run(db_path, "--expect", words).returncode == 0
    assert run("missing.db").returncode == 1
    assert run("missing.db").stderr.startswith("sealpoint: invalid_argument: missing.db cannot be read")
    assert run(db_path, "--expect", "missing").returncode == 1
    with closing(sqlite3.connect(db_path)) as db, db:
        db.execute("CREATE TABLE other (a)")
    assert run(db_path).returncode == 0
    assert run(db_path, "--strict").returncode == 3
    add(db_path, "u-2", json.dumps({"sealpoint": SEALED_TEXT, "city": SECRET}))
    done = run(db_path)
    assert (done.returncode, done.stderr) == (3, "")
    assert "    at prefix users, key u-2" in done.stdout
    assert run(db_path, "--clear-field", "city").returncode == 0
    done = run(db_path, "--clear-field", "city", "--expect", words)
    assert done.returncode == 3
    assert "the word of line 1 as json in store.value, prefix users, key u-2" in done.stdout
    assert SECRET not in done.stdout
    assert run(words, "--expect", words).returncode == 3, "any file"
    done = run(db_path, "--json", "--limit", "0")
    assert done.returncode == 3
    assert [finding["examples"] for finding in json.loads(done.stdout)["findings"] if finding["verdict"] == "unsealed"] == [[]]


def test_limit(db_path: Path) -> None:
    for number in range(2, 12):
        add(db_path, f"u-{number}", "{}")
    assert run(db_path).stdout.count("    at ") == 3
    assert run(db_path, "--limit", "7").stdout.count("    at ") == 7
    assert run(db_path, "--limit", "999").stdout.count("    at ") == 10


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], ["a", "--limit", "-1"], ["a", "--limit", "x"], ["a", "--stric"], ["a", "--nonsense"], ["a", "--expect"]]
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: sealpoint" in done.stderr


def test_help() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("Examples:", "Exit codes:", "--expect FILE", "--schema NAME", "--strict", "--json", "PGPASSFILE"):
        assert word in done.stdout


def test_progress_is_shown_on_a_terminal_only(db_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["scan", str(db_path)]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["scan", str(db_path)]) == 0
    shown = capsys.readouterr().err
    assert shown.startswith("\r\x1b[K0 rows read, in store")
    assert shown.endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("wrapped", "verdict"),
    [
        (os.urandom(32), Verdict.UNSEALED),
        (os.urandom(32).hex().encode(), Verdict.UNSEALED),
        (base64.b64encode(os.urandom(32)), Verdict.UNSEALED),
        (base64.b64encode(os.urandom(32)) + b" " * 40, Verdict.UNSEALED),
        ("text", Verdict.UNSEALED),
        (b"", Verdict.UNSEALED),
        (b"\xc1\x57\x01\x01\x00" + os.urandom(119), Verdict.CORRUPT),
        (b"\xc1\x53\x01\x01\x00" + os.urandom(120), Verdict.CORRUPT),
        (b"\xc1\x57\x01\x01\x00" + os.urandom(120), Verdict.SEALED),
        (b"\x01\x02" + os.urandom(182), Verdict.SEALED),
        (b"vault:v1:" + base64.b64encode(os.urandom(60)), Verdict.SEALED),
    ],
    ids=["raw", "hex", "base64", "base64 and spaces", "text", "nothing", "cut", "another kind", "local", "a service's", "Vault's"],
)
def test_a_key_that_is_not_wrapped_is_found(keyring: Keyring, path: Path, wrapped: object, verdict: Verdict) -> None:
    keyring.seal(b"x", CONTEXT)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE sealpoint_wraps SET wrapped = ?", (wrapped,))
    report = scan(path)
    assert ("sealpoint_wraps", "wrapped") in {(finding.table, finding.column) for finding in report.of(verdict)}
    assert report.ok is (verdict is Verdict.SEALED)


def test_a_keyring_s_own_database(keyring: Keyring, path: Path) -> None:
    keyring.seal(b"x", CONTEXT)
    report = scan(path)
    assert report.ok, report.to_text()
    assert {finding.table for finding in report.sealed} == {"sealpoint_wraps", "sealpoint_canaries"}
    assert TENANT not in report.to_text()
