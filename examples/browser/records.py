"""What this application does with sealpoint. It keeps sealed values only, and opens what browsers sealed.

Everything here is sealed under the tenant's *client* key, which its users' browsers get. All people and cases are invented.
"""

import hashlib
from threading import Lock
from typing import NamedTuple

from sealpoint import Context, Keyring

USERS = {"ines": "acme", "tobias": "globex"}
"""Who can log in, and for which tenant they work."""

CASES = {
    "acme": {
        "case-104": {
            "/customer": "Marisol Quintavalle, Lanternhill, Saltmarsh Bay",
            "/card": "4111 1111 1111 1111",
            "/note": "The concentrator in Juniper 3 shrieks at night: send a courier before 14:00.",
        },
        "case-117": {
            "/customer": "Ptolemy Hazelrigg, Inverwhin",
            "/card": "5500 0055 5555 5559",
            "/note": "Wants the invoice again, without the discount.",
        },
    },
    "globex": {
        "case-104": {
            "/customer": "Octavian Brandywell, Verdant Spire",
            "/card": "3400 0000 0000 009",
            "/note": "Valve of silo 3 is wide open. Nobody goes in before a hand meter says under 1,000 ppm.",
        },
    },
}
"""tenant → document → JSON path → value. Both tenants have a case-104: the tenant alone keeps them apart."""

LOG = "calls.csv"
UPLOAD = "upload"


class Receipt(NamedTuple):
    """What was read of a file."""

    bytes: int
    sha256: str


class Records:
    """The sealed fields and the sealed file of each tenant."""

    def __init__(self, keyring: Keyring, file_len: int) -> None:
        """file_len: bytes of each tenant's call log, before sealing."""
        self._keyring = keyring
        self._lock = Lock()
        self._fields = {
            (tenant, document, path): keyring.seal_text(value, field(tenant, document, path), dek_purpose="client")
            for tenant, documents in CASES.items()
            for document, values in documents.items()
            for path, value in values.items()
        }
        self._logs = {
            tenant: keyring.seal(call_log(tenant, file_len), file(tenant, LOG), content_type="text/csv", dek_purpose="client")
            for tenant in CASES
        }

    def fields(self, tenant: str) -> list[dict[str, str]]:
        """The tenant's sealed fields, each with the position that it was sealed for."""
        with self._lock:
            return [
                {"document": document, "path": path, "sealed": sealed}
                for (owner, document, path), sealed in self._fields.items()
                if owner == tenant
            ]

    def intruders(self, tenant: str) -> list[dict[str, str]]:
        """What a broken server, or someone who can write its database, could put at the position of a tenant's field."""
        document, path = "case-104", "/note"
        other = next(name for name in CASES if name != tenant)
        with self._lock:
            own, foreign, card = (
                self._fields[key] for key in ((tenant, document, path), (other, document, path), (tenant, document, "/card"))
            )
        of_the_server = self._keyring.seal_text("Internal: never shown to users.", field(tenant, document, path))
        tried = {
            "the same field of another tenant": foreign,
            "its own field with one character changed": _changed(own),
            "another field of the same case": card,
            "a value under the server's data key": of_the_server,
            "a value that nobody sealed": "Ship everything to the harbour.",
        }
        return [{"what": what, "document": document, "path": path, "sealed": value} for what, value in tried.items()]

    def accept_field(self, tenant: str, document: str, path: str, sealed: str) -> str:
        """Opens what a browser sealed and keeps it, sealed, in the place of what was there. The value that it reads.

        Raises: `KeyError` (no such field), and what `Keyring.open_text` raises.
        """
        key = (tenant, document, path)
        if key not in self._fields:
            raise KeyError("no such field")
        value = self._keyring.open_text(sealed, field(*key), dek_purpose="client")
        with self._lock:
            self._fields[key] = sealed
        return value

    def log(self, tenant: str) -> bytes:
        """The tenant's call log: one sealed file of many megabytes."""
        return self._logs[tenant]

    def accept_file(self, tenant: str, sealed: bytes) -> Receipt:
        """Opens a file that a browser sealed. Raises: what `Keyring.open` raises."""
        payload = self._keyring.open(sealed, file(tenant, UPLOAD), dek_purpose="client")
        return Receipt(len(payload), hashlib.sha256(payload).hexdigest())


def field(tenant: str, document: str, path: str) -> Context:
    """Where a field belongs. The page writes down the same (`page/session.js`)."""
    return Context(tenant=tenant, purpose="field", document=document, path=path)


def file(tenant: str, name: str) -> Context:
    """Where a file belongs. The page writes down the same (`page/session.js`)."""
    return Context(tenant=tenant, purpose="example.file", file=name)


def call_log(tenant: str, length: int) -> bytes:
    """Invented calls as CSV, cut off at this many bytes: the same each time."""
    header = "number,tenant,minutes,subject\n"
    calls = "".join(f"{n},{tenant},{n * 7 % 90},asked about order LH-{n * 7919 % 100_000:05}\n" for n in range(1, 10_001))
    text = (header + calls * (length // len(calls) + 1)).encode()
    return text[:length]


def _changed(text: str) -> str:
    """With another character in the middle, so that it is still base64url."""
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]
