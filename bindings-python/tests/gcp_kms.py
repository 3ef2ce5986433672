"""A fake of Google Cloud KMS on the official protos, for the official client: keys of one version, and the documented errors.

It compares CRC32C where one was sent, and binds the additional data, as the service does. Messages hold what must not be passed on.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import google_crc32c
import grpc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud import kms_v1
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from support import TENANT, serve_key_service

TOLD = f"Permission denied on {TENANT}, current state is: "
Fault = tuple[grpc.StatusCode, str] | str | Callable[[Any], None] | None
"""What to answer: a status and a word of its message, `hang`, a function that changes the answer, or None: what was asked for."""


class FakeGcpKms:
    """The server, on loopback; keys by name, one version each."""

    def __init__(self) -> None:
        self.keys: dict[str, AESGCM] = {}
        methods = {
            "Encrypt": (self._encrypt, kms_v1.EncryptRequest, kms_v1.EncryptResponse),
            "Decrypt": (self._decrypt, kms_v1.DecryptRequest, kms_v1.DecryptResponse),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._counted(name, method), request_deserializer=request.deserialize, response_serializer=response.serialize
            )
            for name, (method, request, response) in methods.items()
        }
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("google.cloud.kms.v1.KeyManagementService", handlers),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        self.reset()

    def reset(self) -> None:
        """No faults, and counts at zero."""
        self.calls: Counter[str] = Counter()
        self.requests: list[Any] = []
        self.faults: list[Fault] = []
        self.fault: Fault = None
        self.hanging = threading.Event()

    def close(self) -> None:
        self.hanging.set()
        self._server.stop(None).wait(30)

    def client(self) -> kms_v1.KeyManagementServiceClient:
        transport = KeyManagementServiceGrpcTransport(channel=grpc.insecure_channel(self.address))
        return kms_v1.KeyManagementServiceClient(transport=transport)

    def key(self, name: str) -> str:
        self.keys[name] = AESGCM(os.urandom(32))
        return name

    def _counted(self, name: str, method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def work(request: Any, context: Any) -> Any:
            self.calls[name] += 1
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else self.fault
            if fault == "hang":
                self.hanging.wait(30)
            if isinstance(fault, tuple):
                context.abort(fault[0], TOLD + fault[1])
            if request.name not in self.keys:
                context.abort(grpc.StatusCode.NOT_FOUND, TOLD)
            aad = request.additional_authenticated_data
            if request.additional_authenticated_data_crc32c not in (None, google_crc32c.value(aad)):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, TOLD)
            answer = method(request, context)
            if callable(fault):
                fault(answer)
            return answer

        return work

    def _encrypt(self, request: Any, context: Any) -> Any:
        if request.plaintext_crc32c not in (None, google_crc32c.value(request.plaintext)):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, TOLD)
        nonce = os.urandom(12)
        sealed = nonce + self.keys[request.name].encrypt(nonce, request.plaintext, request.additional_authenticated_data)
        return kms_v1.EncryptResponse(
            name=f"{request.name}/cryptoKeyVersions/1",
            ciphertext=sealed,
            ciphertext_crc32c=google_crc32c.value(sealed),
            verified_plaintext_crc32c=True,
            verified_additional_authenticated_data_crc32c=True,
        )

    def _decrypt(self, request: Any, context: Any) -> Any:
        sealed = request.ciphertext
        if request.ciphertext_crc32c not in (None, google_crc32c.value(sealed)):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, TOLD)
        try:
            plaintext = self.keys[request.name].decrypt(sealed[:12], sealed[12:], request.additional_authenticated_data)
        except InvalidTag:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, TOLD)
        return kms_v1.DecryptResponse(plaintext=plaintext, plaintext_crc32c=google_crc32c.value(plaintext), used_primary=True)


def flip(field: str) -> Callable[[Any], None]:
    """A fault: an answer that was damaged on the way."""

    def change(answer: Any) -> None:
        if hasattr(answer, field):
            value = getattr(answer, field)
            setattr(answer, field, (not value) if isinstance(value, bool) else bytes([value[0] ^ 1]) + value[1:])

    return change


def _fault(given: Any) -> Fault:
    """From JSON: a list is (status, word), `{"flip": field}`, `{"name": text}` or `{"plaintext": text}`, which comes with its checksum."""
    if isinstance(given, list):
        return grpc.StatusCode[given[0]], given[1]
    if not isinstance(given, dict):
        return given
    if "flip" in given:
        return flip(given["flip"])

    def change(answer: Any) -> None:
        if "name" in given:
            answer.name = given["name"]
        if "plaintext" in given:
            answer.plaintext = given["plaintext"].encode()
            answer.plaintext_crc32c = google_crc32c.value(answer.plaintext)

    return change


if __name__ == "__main__":
    with closing(FakeGcpKms()) as kms:
        serve_key_service(kms, kms.address, _fault, shown=lambda request: type(request).to_dict(request), key=kms.key)
