"""SPEC sections 4 and 8: data envelopes, sealed with a given salt and opened strictly."""

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import derive, padding
from .errors import SealpointError

MAGIC = 0xC1
KIND_DATA, KIND_WRAP, KIND_KEY = 0x53, 0x57, 0x4B
KIND_RECOVERY_PUBLIC, KIND_RECOVERY_SECRET, KIND_RECOVERY_WRAP = 0x50, 0x51, 0x52
VERSION = 0x01
HEADER_LEN, SALT_LEN, COMMITMENT_LEN, TAG_LEN = 21, 24, 32, 16
BODY_AT = HEADER_LEN + SALT_LEN + COMMITMENT_LEN  # 77
CHUNK_LEN = 16_384
MAX_PAYLOAD_LEN = 1 << 30
MAX_INNER_LEN = padding.bucket(1 + padding.MAX_CONTENT_TYPE_LEN + MAX_PAYLOAD_LEN + 1)
TEXT_PREFIXES = (b"sealpoint:", b"sealpoint-")


@dataclass(frozen=True)
class DataKey:
    """SPEC section 2: a DEK with what is needed to seal and open under it."""

    secret: bytes
    key_id: bytes
    purpose: str

    def body_key(self) -> bytes:
        """SPEC section 2: `K_body`."""
        return derive.body_key(self.secret, self.purpose, self.key_id)


def header(kind: int, encoding: int, key_id: bytes) -> bytes:
    """SPEC section 4: bytes 0 to 20."""
    return bytes([MAGIC, kind, VERSION, derive.SUITE, encoding]) + key_id


def seal_body(input_key: bytes, head: bytes, canonical: bytes, salt: bytes, plaintext: bytes) -> bytes:
    """SPEC section 4: header, salt, commitment and chunks."""
    key, base_nonce, commitment = derive.stream_keys(input_key, salt, derive.context_hash(head, canonical))
    aead = AESGCM(key)
    out = bytearray(head + salt + commitment)
    for number in range(len(plaintext) // CHUNK_LEN + 1):  # a multiple of CHUNK_LEN ends with an empty chunk
        piece = plaintext[number * CHUNK_LEN : (number + 1) * CHUNK_LEN]
        out += aead.encrypt(_nonce(base_nonce, number), piece, b"")
    return bytes(out)


def seal(key: DataKey, canonical: bytes, content_type: bytes, payload: bytes, encoding: int, salt: bytes) -> bytes:
    """SPEC section 4: a data envelope. The salt is given, so this is for vectors only."""
    if len(payload) > MAX_PAYLOAD_LEN:
        raise SealpointError("limit_exceeded", "payload too long")
    inner = padding.build_inner(content_type, payload, encoding)
    return seal_body(key.body_key(), header(KIND_DATA, encoding, key.key_id), canonical, salt, inner)


def check_header(data: bytes, kind: int, encodings: tuple[int, ...]) -> None:
    """SPEC section 8, steps 1 to 5."""
    if data.startswith(TEXT_PREFIXES):
        raise SealpointError("malformed", "a text form passed as bytes")
    if not data or data[0] != MAGIC:
        raise SealpointError("plaintext_refused")
    steps: tuple[tuple[tuple[int, ...], str], ...] = (
        ((kind,), "malformed"),
        ((VERSION,), "unsupported_version"),
        ((derive.SUITE,), "unsupported_suite"),
        (encodings, "unsupported_encoding"),
    )
    for at, (known, code) in enumerate(steps, start=1):
        if len(data) <= at:
            raise SealpointError("malformed", f"ends before byte {at}")
        if data[at] not in known:
            raise SealpointError(code)


def open_body(input_key: bytes, data: bytes, canonical: bytes) -> bytes:
    """SPEC section 8, steps 8 and 9. The length was checked."""
    ctx = derive.context_hash(data[:HEADER_LEN], canonical)
    key, base_nonce, commitment = derive.stream_keys(input_key, data[HEADER_LEN : HEADER_LEN + SALT_LEN], ctx)
    if not hmac.compare_digest(commitment, data[HEADER_LEN + SALT_LEN : BODY_AT]):
        raise SealpointError("authentication_failed", "commitment")
    aead = AESGCM(key)
    out = bytearray()
    for number, at in enumerate(range(BODY_AT, len(data), CHUNK_LEN + TAG_LEN)):
        try:
            out += aead.decrypt(_nonce(base_nonce, number), data[at : at + CHUNK_LEN + TAG_LEN], b"")
        except InvalidTag as error:
            raise SealpointError("authentication_failed", f"chunk {number}") from error
    return bytes(out)


def check_form(data: bytes) -> None:
    """SPEC section 8, steps 1 to 6, of a data envelope."""
    check_header(data, KIND_DATA, (padding.PLAIN, padding.PADDED))
    body_len = len(data) - BODY_AT
    if body_len < TAG_LEN or body_len % (CHUNK_LEN + TAG_LEN) < TAG_LEN:
        raise SealpointError("malformed", "no valid chunking")
    if body_len > MAX_INNER_LEN + (MAX_INNER_LEN // CHUNK_LEN + 1) * TAG_LEN:
        raise SealpointError("limit_exceeded", "envelope too long")


def open_(key: DataKey, canonical: bytes, data: bytes) -> tuple[bytes, bytes]:
    """SPEC section 8: content type and payload of a data envelope."""
    check_form(data)
    if data[5:HEADER_LEN] != key.key_id:
        raise SealpointError("key_not_found")
    content_type, payload = padding.parse_inner(open_body(key.body_key(), data, canonical), data[4])
    if len(payload) > MAX_PAYLOAD_LEN:
        raise SealpointError("limit_exceeded", "payload too long")
    return content_type, payload


def _nonce(base_nonce: bytes, number: int) -> bytes:
    return (int.from_bytes(base_nonce, "big") ^ number).to_bytes(12, "big")
