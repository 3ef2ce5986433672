"""SPEC section 2: keys and derivation; section 6.2: the canary's plaintext."""

import hashlib

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

KEY_LEN = 32
KEY_ID_LEN = 16
SUITE = 0x01
SUITE_NAME = "cobblestone-256"
DEK_PURPOSES = {"data": 0x01, "index": 0x02, "client": 0x03, "audit": 0x04}


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """SPEC section 2: `Expand(K, info, n)`."""
    if len(key) != KEY_LEN or not 0 < length <= 128:
        raise ValueError("Expand takes 32 key bytes and gives at most 128")
    return HKDFExpand(SHA512(), length, info).derive(key)


def body_key(dek: bytes, purpose: str, dek_id: bytes) -> bytes:
    """SPEC section 2: `K_body`."""
    return expand(dek, b"sealpoint/v1/body\0" + bytes([SUITE, DEK_PURPOSES[purpose]]) + dek_id, 32)


def key_check(dek: bytes, purpose: str, dek_id: bytes, version: int, tenant: str) -> bytes:
    """SPEC section 2: `key_check`."""
    name = tenant.encode()
    info = b"sealpoint/v1/key-check\0" + bytes([SUITE, DEK_PURPOSES[purpose]]) + dek_id
    info += version.to_bytes(4, "big") + len(name).to_bytes(2, "big") + name
    return expand(dek, info, 32)


def kek_id(kek: bytes) -> bytes:
    """SPEC section 2: `kek_id`."""
    return expand(kek, b"sealpoint/v1/kek-id\0", KEY_ID_LEN)


def wrap_key(kek: bytes) -> bytes:
    """SPEC section 2: `K_wrap`."""
    return expand(kek, b"sealpoint/v1/wrap\0" + bytes([SUITE]) + kek_id(kek), 32)


def context_hash(header: bytes, canonical: bytes) -> bytes:
    """SPEC section 4: `ctx`."""
    return hashlib.sha256(b"sealpoint/v1/context\0" + header + canonical).digest()


def stream_keys(input_key: bytes, salt: bytes, ctx: bytes) -> tuple[bytes, bytes, bytes]:
    """SPEC section 4: `K`, `base_nonce` and `commitment`."""
    okm = expand(input_key, b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + ctx, 76)
    return okm[:32], okm[32:44], okm[44:76]


def canary(kek_uri: str) -> bytes:
    """SPEC section 6.2: the 32 bytes that a key store keeps wrapped for each KEK."""
    return hashlib.sha256(b"sealpoint/v1/canary\0" + kek_uri.encode()).digest()
