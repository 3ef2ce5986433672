"""The Rust core, as Python sees it. Every function that can fail raises `sealpoint.SealpointError` or a subclass, with `.code`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from typing_extensions import Buffer

__version__: Final[str]
ERROR_CODES: Final[Mapping[str, bool]]
"""Every error code (SPEC section 9) and whether a retry can help, as the core knows them."""

LIMITS: Final[Mapping[str, int]]
"""The limits of SPEC section 1, by their names there."""

CLEAR_METADATA: Final[Sequence[str]]
"""The metadata keys that stay in the clear (SPEC section 7.1)."""

@final
class Context:
    """What a sealed value is bound to: an immutable set of pairs, encoded once (SPEC section 3).

    `tenant` and `purpose` are required. Strings stand for themselves, integers and floats are typed (`i:3`, `f:…`), lists of strings
    become netstrings, and `version` is always typed. Keys that are no Python names are passed as `**{"dek.id": "…"}`.

    Raises: `tenant_required` (no or empty tenant), `invalid_context` (anything else outside SPEC section 3).
    """

    def __new__(cls, *, tenant: str, purpose: str, **pairs: str | int | float | Sequence[str]) -> Context: ...
    def extend(self, **pairs: str | int | float | Sequence[str]) -> Context:
        """This context with more pairs. A key that is already there is `invalid_context`."""

    @property
    def tenant(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def canonical(self) -> bytes:
        """The canonical bytes (SPEC section 3): the additional data for a key service that binds bytes."""

    def pairs(self) -> dict[str, str]:
        """The pairs with their encoded values: the encryption context for a key service that binds pairs."""

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class SecretKey:
    """32 secret bytes held in Rust memory, wiped when dropped; `repr` shows nothing."""

    @staticmethod
    def generate() -> SecretKey: ...
    @staticmethod
    def from_bytes(key: Buffer) -> SecretKey:
        """Takes exactly 32 bytes. A writable buffer (`bytearray`) is wiped. Raises: `invalid_argument`."""

    def expose(self) -> bytearray:
        """A mutable copy for a key service's client; the caller wipes it. Never log it."""

@final
class LocalKek:
    """A KEK whose 32 bytes this process holds (SPEC sections 2 and 6)."""

    @staticmethod
    def parse(value: Buffer | str) -> LocalKek:
        """Reads a KEK: 43 or 44 characters of base64, 64 hex digits, or 32 bytes of binary (`Buffer` only).

        Surrounding ASCII white space is ignored in text. Raises: `invalid_argument`, whose message says what was seen (length and
        apparent encoding, never the value) and how to make a good one.
        """

    @property
    def kek_id(self) -> bytes:
        """16 bytes, derived from the KEK; not secret."""

    def wrap(self, secret: SecretKey, context: Context) -> bytes:
        """125 bytes (SPEC section 6)."""

    def unwrap(self, wrapped: Buffer | str, context: Context) -> SecretKey:
        """Raises: `key_not_found` (wrapped under another KEK), `authentication_failed`, and the parse errors of SPEC section 8."""

@final
class RecoveryPublicKey:
    """The public half of a recovery key (SPEC section 6.4): it wraps DEKs and opens none. Not secret."""

    @staticmethod
    def from_text(text: str) -> RecoveryPublicKey:
        """The key of a text that starts with `sealpoint-recovery-public:v1:`.

        Raises: `plaintext_refused`, `malformed`, `unsupported_version`, `unsupported_suite`, `unsupported_encoding`,
        `authentication_failed` (damaged: its id does not fit).
        """

    def to_text(self) -> str:
        """1,680 characters, for configuration files."""

    @property
    def recovery_id(self) -> bytes:
        """16 bytes that name it."""

    def wrap(self, secret: SecretKey, context: Context) -> bytes:
        """1,189 bytes, which only the secret half opens."""

@final
class RecoveryKey:
    """Both halves of a recovery key (SPEC section 6.4); the secret lives in Rust memory and is wiped with the object."""

    @staticmethod
    def generate() -> RecoveryKey:
        """A new pair."""

    @staticmethod
    def from_text(text: str) -> RecoveryKey:
        """The key of a text that starts with `sealpoint-recovery-secret:v1:`. Raises: as `RecoveryPublicKey.from_text`."""

    def to_text(self) -> str:
        """100 characters, which **are** the key: for paper or a safe, and for no log."""

    @property
    def public(self) -> RecoveryPublicKey:
        """The half to give away."""

    def unwrap(self, wrapped: bytes, context: Context) -> SecretKey:
        """The DEK. Anybody can have wrapped it: compare its key check before it opens anything, and seal nothing under it.

        Raises: `key_not_found` (wrapped for another recovery key), `authentication_failed`, and the parse errors of SPEC section 6.4.
        """

@final
class DataKey:
    """One opened DEK: seals and opens without a key store. `repr` shows the dek_id only."""

    @staticmethod
    def generate(*, tenant: str, dek_purpose: int = 1, version: int = 1) -> tuple[DataKey, SecretKey]:
        """A new random DEK with a new random dek_id, and its secret bytes, to be wrapped."""

    @staticmethod
    def from_secret(
        secret: SecretKey, *, dek_id: bytes, tenant: str, dek_purpose: int, version: int, suite: int, key_check: bytes
    ) -> DataKey:
        """An opened DEK, after `key_check` was compared (SPEC section 6.1). Raises: `authentication_failed`, `unsupported_suite`."""

    @staticmethod
    def from_exported(text: str) -> DataKey:
        """The client DEK of `Keyring.export_data_key` (SPEC section 6.3). The text does not tell who made it: trust the way it came on.

        Raises: `plaintext_refused`, `malformed`, `unsupported_version`, `unsupported_suite`, `authentication_failed` (it was changed),
        `invalid_argument` (no string).
        """

    @property
    def dek_id(self) -> bytes: ...
    @property
    def tenant(self) -> str: ...
    @property
    def dek_purpose(self) -> int: ...
    @property
    def suite(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def key_check(self) -> bytes: ...
    def seal(self, payload: Buffer, context: Context, *, content_type: str = "", pad: bool = False) -> bytes: ...
    def seal_text(self, payload: Buffer | str, context: Context, *, content_type: str = "", pad: bool = True) -> str: ...
    def open(self, sealed: Buffer | str, context: Context) -> bytes: ...
    def open_typed(self, sealed: Buffer | str, context: Context) -> tuple[str, bytes]:
        """(content type, payload)."""

@final
class DekCache:
    """Opened DEKs by dek_id with an absolute TTL, and for each (tenant, purpose) which one is active, with a shorter one.

    `ttl` and `pointer_ttl` are seconds; `capacity` counts DEKs. An entry expires when either the monotonic or the wall clock says so;
    use never extends it. What leaves is wiped.
    """

    def __new__(cls, *, ttl: float, pointer_ttl: float, capacity: int) -> DekCache: ...
    def insert(self, key: DataKey, *, active: bool = False, open_only: bool = False) -> None:
        """Holds an opened DEK; with `active` it is also what `seal` uses for its tenant and purpose, with `open_only` it never is (SPEC
        section 6.1, step 5), as long as it is not inserted without that."""

    def contains(self, dek_id: bytes) -> bool: ...
    def set_active(self, tenant: str, dek_purpose: int, dek_id: bytes) -> bool:
        """Renews the pointer to the active DEK. False: that DEK is not held (any more); load it."""

    def seal(
        self, payload: Buffer, context: Context, content_type: str = "", pad: bool = False, text: bool = False, dek_purpose: int = 1
    ) -> bytes | str | None:
        """Seals under the active DEK of the context's tenant. None: it is not held (any more); load it and call again."""

    def seal_many(
        self, base: Context, items: Sequence[tuple[tuple[Any, ...], Buffer, str, bool, bool]], dek_purpose: int = 1
    ) -> list[bytes | str] | None:
        """Seals several payloads of one tenant at once, in order. Each item is (what extends `base`, as alternating keys and values;
        payload; content type; pad; text). None: the active DEK is not held (any more); nothing was sealed."""

    def open(self, sealed: Buffer | str, context: Context, dek_purpose: int = 1) -> tuple[str, bytes] | None:
        """(content type, payload). None: the DEK is not held (any more); load `envelope_dek_id(sealed)` and call again.

        A DEK of another purpose than the caller's is `authentication_failed` (SPEC section 6.1, step 1)."""

    def evict(self, dek_id: bytes) -> bool: ...
    def evict_tenant(self, tenant: str) -> int: ...
    def clear(self) -> None: ...
    def __len__(self) -> int: ...
    def _advance(self, seconds: float) -> None:
        """Moves the cache's own clock forward (tests): entries can only expire sooner."""

def envelope_dek_id(sealed: Buffer | str) -> bytes:
    """The 16 bytes that name the DEK of an envelope, after steps 1 to 6 of SPEC section 8."""

def is_sealed(value: Buffer | str) -> bool:
    """Whether a value has the magic byte or a text prefix: such a value never passes as plaintext."""

def export_key(secret: SecretKey, *, dek_id: bytes, tenant: str, dek_purpose: int, version: int, suite: int) -> str:
    """A client DEK as text (SPEC section 6.3): the key itself, in the clear. The string cannot be wiped: drop it soon, never log it.

    Raises: `invalid_argument` (a DEK of another purpose than client), `unsupported_suite`, `tenant_required`, `invalid_context`.
    """

def wrap_context(*, tenant: str, dek_id: bytes, dek_purpose: int, suite: int) -> Context:
    """The context that a wrapped DEK is bound to (SPEC section 6)."""

def open_only_context(wrap: Context) -> Context:
    """The context that an open-only wrap is bound to, from that of an ordinary one (SPEC section 6.5). Raises: `invalid_context`."""

def canary_context(kek_uri: str) -> Context:
    """The context of a key store's canary (SPEC section 6.2)."""

def canary_secret(kek_uri: str) -> SecretKey:
    """What a key store's canary holds (SPEC section 6.2)."""

def secrets_equal(left: SecretKey, right: SecretKey) -> bool:
    """Constant time."""

ManifestFields = tuple[Any, ...]
"""(v, id, ts, channel_versions, versions_seen, updated_channels, clear metadata), as LangGraph holds them; for an item of a store
(clear fields,)."""

ManifestChannels = Sequence[tuple[str, "Buffer | str | None"]]
"""Each channel of `channel_values` with its envelope, or None where the value does not live in the checkpoint's row; each field of an
item that is sealed by itself. Any order."""

def manifest_payload(fields: ManifestFields, *, parent: str | None, exact: bool, channels: ManifestChannels, metadata: Buffer) -> bytes:
    """The payload of a metadata envelope (SPEC section 7.2) or of an item's (7.3): manifest record and serialized metadata.

    Raises: `invalid_argument` (a value that deterministic CBOR does not take), `limit_exceeded`.
    """

def manifest_open(payload: Buffer, fields: ManifestFields, *, parent: str | None, channels: ManifestChannels) -> tuple[bytes, str | None]:
    """Verifies the manifest against what the saver gave back: (serialized metadata, the parent's id as it was sealed).

    `channels` lists what is present, each with its envelope; its commitment is compared where the manifest names one.
    Raises: `authentication_failed`, `malformed`.
    """
