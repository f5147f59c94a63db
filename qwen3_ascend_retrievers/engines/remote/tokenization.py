"""Token ids: from a tokenizer on this side, or from a server's `/tokenize`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
from cachetools import LRUCache

from ..._util.locks import Lock
from ...core.tokens import CACHE_TOKENS, Tokenizer, Tokens
from ...models.byte_level import offsets_from_strings
from .http.concurrency import run_concurrently
from .http.retrying import ApiRequest, RetryingClient
from .protocol.rerank_api import read_tokenize, tokenize_body


class LocalTokenizer:
    """A tokenizer from a file, loaded at first use, outside the event loop.

    Args:
        model: "tiny", a folder, or a hub id.
        revision: of a hub id.
    """

    def __init__(self, model: str, revision: str | None) -> None:
        self._model = model
        self._revision = revision
        self._lock = Lock()
        self._loaded: Tokenizer | None = None

    async def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, in order.

        Raises:
            MissingDependencyError: `tokenizers` is not installed.
            ModelError: there is no usable tokenizer.
        """
        return await anyio.to_thread.run_sync(self._encode, texts)

    def _encode(self, texts: Sequence[str]) -> list[Tokens]:
        with self._lock:
            if self._loaded is None:
                from ...models.tokenizer import load_tokenizer

                self._loaded = load_tokenizer(self._model, self._revision)
            loaded = self._loaded
        encodings = loaded.encode_batch(texts)
        return [Tokens(tuple(encoding.ids), tuple(encoding.offsets)) for encoding in encodings]


class TokenCache:
    """The tokens of the texts that a server tokenized last, at most CACHE_TOKENS of them."""

    def __init__(self) -> None:
        self._tokens: LRUCache[str, Tokens] = LRUCache(CACHE_TOKENS, getsizeof=_cache_size)
        self._lock = Lock()

    def get(self, text: str) -> Tokens | None:
        """The text's tokens, if they are in the cache."""
        with self._lock:
            tokens: Tokens | None = self._tokens.get(text)
            return tokens

    def store(self, text: str, tokens: Tokens) -> None:
        """Add a text's tokens, unless they exceed the cache."""
        with self._lock:
            if _cache_size(tokens) <= self._tokens.maxsize:
                self._tokens[text] = tokens

    def clear(self) -> None:
        """Drop all: the server's tokenizer may be another by now."""
        with self._lock:
            self._tokens.clear()


def _cache_size(tokens: Tokens) -> int:
    # An empty text costs something too.
    return len(tokens.ids) + 1


async def server_tokens(
    client: RetryingClient, model: str | None, texts: Sequence[str]
) -> list[Tokens]:
    """The tokens of each text by the server's own tokenizer, one request for each.

    Raises:
        RequestFailure: the server has no /tokenize, or it fails.
    """
    tokens: list[Tokens] = [Tokens(())] * len(texts)

    async def tokenize(at: int) -> None:
        def read(reply: Any) -> Tokens:
            ids, strings, _ = read_tokenize(reply)
            return Tokens(ids, offsets_from_strings(texts[at], strings) if strings else ())

        body = tokenize_body(model, texts[at])
        tokens[at] = await client.ask(ApiRequest(path="/tokenize", body=body, read=read))

    await run_concurrently([lambda at=at: tokenize(at) for at in range(len(texts))])  # type: ignore[misc]
    return tokens


async def cached_server_tokens(
    cache: TokenCache, client: RetryingClient, model: str | None, texts: Sequence[str]
) -> list[Tokens]:
    """The same, each text that is in the cache without a request."""
    tokens = {text: hit for text in texts if (hit := cache.get(text)) is not None}
    misses = [text for text in dict.fromkeys(texts) if text not in tokens]
    for text, answer in zip(misses, await server_tokens(client, model, misses), strict=True):
        tokens[text] = answer
        cache.store(text, answer)
    return [tokens[text] for text in texts]
