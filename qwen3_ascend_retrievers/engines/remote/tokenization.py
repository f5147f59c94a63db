"""Token ids: from a tokenizer on this side, or from a server's `/tokenize`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import anyio

from ..._util.locks import fork_safe_lock
from ...core.tokens import TokenCache, TokenIds, Tokenizer, Tokens
from ...models.byte_level import offsets_from_strings
from .http.concurrency import run_concurrently
from .http.retrying import ApiRequest, RetryingClient
from .protocol.dialects.base import Dialect
from .protocol.rerank_api import check_tokens

# Characters whose offsets take about a millisecond; more would hold up all callers of the loop.
_SHORT_TEXT: Final = 500


class LocalTokenizer:
    """A tokenizer from a file, loaded at first use, outside the event loop.

    Args:
        model: "tiny", a folder, or a hub id.
        revision: of a hub id.
    """

    def __init__(self, model: str, revision: str | None) -> None:
        self._model = model
        self._revision = revision
        self._lock = fork_safe_lock()
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


async def server_tokens(
    client: RetryingClient, dialect: Dialect, model: str | None, texts: Sequence[str]
) -> list[Tokens]:
    """The tokens of each text by the server's own tokenizer, one request for each.

    Raises:
        RequestFailure: the server has no such route, or it fails.
    """
    route = dialect.tokenize
    assert route is not None, "asked of those that have it"
    tokens: list[Tokens] = [Tokens(())] * len(texts)

    async def tokenize(at: int) -> None:
        def read(reply: Any, _: object) -> tuple[TokenIds, tuple[str, ...] | None]:
            ids, strings = route.read(reply)
            check_tokens(texts[at], ids)
            return ids, strings

        body = dialect.tokenize_body(route, model, texts[at])
        ids, strings = await client.ask(ApiRequest(path=route.path, body=body, read=read))
        tokens[at] = Tokens(ids, await _offsets(texts[at], strings) if strings else ())

    await run_concurrently(partial(tokenize, at) for at in range(len(texts)))
    return tokens


async def _offsets(text: str, strings: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    if len(text) <= _SHORT_TEXT:
        return offsets_from_strings(text, strings)
    return await anyio.to_thread.run_sync(offsets_from_strings, text, strings)


async def cached_server_tokens(
    cache: TokenCache,
    client: RetryingClient,
    dialect: Dialect,
    model: str | None,
    texts: Sequence[str],
) -> list[Tokens]:
    """The same, each text that is in the cache without a request."""
    tokens = cache.get(texts)
    misses = [text for text in dict.fromkeys(texts) if text not in tokens]
    for text, answer in zip(
        misses, await server_tokens(client, dialect, model, misses), strict=True
    ):
        tokens[text] = answer
        cache.put(text, answer)
    return [tokens[text] for text in texts]
