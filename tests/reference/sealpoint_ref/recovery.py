"""SPEC section 6.4: recovery keys."""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import envelope, text
from .errors import SealpointError

SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA512, hpke.AEAD.AES_256_GCM)
LENGTHS = {envelope.KIND_RECOVERY_WRAP: 1189, envelope.KIND_RECOVERY_PUBLIC: 1237, envelope.KIND_RECOVERY_SECRET: 53}
MLKEM_PUBLIC_LEN = 1184


def private_key(secret: bytes) -> hpke.MLKEM768X25519PrivateKey:
    """draft-ietf-hpke-pq: the KEM's private key is a seed, of which SHAKE256 makes those of ML-KEM and X25519."""
    seeds = hashlib.shake_256(secret).digest(96)
    mlkem_key = mlkem.MLKEM768PrivateKey.from_seed_bytes(seeds[:64])
    return hpke.MLKEM768X25519PrivateKey(mlkem_key, x25519.X25519PrivateKey.from_private_bytes(seeds[64:]))


def public_bytes(secret: bytes) -> bytes:
    """The public key's 1,216 bytes."""
    seeds = hashlib.shake_256(secret).digest(96)
    classic = x25519.X25519PrivateKey.from_private_bytes(seeds[64:]).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return mlkem.MLKEM768PrivateKey.from_seed_bytes(seeds[:64]).public_key().public_bytes_raw() + classic


def recovery_id(public: bytes) -> bytes:
    """SPEC section 6.4: `recovery_id`."""
    return hashlib.sha256(b"sealpoint/v1/recovery-id\0" + public).digest()[:16]


def header(kind: int, public: bytes) -> bytes:
    """SPEC section 6.4: the first 21 bytes."""
    return bytes([envelope.MAGIC, kind, envelope.VERSION, 1, 0]) + recovery_id(public)


def info(head: bytes, canonical: bytes) -> bytes:
    """SPEC section 6.4: what HPKE binds."""
    return b"sealpoint/v1/recovery\0" + head + canonical


def wrap(secret: bytes, canonical: bytes, dek: bytes) -> bytes:
    """A recovery wrap, another one each time: HPKE draws randomness of its own."""
    head = header(envelope.KIND_RECOVERY_WRAP, public_bytes(secret))
    return head + SUITE.encrypt(dek, private_key(secret).public_key(), info(head, canonical))


def parse(kind: int, data: bytes) -> tuple[bytes, bytes]:
    """SPEC section 6.4, steps 1 to 6: the id, and what follows the header."""
    if data[:1] != bytes([envelope.MAGIC]):
        raise SealpointError("plaintext_refused")
    for at, known, code in (
        (1, kind, "malformed"),
        (2, envelope.VERSION, "unsupported_version"),
        (3, 1, "unsupported_suite"),
        (4, 0, "unsupported_encoding"),
    ):
        if len(data) <= at:
            raise SealpointError("malformed", f"ends before byte {at}")
        if data[at] != known:
            raise SealpointError(code)
    if len(data) != LENGTHS[kind]:
        raise SealpointError("malformed", "length")
    return data[5:21], data[21:]


def unwrap(secret: bytes, canonical: bytes, data: bytes) -> bytes:
    """SPEC section 6.4: the DEK of a recovery wrap."""
    found, sealed = parse(envelope.KIND_RECOVERY_WRAP, data)
    if found != recovery_id(public_bytes(secret)):
        raise SealpointError("key_not_found")
    try:
        return bytes(SUITE.decrypt(sealed, private_key(secret), info(data[:21], canonical)))
    except InvalidTag:
        raise SealpointError("authentication_failed") from None


def secret_text(secret: bytes) -> str:
    """SPEC section 6.4: the text of a secret key."""
    return text.encode(envelope.KIND_RECOVERY_SECRET, header(envelope.KIND_RECOVERY_SECRET, public_bytes(secret)) + secret)


def public_text(secret: bytes) -> str:
    """SPEC section 6.4: the text of its public key."""
    public = public_bytes(secret)
    return text.encode(envelope.KIND_RECOVERY_PUBLIC, header(envelope.KIND_RECOVERY_PUBLIC, public) + public)


def import_secret(value: str) -> bytes:
    """SPEC section 6.4: the secret key of a text."""
    found, secret = parse(envelope.KIND_RECOVERY_SECRET, text.decode(envelope.KIND_RECOVERY_SECRET, value))
    if not hmac.compare_digest(found, recovery_id(public_bytes(secret))):
        raise SealpointError("authentication_failed", "the id is another key's")
    return secret


def import_public(value: str) -> bytes:
    """SPEC section 6.4: the public key of a text."""
    found, public = parse(envelope.KIND_RECOVERY_PUBLIC, text.decode(envelope.KIND_RECOVERY_PUBLIC, value))
    if not hmac.compare_digest(found, recovery_id(public)):
        raise SealpointError("authentication_failed", "the id is another key's")
    try:
        mlkem.MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_LEN])
    except ValueError:
        raise SealpointError("malformed", "no public key of the KEM") from None
    return public
