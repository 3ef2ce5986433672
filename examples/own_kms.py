"""A key service of your own in thirty lines: anything with `uri`, `capabilities`, `wrap` and `unwrap` is a provider.

Here an HTTP service wraps: POST /wrap and /unwrap, bytes in and out, the context's canonical bytes in a header.
python examples/own_kms.py
"""

import base64
import urllib.error
import urllib.request

from sealpoint import Context, KmsError, ProviderCapabilities, SecretKey, WrappedKey
from sealpoint.errors import error_for

CODES = {
    401: "kms_denied",
    403: "kms_denied",
    404: "key_not_found",
    410: "key_disabled",
    422: "authentication_failed",
    429: "kms_throttled",
}


class HttpKms:
    # True only if the service itself refuses another context, and if nobody without the KEK can make a wrap.
    capabilities = ProviderCapabilities(binds_context=True, authenticates=True)

    def __init__(self, url: str, key: str, *, timeout: float = 5.0) -> None:
        self.uri = f"http-kms:{key}"  # the KEK's name in the key store: it never changes its meaning, and holds no secret
        self._url, self._key, self._timeout = url, key, timeout

    def wrap(self, secret: SecretKey, context: Context, /) -> WrappedKey:
        plaintext = secret.expose()
        try:
            return WrappedKey(self._post("wrap", bytes(plaintext), context), "http-kms-v1")
        finally:
            plaintext[:] = bytes(len(plaintext))

    def unwrap(self, wrapped: WrappedKey, context: Context, /) -> SecretKey:
        return SecretKey.from_bytes(bytearray(self._post("unwrap", wrapped.wrapped, context)))

    def _post(self, verb: str, body: bytes, context: Context) -> bytes:
        headers = {"X-Key": self._key, "X-Context": base64.b64encode(context.canonical).decode()}
        request = urllib.request.Request(f"{self._url}/{verb}", body, headers)  # noqa: S310  # your own URL
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:  # noqa: S310
                return bytes(answer.read(1024))
        except urllib.error.HTTPError as error:
            code = CODES.get(error.code, "kms_unavailable")
            raise error_for(code, f"the key service answered with HTTP status {error.code}") from None
        except OSError:
            raise KmsError("kms_unavailable", "the key service cannot be reached") from None


if __name__ == "__main__":
    from own_kms_server import key_service
    from sealpoint import Keyring

    with key_service() as url, Keyring.connect("memory:", kek=HttpKms(url, "kek-1")) as keyring:
        note = Context(tenant="acme", purpose="app.note", note="n-1")
        print(keyring.open(keyring.seal(b"call back on Monday", note), note).decode())
