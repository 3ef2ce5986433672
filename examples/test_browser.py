"""The browser example: its server by itself, and the whole of it in Chromium and Firefox."""

import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from browser import records
from sealpoint import DataKey

FOLDER = Path(__file__).parent / "browser"
PACKAGE = FOLDER.parents[1] / "bindings-node"
BROWSERS = {"chromium": ("chromium", "google-chrome"), "firefox": ("firefox-esr", "firefox")}
FILE_MIB = 32


@dataclass
class Site:
    """A running server, and one who asks it."""

    port: int
    process: subprocess.Popen[str]
    said: Path
    cookie: str = field(default="", repr=False)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        """As the page asks, but for the headers that are given; an empty one is left out."""
        sent = {"host": f"127.0.0.1:{self.port}", "origin": self.origin, "cookie": self.cookie} | headers
        if "transfer_encoding" not in headers:
            sent = {"content_length": str(len(body))} | sent
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value:
                connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        answer = connection.getresponse()
        read = answer.read()
        connection.close()
        return answer.status, answer.headers, read

    def put_field(self, **value: Any) -> tuple[int, Any]:
        status, _, body = self.ask("PUT", "/api/field", json.dumps(value).encode())
        return status, json.loads(body)

    def as_(self, user: str) -> "Site":
        """The same server, for somebody who has logged in."""
        status, headers, _ = self.ask("POST", "/api/login", json.dumps({"user": user}).encode())
        assert status == 200
        return Site(self.port, self.process, self.said, headers["Set-Cookie"].partition(";")[0])

    def key(self) -> str:
        status, _, body = self.ask("POST", "/api/key")
        assert status == 200
        return body.decode()


def command(*options: str) -> list[str]:
    return [sys.executable, str(FOLDER / "server.py"), "--port", "0", *options]


@contextmanager
def running(said: Path, *options: str, environment: Mapping[str, str] = os.environ) -> Iterator[Site]:
    # What runs in a shell's background ignores SIGINT, and so would what it starts.
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    with said.open("w") as errors:
        process = subprocess.Popen(command(*options), env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, preexec_fn=heard)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.match(r"http://127\.0\.0\.1:(\d+)/ ", line)
        assert found, line + said.read_text()
        yield Site(int(found[1]), process, said)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not the npm package: an empty module in its place, since Python alone asks this server."""
    folder = tmp_path_factory.mktemp("stand-in")
    (folder / "package.json").write_text(json.dumps({"exports": {".": {"browser": {"default": "./empty.mjs"}}}}))
    (folder / "empty.mjs").write_text("export {};")
    return folder


@pytest.fixture(scope="module")
def site(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    said = tmp_path_factory.mktemp("server") / "said"
    with running(said, "--demo", "--file-mib", "1", "--package", str(stand_in)) as started:
        yield started


@pytest.fixture(scope="module")
def ines(site: Site) -> Site:
    return site.as_("ines")


def test_the_key_is_the_sessions_own_and_is_kept_nowhere(ines: Site, site: Site) -> None:
    status, headers, body = ines.ask("POST", "/api/key")
    assert status == 200
    assert headers["Cache-Control"] == "no-store"
    key = DataKey.from_exported(body.decode())
    assert (key.tenant, key.dek_purpose) == ("acme", 3)
    assert DataKey.from_exported(site.as_("tobias").key()).tenant == "globex"


def test_what_the_server_gives_opens_under_that_key_and_holds_no_plaintext(ines: Site) -> None:
    key = DataKey.from_exported(ines.key())
    _, _, body = ines.ask("GET", "/api/records")
    for sealed in json.loads(body)["fields"]:
        value = key.open(sealed["sealed"], records.field("acme", sealed["document"], sealed["path"])).decode()
        assert value == records.CASES["acme"][sealed["document"]][sealed["path"]]
        assert value.encode() not in body
    assert len(json.loads(body)["fields"]) == 6
    _, _, log = ines.ask("GET", "/api/log")
    assert key.open_typed(log, records.file("acme", records.LOG)) == ("text/csv", records.call_log("acme", 1 << 20))


def test_what_is_sealed_under_that_key_is_read_and_kept(ines: Site) -> None:
    key = DataKey.from_exported(ines.key())
    position = {"document": "case-117", "path": "/note"}
    sealed = key.seal_text("zwölf", records.field("acme", **position))
    try:
        assert ines.put_field(**position, sealed=sealed) == (200, {"read": "zwölf"})
        assert {**position, "sealed": sealed} in json.loads(ines.ask("GET", "/api/records")[2])["fields"]
    finally:
        again = key.seal_text(records.CASES["acme"]["case-117"]["/note"], records.field("acme", **position))
        assert ines.put_field(**position, sealed=again)[0] == 200
    payload = secrets.token_bytes(3 << 20)
    status, _, body = ines.ask("PUT", "/api/upload", key.seal(payload, records.file("acme", records.UPLOAD)))
    assert (status, json.loads(body)) == (200, {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()})


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda sealed: sealed[:-8] + "AAAAAAAA", "authentication_failed"),
        (lambda sealed: sealed + "=", "malformed"),
        (lambda sealed: sealed[:40], "malformed"),
        (lambda sealed: sealed.replace(":v1:", ":v2:"), "unsupported_version"),
        (lambda _: "in the clear", "plaintext_refused"),
        (lambda _: "", "plaintext_refused"),
        (lambda _: "sealpoint:v1:\ud800", "malformed"),
    ],
)
def test_what_does_not_open_is_refused_with_its_code_and_not_kept(ines: Site, damage: Any, code: str) -> None:
    before = json.loads(ines.ask("GET", "/api/records")[2])["fields"]
    position = {"document": "case-104", "path": "/card"}
    sealed = DataKey.from_exported(ines.key()).seal_text("4000", records.field("acme", **position))
    status, answer = ines.put_field(**position, sealed=damage(sealed))
    assert (status, answer["code"]) == (422, code)
    assert json.loads(ines.ask("GET", "/api/records")[2])["fields"] == before


def test_another_tenants_seal_is_refused(ines: Site, site: Site) -> None:
    position = {"document": "case-104", "path": "/note"}  # globex has such a case too
    sealed = DataKey.from_exported(site.as_("tobias").key()).seal_text("x", records.field("globex", **position))
    status, answer = ines.put_field(**position, sealed=sealed)
    assert (status, answer["code"]) == (422, "authentication_failed")


PUT = json.dumps({"document": "case-104", "path": "/note", "sealed": "x"}).encode()


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/api/key", b"", {"origin": ""}, 403),
        ("POST", "/api/key", b"", {"origin": "null"}, 403),
        ("POST", "/api/key", b"", {"origin": "http://127.0.0.1:1"}, 403),
        ("POST", "/api/login", b'{"user": "ines"}', {"origin": "https://attacker.example"}, 403),
        ("PUT", "/api/field", PUT, {"origin": "https://attacker.example"}, 403),
        ("POST", "/api/key", b"", {"host": "attacker.example", "origin": "http://attacker.example"}, 421),
        ("GET", "/", b"", {"host": "attacker.example"}, 421),
        ("GET", "/api/records", b"", {"sec_fetch_site": "cross-site"}, 403),
        ("GET", "/api/log", b"", {"sec_fetch_site": "same-site"}, 403),
        ("POST", "/api/key", b"", {"cookie": ""}, 401),
        ("POST", "/api/key", b"", {"cookie": "session=guessed"}, 401),
        ("GET", "/api/records", b"", {"cookie": ""}, 401),
        ("GET", "/api/log", b"", {"cookie": "; =; session"}, 401),
        ("PUT", "/api/field", PUT, {"cookie": ""}, 401),
        ("PUT", "/api/upload", bytes(5 << 20), {"cookie": ""}, 401),
        ("POST", "/api/login", b'{"user": "mallory"}', {}, 403),
        ("POST", "/api/login", b'{"user": ["ines"]}', {}, 400),
        ("POST", "/api/login", b'{"user": "ines", "tenant": "globex"}', {}, 400),
        ("POST", "/api/login", b"[" * 100_000, {}, 400),
        ("POST", "/api/login", b"\xff", {}, 400),
        ("POST", "/api/login", b"3", {}, 400),
        ("PUT", "/api/field", b"{}", {}, 400),
        ("PUT", "/api/field", PUT.replace(b"/note", b"/none"), {}, 404),
        ("PUT", "/api/upload", b"", {"content_length": str((128 << 20) + 1)}, 413),
        ("PUT", "/api/upload", b"", {"content_length": "-1"}, 411),
        ("PUT", "/api/upload", b"0\r\n\r\n", {"transfer_encoding": "chunked"}, 411),
        ("GET", "/api/key", b"", {}, 404),
        ("GET", "/index.html/../../server.py", b"", {}, 404),
        ("GET", "/server.py", b"", {}, 404),
        ("DELETE", "/api/records", b"", {}, 501),
    ],
)
def test_http_that_is_refused(ines: Site, method: str, path: str, body: bytes, headers: dict[str, str], status: int) -> None:
    answered, sent, text = ines.ask(method, path, body, **headers)
    assert answered == status
    assert b"sealpoint-key" not in text
    assert_guarded(sent)


def assert_guarded(headers: Mapping[str, str]) -> None:
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/]{43}=' 'wasm-unsafe-eval'", policy["script-src"])
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}


def test_the_page_and_its_files_are_guarded(site: Site) -> None:
    page = (FOLDER / "page" / "index.html").read_text()
    for path in ["/", "/sealpoint.mjs", *re.findall(r'(?:src|href)="(/[^"]+)"', page)]:
        status, headers, body = site.ask("GET", path, cookie="")
        assert status == 200, path
        assert body
        assert_guarded(headers)
    assert len(re.findall(r"<script", page)) == 2
    assert not re.search(r"<style|style=|\son\w+=", page)


def test_a_session_ends_at_the_logout(site: Site) -> None:
    tobias = site.as_("tobias")
    assert re.fullmatch(r"session=[\w-]{43}", tobias.cookie)
    status, headers, _ = tobias.ask("POST", "/api/logout")
    assert status == 200
    assert "Max-Age=0" in headers["Set-Cookie"]
    assert tobias.ask("POST", "/api/key")[0] == 401


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(site: Site) -> None:
    _, headers, _ = site.ask("POST", "/api/login", b'{"user": "ines"}')
    assert headers["Set-Cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")


def test_the_server_says_nothing_that_is_secret(stand_in: Path, tmp_path: Path) -> None:
    with running(tmp_path / "said", "--demo", "--file-mib", "1", "--package", str(stand_in)) as site:
        ines = site.as_("ines")
        key = ines.key()
        sealed = DataKey.from_exported(key).seal_text("Zanzibar", records.field("acme", "case-104", "/note"))
        assert ines.put_field(document="case-104", path="/note", sealed=sealed) == (200, {"read": "Zanzibar"})
        assert ines.put_field(document="case-104", path="/card", sealed=sealed)[0] == 422
        site.process.send_signal(signal.SIGINT)
        assert site.process.wait(timeout=30) == 0
    said = site.said.read_text()
    assert "POST /api/key" in said
    for secret in ("sealpoint-key", key[20:60], ines.cookie.removeprefix("session="), "Zanzibar", "Traceback"):
        assert secret not in said


def test_a_kek_and_a_key_store_outlive_the_server(stand_in: Path, tmp_path: Path) -> None:
    environment = os.environ | {"SEALPOINT_KEK": base64.b64encode(secrets.token_bytes(32)).decode()}
    options = ("--store", f"sqlite:///{tmp_path}/keys.db", "--file-mib", "1", "--package", str(stand_in))
    keys = []
    for _ in range(2):
        with running(tmp_path / "said", *options, environment=environment) as site:
            keys.append(site.as_("ines").key())
    assert keys[0] == keys[1]
    for file in tmp_path.iterdir():
        assert b"sealpoint-key" not in file.read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ([], 1, r"SEALPOINT_KEK is not set.*--demo"),
        (["--demo", "--package", "{tmp}"], 1, r"not the built npm package.*make build"),
        (["--demo", "--port", "{taken}"], 1, r"port \d+ of 127\.0\.0\.1 cannot be had"),
        (["--demo", "--store", "sqlite:///keys.db"], 2, r"never be opened again"),
        (["--demo", "--port", "65536"], 2, r"a number from 0 to 65535"),
        (["--demo", "--file-mib", "0"], 2, r"a number from 1 to 100"),
        (["--dem"], 2, r"unrecognized arguments"),
    ],
)
def test_why_it_does_not_start(site: Site, stand_in: Path, tmp_path: Path, options: list[str], code: int, reason: str) -> None:
    given = [option.format(tmp=tmp_path, taken=site.port) for option in options]
    environment = {name: value for name, value in os.environ.items() if name != "SEALPOINT_KEK"}
    done = subprocess.run(
        command("--package", str(stand_in), *given), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert re.search(reason, done.stderr, re.DOTALL)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_help() -> None:
    done = subprocess.run(command("--help"), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "SEALPOINT_KEK" in done.stdout


@pytest.mark.parametrize("browser", BROWSERS)
def test_the_page(browser: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    executable = next((found for name in BROWSERS[browser] if (found := shutil.which(name))), None)
    for there, what in (
        (executable, f"no {browser} (Debian: apt install chromium firefox-esr)"),
        (node, "no Node 20 or newer (Debian: apt install nodejs npm)"),
        ((PACKAGE / "dist").is_dir(), "the npm package is not built (make build)"),
        ((PACKAGE / "node_modules" / "puppeteer-core").is_dir(), "no puppeteer-core (make build)"),
    ):
        if not there:
            pytest.skip(f"the page was not tried in {browser}: {what}")
    assert node is not None
    assert executable is not None
    log = records.call_log("acme", FILE_MIB << 20)
    upload = bytes(range(256)) * (24 << 10)
    (tmp_path / "upload.bin").write_bytes(upload)
    expected = {
        "cases": records.CASES,
        "log": _digest(log) | {"header": log.partition(b"\n")[0].decode()},
        "upload": _digest(upload) | {"file": str(tmp_path / "upload.bin")},
    }
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    with running(tmp_path / "said", "--demo", "--file-mib", str(FILE_MIB)) as site:
        script = [str(FOLDER / "page.test.mjs"), browser, executable, f"{site.origin}/", str(tmp_path / "expected.json")]
        done = subprocess.run([node, *script], capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr + site.said.read_text()
    counts = dict(re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE))
    steps = len(re.findall(r'^step\("', (FOLDER / "page.test.mjs").read_text(), re.MULTILINE))
    assert (counts["pass"], counts["tests"]) == (str(steps), str(steps))
    assert "Traceback" not in site.said.read_text()


def _digest(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
