"""moto as AWS KMS (an emulator: real AES-GCM, no key states), behind a proxy that counts calls and gives the faults that moto has not.

The proxy's answers are fakes of what the service documents. Their messages hold what must not be passed on.
"""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.server import ThreadedMotoServer
from support import TENANT, serve_key_service

TOLD = f"User: arn:aws:iam::111122223333:role/{TENANT} is not authorized"

Fault = tuple[int, str] | str | Callable[[dict[str, Any]], dict[str, Any]] | None
"""What to answer: (HTTP status, error code), `reset`, `hang`, `garbage`, a function of moto's answer, or None: moto's."""


class AwsKms:
    """The two servers, on loopback."""

    def __init__(self) -> None:
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        self._moto_address = self._moto.get_host_and_port()
        self._proxy = _Proxy(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._proxy.server_address[1]}"
        self.reset()

    def reset(self) -> None:
        """No faults, and counts at zero."""
        self.calls: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.fault: Fault = None
        self.hanging = threading.Event()

    def close(self) -> None:
        self.hanging.set()
        self._proxy.shutdown()
        self._proxy.server_close()
        self._moto.stop()

    def next_fault(self, operation: str, request: dict[str, Any]) -> Fault:
        """`faults` are answered first, one a call, then `fault` each time."""
        self.calls[operation] += 1
        self.requests.append(request)
        return self.faults.pop(0) if self.faults else self.fault

    def forward(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._moto_address, timeout=30)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that does not wait for a hanging answer is meant."""


def _handler(kms: AwsKms) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are written apart

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operation = self.headers["X-Amz-Target"].partition(".")[2]
            fault = kms.next_fault(operation, json.loads(body))
            if fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            elif fault == "hang":
                kms.hanging.wait(30)
                self.close_connection = True
            elif fault == "garbage":
                self._answer(200, b"<html>")
            elif isinstance(fault, tuple):
                status, code = fault
                self._answer(status, json.dumps({"__type": code, "message": TOLD}).encode())
            else:
                status, answer = kms.forward(self.path, dict(self.headers), body)
                self._answer(status, json.dumps(fault(json.loads(answer))).encode() if callable(fault) else answer)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing to the terminal."""

    return Handler


def _fault(given: Any) -> Fault:
    """From JSON: a list is (status, code), an object what replaces fields of moto's answer."""
    if isinstance(given, dict):
        return lambda answer: {**answer, **given}
    return (given[0], given[1]) if isinstance(given, list) else given


if __name__ == "__main__":
    with closing(AwsKms()) as kms:
        serve_key_service(kms, kms.endpoint, _fault)
