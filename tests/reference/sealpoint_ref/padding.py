"""SPEC section 4.1: the inner plaintext and its padding."""

from .errors import SealpointError

PLAIN, PADDED = 0x00, 0x01
MAX_CONTENT_TYPE_LEN = 255


def bucket(n: int) -> int:
    """SPEC section 4.1: the length that `n` bytes, the 0x80 included, are padded to."""
    if n <= 256:
        unit = 32
    else:
        e = n.bit_length() - 1
        s = e.bit_length()  # floor(log2 e) + 1
        unit = 1 << (e - s)
    return -(-n // unit) * unit


def build_inner(content_type: bytes, payload: bytes, encoding: int) -> bytes:
    """SPEC section 4.1: the inner plaintext of a payload."""
    if len(content_type) > MAX_CONTENT_TYPE_LEN:
        raise SealpointError("limit_exceeded", "content type too long")
    if not _printable(content_type):
        raise SealpointError("invalid_argument", "content type outside 0x20 to 0x7E")
    inner = bytes([len(content_type)]) + content_type + payload
    if encoding == PADDED:
        inner += b"\x80"
        inner += bytes(bucket(len(inner)) - len(inner))
    return inner


def parse_inner(inner: bytes, encoding: int) -> tuple[bytes, bytes]:
    """SPEC section 4.1: content type and payload, or `malformed`."""
    if encoding == PADDED:
        stripped = inner.rstrip(b"\0")
        if stripped[-1:] != b"\x80":
            raise SealpointError("malformed", "no 0x80")
        if len(inner) != bucket(len(stripped)):
            raise SealpointError("malformed", "not the bucket's length")
        inner = stripped[:-1]
    if not inner or len(inner) < 1 + inner[0]:
        raise SealpointError("malformed", "content type does not fit")
    content_type = inner[1 : 1 + inner[0]]
    if not _printable(content_type):
        raise SealpointError("malformed", "content type outside 0x20 to 0x7E")
    return content_type, inner[1 + inner[0] :]


def _printable(text: bytes) -> bool:
    return all(0x20 <= byte <= 0x7E for byte in text)
