"""The embeddings object of the inner store: it is handed envelopes, and embeds what they hold."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from langchain_core.embeddings import Embeddings

from sealpoint._native import is_sealed
from sealpoint.errors import InternalError


class Embedder(Embeddings):
    """Knows the plaintext of an envelope only while the call that sealed it lasts. Queries pass as they are."""

    def __init__(self, inner: Embeddings) -> None:
        self._inner = inner
        self._texts: dict[str, str] = {}

    @contextmanager
    def lent(self, texts: Mapping[str, str]) -> Iterator[None]:
        """No two envelopes are equal, so calls of other threads and tasks do not meet."""
        self._texts.update(texts)
        try:
            yield
        finally:
            for envelope in texts:
                self._texts.pop(envelope, None)

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return self._inner.embed_documents(self._plain(texts))

    async def aembed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return await self._inner.aembed_documents(self._plain(texts))

    def embed_query(self, text: str) -> list[float]:
        return self._inner.embed_query(text)

    async def aembed_query(self, text: str) -> list[float]:
        return await self._inner.aembed_query(text)

    def _plain(self, texts: Sequence[str]) -> list[str]:
        plain = [self._texts.get(text, text) for text in texts]
        if any(text not in self._texts and is_sealed(text) for text in texts):
            raise InternalError("internal", "this store embeds an envelope after the call that sealed it: embed= does not work with it")
        return plain
