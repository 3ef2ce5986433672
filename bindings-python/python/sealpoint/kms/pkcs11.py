"""Hardware security modules: `pkcs11:token=…;object=…?module-path=…&pin-source=…` (RFC 7512), by python-pkcs11
(`pip install 'sealpoint[pkcs11]'`).

The KEK is an AES-256 key on the token. What comes after the question mark is how to get there: it is no part of `uri`, the KEK's name
in the key store. The PIN is read from `pin-source=env:NAME` or `pin-source=file:PATH` (mode 600), never from the URI itself.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

try:
    import pkcs11
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
    from pkcs11 import exceptions as raised
except ImportError as error:
    from ..errors import MissingDependencyError

    raise MissingDependencyError("missing_dependency", "pkcs11: needs python-pkcs11: pip install 'sealpoint[pkcs11]'") from error

from .. import _fork
from .._fork import PerProcess
from .._native import Context, SecretKey
from ..errors import InvalidArgumentError, SealpointError, StoreError, error_for
from . import ProviderCapabilities, WrappedKey
from ._calls import DEADLINE_S, Budget, exposed, secret_from
from ._pkcs11_uri import Pkcs11Uri

__all__ = ["Pkcs11Provider"]

GCM = "CKM_AES_GCM"
KEY_WRAP = "CKM_AES_KEY_WRAP_PAD"
_NONCE_LEN = 12
_GCM_LEN = _NONCE_LEN + 32 + 16
_KEY_WRAP_LEN = 40
_SERVICE = "the PKCS#11 token"
_T = TypeVar("_T")


class Pkcs11Provider:
    """One AES-256 key of a token. Calls go to the token one at a time; nothing but the module itself bounds how long it takes.

    With AES-GCM the token binds the context's canonical bytes. A token without it wraps by AES key wrap with padding (RFC 5649), which
    binds nothing: `capabilities` says so once the token was reached, and until then claims nothing.
    """

    def __init__(self, uri: str) -> None:
        """uri: `pkcs11:` with `token` or `serial`, and `object` or `id`; then `module-path` and `pin-source`.

        Raises: `invalid_argument`.
        """
        self._parsed = Pkcs11Uri.parse(uri)
        self.uri = self._parsed.name
        self._module = _module(self._parsed.module_path)
        self._budget = Budget(DEADLINE_S, _SERVICE)
        self._token = PerProcess(lambda: _Token(self._module, self._parsed))
        self._refused = ""
        self._binds_context = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri!r})"

    @property
    def capabilities(self) -> ProviderCapabilities:
        return ProviderCapabilities(binds_context=self._binds_context, authenticates=True)

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        """CKM_AES_GCM: nonce, ciphertext, tag. Otherwise CKM_AES_KEY_WRAP_PAD. Keys of a token have no versions."""

        def work(token: _Token) -> WrappedKey:
            with exposed(secret) as plaintext:
                if token.gcm:
                    return WrappedKey(token.encrypt(bytes(plaintext), context.canonical), GCM)
                return WrappedKey(token.wrap(bytes(plaintext)), KEY_WRAP)

        return self._run(work, _translate)

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        """The length tells how it was wrapped: a token that has learned AES-GCM still opens what it wrapped before."""
        if len(wrapped.wrapped) not in (_GCM_LEN, _KEY_WRAP_LEN):
            raise StoreError("store_invalid", "a key wrapped by a PKCS#11 token is not as it was written: it has another length")

        def work(token: _Token) -> SecretKey:
            if len(wrapped.wrapped) == _GCM_LEN:
                return secret_from(token.decrypt(wrapped.wrapped, context.canonical), _SERVICE)
            return secret_from(token.unwrap(wrapped.wrapped), _SERVICE)

        return self._run(work, _translate_opening)

    def _run(self, work: Callable[[_Token], _T], translate: Callable[[Exception], SealpointError | None]) -> _T:
        def call() -> _T:
            with self._module.lock:
                token = self._get_token()
                self._binds_context = token.gcm
                try:
                    return work(token)
                except _LOST:
                    self._token.drop()
                    token.close()
                    raise

        return self._budget.run(call, translate)

    def _get_token(self) -> _Token:
        """Under the lock: whoever waits for it sees that the PIN was refused meanwhile."""
        if self._refused:
            raise error_for("kms_denied", self._refused)
        try:
            return self._token.get()
        except _PIN as error:
            self._refused = str(_translate(error))
            raise


class _Token:
    """A session that is logged in, and the key."""

    def __init__(self, module: _Module, uri: Pkcs11Uri) -> None:
        found = [token for token in module.load().get_tokens() if uri.matches(token)]
        if not found:
            raise raised.NoSuchToken
        if len(found) > 1:
            raise raised.MultipleTokensReturned
        self._module = module
        self._slot = found[0].slot
        module.log_in(found[0], uri.read_pin())
        self._session = found[0].open()
        try:
            self._key, self.gcm = self._find(uri)
        except BaseException:
            self._session.close()
            raise

    def _find(self, uri: Pkcs11Uri) -> tuple[Any, bool]:
        """The key, and whether it wraps by AES-GCM."""
        wanted = {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.LABEL: uri.object,
            Attribute.ID: uri.id,
        }
        found: list[Any] = list(self._session.get_objects({key: value for key, value in wanted.items() if value is not None}))
        if len(found) != 1:  # to the end: a search that is left halfway outlives its session
            raise raised.MultipleObjectsReturned if found else raised.NoSuchKey
        key = found[0]
        if key.key_length != 256:
            raise InvalidArgumentError("invalid_argument", "the PKCS#11 key is no AES key of 256 bits")
        mechanisms = self._slot.get_mechanisms()
        if Mechanism.AES_GCM in mechanisms and key[Attribute.ENCRYPT] and key[Attribute.DECRYPT]:
            return key, True
        if Mechanism.AES_KEY_WRAP_PAD in mechanisms and key[Attribute.WRAP] and key[Attribute.UNWRAP]:
            return key, False
        raise InvalidArgumentError(
            "invalid_argument", f"the PKCS#11 token has neither {GCM} nor {KEY_WRAP}, or the key's attributes allow neither"
        )

    def close(self) -> None:
        """What can be closed of a token that was lost."""
        self._module.log_in_again(self._slot)
        with suppress(raised.PKCS11Error):
            self._session.close()

    def encrypt(self, plaintext: bytes, aad: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_LEN)
        parameters = pkcs11.GCMParams(nonce, aad, 128)  # held here: the module reads it by address
        sealed: bytes = self._key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
        return nonce + sealed

    def decrypt(self, wrapped: bytes, aad: bytes) -> bytes:
        parameters = pkcs11.GCMParams(wrapped[:_NONCE_LEN], aad, 128)
        opened: bytes = self._key.decrypt(wrapped[_NONCE_LEN:], mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
        return opened

    def wrap(self, plaintext: bytes) -> bytes:
        inner = self._session.create_object({**_INNER, Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.VALUE: plaintext})
        try:
            wrapped: bytes = self._key.wrap_key(inner, mechanism=Mechanism.AES_KEY_WRAP_PAD)
            return wrapped
        finally:
            inner.destroy()

    def unwrap(self, wrapped: bytes) -> bytes:
        inner = self._key.unwrap_key(
            ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, wrapped, mechanism=Mechanism.AES_KEY_WRAP_PAD, template=_INNER
        )
        try:
            value: bytes = inner[Attribute.VALUE]
            return value
        finally:
            inner.destroy()


_INNER = {Attribute.KEY_TYPE: KeyType.GENERIC_SECRET, Attribute.TOKEN: False, Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}


class _Module:
    """A PKCS#11 library in this process. Its lock is for all that use it: python-pkcs11 initialises libraries for one thread at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._loaded = False
        self._inherited = False
        self._logins: dict[int, Any] = {}
        self.lock = threading.Lock()
        _fork.watch(self)

    def load(self) -> Any:
        """Raises: `invalid_argument` (it cannot be loaded)."""
        try:
            library = pkcs11.lib(self._path)
            if self._inherited:
                _begin_again(library)
        except raised.PKCS11Error as error:
            if type(error) is not raised.PKCS11Error:
                raise
            raise InvalidArgumentError("invalid_argument", "module-path names no PKCS#11 library that can be loaded") from None
        self._loaded, self._inherited = True, False
        return library

    def log_in(self, token: Any, pin: str) -> None:
        """Once for the process, in a session that stays open: closing the one that logged in logs everybody out."""
        if token.slot.slot_id not in self._logins:
            try:
                self._logins[token.slot.slot_id] = token.open(user_pin=pin)
            except raised.UserAlreadyLoggedIn:  # by somebody else of this process
                self._logins[token.slot.slot_id] = None

    def log_in_again(self, slot: Any) -> None:
        """Before the next session: a token that was lost may have forgotten the login."""
        self._logins.pop(slot.slot_id, None)

    def _after_fork(self) -> None:
        self._inherited = self._loaded
        self._logins = {}
        self.lock = threading.Lock()


def _begin_again(library: Any) -> None:
    """In a child, what the parent initialised counts as not initialised (PKCS#11 2.40, 5.4)."""
    with suppress(raised.PKCS11Error):
        library.finalize()
    library.initialize()


_modules: dict[str, _Module] = {}


def _module(path: str) -> _Module:
    return _modules.setdefault(os.path.realpath(path), _Module(path))


_LOST = (
    raised.SessionHandleInvalid,
    raised.SessionClosed,
    raised.UserNotLoggedIn,
    raised.KeyHandleInvalid,
    raised.ObjectHandleInvalid,
    raised.UnwrappingKeyHandleInvalid,
    raised.WrappingKeyHandleInvalid,
    raised.DeviceRemoved,
    raised.DeviceError,
    raised.TokenNotPresent,
)

_PIN = (
    raised.PinIncorrect,
    raised.PinLocked,
    raised.PinExpired,
    raised.PinInvalid,
    raised.PinLenRange,
    raised.UserPinNotInitialized,
)

_ANSWERS: dict[tuple[str, str], tuple[type[Exception], ...]] = {
    ("kms_denied", "the PKCS#11 token refuses the PIN: correct it and start anew; it is not tried again, since tokens count"): _PIN,
    ("key_not_found", "the PKCS#11 token has no AES key of this object= and id="): (raised.NoSuchKey,),
    ("invalid_argument", "several tokens or keys match this pkcs11: URI: add serial= or id="): (
        raised.MultipleObjectsReturned,
        raised.MultipleTokensReturned,
    ),
    ("kms_unavailable", "the PKCS#11 token cannot be reached, or failed: is it there, and are token= and serial= right?"): (
        *_LOST,
        raised.NoSuchToken,
        raised.TokenNotRecognised,
        raised.DeviceMemory,
        raised.HostMemory,
        raised.SessionCount,
        raised.FunctionFailed,
        raised.FunctionCancelled,
        raised.GeneralError,
    ),
}
_WRONG = "the PKCS#11 token does not open this under this key: wrong key, wrong context, or changed bytes"
_NOT_OPENED = (
    raised.GeneralError,
    raised.EncryptedDataInvalid,
    raised.EncryptedDataLenRange,
    raised.WrappedKeyInvalid,
    raised.WrappedKeyLenRange,
    raised.DataInvalid,
    raised.SignatureInvalid,
)


def _translate(error: Exception) -> SealpointError | None:
    for (code, message), kinds in _ANSWERS.items():
        if isinstance(error, kinds):
            return error_for(code, f"{message} ({type(error).__name__})")
    return None


def _translate_opening(error: Exception) -> SealpointError | None:
    """SoftHSM answers a wrong tag with CKR_GENERAL_ERROR, as it would anything else: taken for what a retry does not cure."""
    return error_for("authentication_failed", _WRONG) if isinstance(error, _NOT_OPENED) else _translate(error)
