"""The HTTP of the example: pages, toy sessions, and the headers that a page with keys in it needs."""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from records import USERS, Records

from sealpoint import Keyring, SealpointError

MAX_BODY_LEN = 128 << 20
PIECE_LEN = 1 << 16
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript", ".svg": "image/svg+xml"}
IMPORT_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


class Refused(Exception):
    """An answer that is no success, with a reason for people."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Answer:
    body: bytes
    content_type: str
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    user: str
    tenant: str


class Site(ThreadingHTTPServer):
    """Listens on the loopback interface only."""

    daemon_threads = True

    def __init__(self, port: int, keyring: Keyring, records: Records, pages: Mapping[str, Answer]) -> None:
        """port: 0 takes a free one. Raises: `OSError`."""
        super().__init__(("127.0.0.1", port), Handler)
        self.keyring = keyring
        self.records = records
        self.pages = pages
        self.policy = content_security_policy(pages["/"].body)
        self.sessions: dict[str, Session] = {}
        """By the cookie's value."""
        self.hosts = {f"{name}:{self.server_port}" for name in ("127.0.0.1", "localhost")}


def pages_from(folder: Path, module: Path) -> dict[str, Answer]:
    """Everything that is served as it is, by URL path: the page's files, and the package's module for browsers. Raises: `OSError`."""
    pages = {f"/{file.name}": _page(file) for file in folder.iterdir() if file.suffix in TYPES}
    pages["/"] = pages.pop("/index.html")
    pages["/sealpoint.mjs"] = _page(module)
    return pages


def content_security_policy(index: bytes) -> str:
    """Scripts come from this server only. An import map has to be inline: its hash admits that one. WebAssembly needs its own word."""
    import_map = IMPORT_MAP.search(index)
    if import_map is None:
        raise ValueError("index.html has no import map")
    digest = base64.b64encode(hashlib.sha256(import_map[1]).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Site
    protocol_version = "HTTP/1.1"
    server_version = "sealpoint-example"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        self._unread = 0
        try:
            self._unread = self._body_len()
            self._check_origin()
            answer = self._answer()
        except Refused as refused:
            answer = Answer(str(refused).encode(), "text/plain; charset=utf-8", refused.status)
        except SealpointError as error:
            answer = _json({"code": error.code, "message": str(error)}, HTTPStatus.UNPROCESSABLE_ENTITY)
        while self._unread and self._read(min(PIECE_LEN, self._unread)):
            pass  # a browser that is still sending would miss the answer
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def _answer(self) -> Answer:
        if self.command == "GET" and self.path in self.server.pages:
            return self.server.pages[self.path]
        routes: dict[tuple[str, str], Callable[[], Answer]] = {
            ("POST", "/api/login"): self._login,
            ("POST", "/api/logout"): self._logout,
            ("POST", "/api/key"): self._key,
            ("GET", "/api/records"): self._records,
            ("PUT", "/api/field"): self._accept_field,
            ("GET", "/api/log"): self._log,
            ("PUT", "/api/upload"): self._accept_file,
        }
        route = routes.get((self.command, self.path))
        if route is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        return route()

    def _login(self) -> Answer:
        """A toy: it believes whoever says who they are. Everything after it is meant."""
        (user,) = self._json_of("user")
        if user not in USERS:
            raise Refused(HTTPStatus.FORBIDDEN, "nobody here has that name")
        token = secrets.token_urlsafe(32)
        self.server.sessions[token] = Session(user, USERS[user])
        cookie = f"session={token}; Path=/; HttpOnly; SameSite=Strict"
        return _json({"user": user, "tenant": USERS[user], "maxUpload": MAX_BODY_LEN}, headers={"Set-Cookie": cookie})

    def _logout(self) -> Answer:
        self.server.sessions.pop(self._token(), None)
        return _json({}, headers={"Set-Cookie": "session=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"})

    def _key(self) -> Answer:
        """The tenant is the session's: the request has no say in it. This text is in no log, no URL and no cache."""
        session = self._session()
        text = self.server.keyring.export_data_key(session.tenant, reason=f"browser session of {session.user}")
        return Answer(text.encode(), "text/plain; charset=utf-8")

    def _records(self) -> Answer:
        tenant = self._session().tenant
        return _json({"fields": self.server.records.fields(tenant), "intruders": self.server.records.intruders(tenant)})

    def _accept_field(self) -> Answer:
        tenant = self._session().tenant
        document, path, sealed = self._json_of("document", "path", "sealed")
        try:
            return _json({"read": self.server.records.accept_field(tenant, document, path, sealed)})
        except KeyError:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such field") from None

    def _log(self) -> Answer:
        return Answer(self.server.records.log(self._session().tenant), "application/octet-stream")

    def _accept_file(self) -> Answer:
        tenant = self._session().tenant
        return _json(self.server.records.accept_file(tenant, self._body())._asdict())

    def _check_origin(self) -> None:
        """Refuses what another site makes a browser send, also one that gave its own name this machine's address."""
        host = self.headers.get("Host", "")
        if host not in self.server.hosts:
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "this server has another name")
        if self.command != "GET" and self.headers.get("Origin") != f"http://{host}":
            raise Refused(HTTPStatus.FORBIDDEN, "only the page of this server may ask for this")
        if self.path.startswith("/api/") and self.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            raise Refused(HTTPStatus.FORBIDDEN, "only the page of this server may ask for this")

    def _session(self) -> Session:
        session = self.server.sessions.get(self._token())
        if session is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "log in first")
        return session

    def _token(self) -> str:
        cookies = (cookie.strip().partition("=") for cookie in self.headers.get("Cookie", "").split(";"))
        return next((value for name, _, value in cookies if name == "session"), "")

    def _body_len(self) -> int:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,15}", length):
            self.close_connection = True
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "say how long the body is")
        if int(length) > MAX_BODY_LEN:
            self.close_connection = True
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_LEN} bytes")
        return int(length)

    def _body(self) -> bytes:
        return self._read(self._unread)

    def _read(self, length: int) -> bytes:
        read = self.rfile.read(length)
        self._unread = self._unread - length if len(read) == length else 0
        self.close_connection = self.close_connection or len(read) < length
        return read

    def _json_of(self, *names: str) -> tuple[str, ...]:
        """The strings with exactly these names."""
        try:
            sent = json.loads(self._body())
            if set(sent) == set(names) and all(isinstance(sent[name], str) for name in names):
                return tuple(sent[name] for name in names)
        except (ValueError, TypeError, RecursionError):
            pass
        raise Refused(HTTPStatus.BAD_REQUEST, f"send JSON with {' and '.join(names)}, as strings")

    def end_headers(self) -> None:
        """Also of the answers that the base class makes."""
        for name, value in {
            "Cache-Control": "no-store",
            "Content-Security-Policy": self.server.policy,
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items():
            self.send_header(name, value)
        super().end_headers()


def _page(file: Path) -> Answer:
    return Answer(file.read_bytes(), f"{TYPES[file.suffix]}; charset=utf-8")


def _json(value: Any, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(json.dumps(value).encode(), "application/json", status, headers or {})
