"""The service that `own_kms.py` asks: a stand-in on loopback, whose keys live in memory."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


@contextmanager
def key_service(answer: list[int] | None = None) -> Iterator[str]:
    """Serves the key `kek-1` and gives the URL. answer: HTTP statuses to answer with, one a call, before anything else."""
    keys = {"kek-1": AESGCM(os.urandom(32))}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            key, aad = keys.get(self.headers["X-Key"]), base64.b64decode(self.headers["X-Context"])
            status, result = answer.pop(0) if answer else 200 if key else 404, b""
            if key and status == 200:
                try:
                    nonce = os.urandom(12)
                    result = nonce + key.encrypt(nonce, body, aad) if self.path == "/wrap" else key.decrypt(body[:12], body[12:], aad)
                except InvalidTag:
                    status = 422
            self.send_response(status)
            self.end_headers()
            self.wfile.write(result)

        def log_message(self, *_: object) -> None:
            """Nothing to the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
