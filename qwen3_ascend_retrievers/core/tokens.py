"""Tokens of texts, as the planner sees them. models/tokenizer.py loads a tokenizer."""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, Protocol

from cachetools import LRUCache

from .._util.locks import fork_safe_lock
from .prompt import utf8_length

# A bound on memory, not a tuned number: about 24 MB of numbers, and their texts.
CACHE_TOKENS: Final = 2_000_000

TokenIds = tuple[int, ...]


class Encoding(Protocol):
    """One text's tokens.

    Attributes:
        ids: token ids, in order.
        offsets: for each id, the code points [start, end) of the text that it covers; empty if
            the tokenizer reports none.
    """

    @property
    def ids(self) -> Sequence[int]: ...

    @property
    def offsets(self) -> Sequence[tuple[int, int]]: ...


class Tokenizer(Protocol):
    """What the core needs of a tokenizer: ids without any special tokens added."""

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """The tokens of each text, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """An Encoding of our own: what caches and remote tokenizers return."""

    ids: TokenIds
    offsets: tuple[tuple[int, int], ...] = ()


class TokenCache:
    """The tokens of the texts used last, by text. Safe to share between threads.

    Args:
        tokens: its size, in tokens.
    """

    def __init__(self, tokens: int = CACHE_TOKENS) -> None:
        self._lock = fork_safe_lock()
        self._packed: LRUCache[str, _PackedTokens] = LRUCache(tokens, getsizeof=_PackedTokens.size)

    def get(self, texts: Iterable[str]) -> dict[str, Tokens]:
        """Text -> its tokens, for those of `texts` that are in the cache."""
        with self._lock:
            hits = {text: self._packed.get(text) for text in texts}
        return {text: packed.tokens() for text, packed in hits.items() if packed is not None}

    def put(self, text: str, tokens: Tokens) -> None:
        """Add a text's tokens, unless they exceed the cache."""
        packed = _PackedTokens(tokens)
        with self._lock:
            if packed.size() <= self._packed.maxsize:
                self._packed[text] = packed

    def clear(self) -> None:
        """Empty the cache."""
        with self._lock:
            self._packed.clear()


class CachedTokenizer:
    """A Tokenizer with a cache of the texts used last. Safe to share between threads.

    Args:
        tokenizer: encodes texts that are not in the cache, in one call per batch.
        tokens: size of the cache, in tokens.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: int = CACHE_TOKENS) -> None:
        self._tokenizer = tokenizer
        self._cache = TokenCache(tokens)

    def encode_batch(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, in order; those not in the cache are encoded in one batch."""
        tokens = self._cache.get(texts)
        misses = [text for text in dict.fromkeys(texts) if text not in tokens]
        if misses:
            encodings = self._tokenizer.encode_batch(misses)
            for text, encoding in zip(misses, encodings, strict=True):
                tokens[text] = Tokens(tuple(encoding.ids), tuple(encoding.offsets))
                self._cache.put(text, tokens[text])
        return [tokens[text] for text in texts]


class _PackedTokens:
    """Tokens in a tenth of the memory that tuples of int take."""

    __slots__ = ("_ids", "_offsets")

    def __init__(self, tokens: Tokens) -> None:
        self._ids = array("I", tokens.ids)
        self._offsets = array("I", chain.from_iterable(tokens.offsets))

    def size(self) -> int:
        # An empty text costs something too.
        return len(self._ids) + 1

    def tokens(self) -> Tokens:
        starts, ends = self._offsets[::2], self._offsets[1::2]
        return Tokens(tuple(self._ids), tuple(zip(starts, ends, strict=True)))


def token_ceiling(text: str) -> int:
    """A number of tokens that no byte-level BPE with NFC, lower-casing or not, exceeds for `text`.

    Every token covers at least one byte of the normalised text, so its bytes bound the tokens.
    """
    if text.isascii():
        return len(text)
    normal = unicodedata.normalize("NFC", text)
    # A few letters take more bytes in lower case, such as U+023A.
    return max(utf8_length(normal), utf8_length(normal.lower()))


# NFC makes at most three times the bytes of UTF-8 (UAX 15), lower case half as many again.
_MOST_GROWTH: Final = 5


def may_exceed(text: str, tokens: int) -> bool:
    """Whether `text` may have more than so many tokens; most texts are settled by their length."""
    # No need to count the bytes of a 2 MB document.
    if len(text) > tokens:
        return True
    if text.isascii() or _MOST_GROWTH * utf8_length(text) <= tokens:
        return False
    return token_ceiling(text) > tokens


# Pieces that a byte-level BPE seldom splits finer: a space, a capital and four small letters, or
# two capitals, else single characters.
_PIECES: Final = re.compile(r" ?(?:[A-Z]?[a-z]{1,4}|[A-Z]{1,2})|.", re.DOTALL)


def estimate(texts: Sequence[str]) -> list[Tokens]:
    """Placeholder tokens, more than any Qwen tokenizer should make of ordinary text.

    One for every four small letters or two capitals of a word, one for any other character up to
    U+007F and from U+2E80 to U+FFFF (CJK), two for the scripts between, three for what lies above
    (emoji). Random letters, base64 among them, and rare ideographs can need more.
    """
    estimates: list[Tokens] = []
    for text in texts:
        offsets: list[tuple[int, int]] = []
        for match in _PIECES.finditer(text):
            offsets += [match.span()] * _weight(match.group()[-1])
        estimates.append(Tokens((0,) * len(offsets), tuple(offsets)))
    return estimates


def _weight(character: str) -> int:
    if character <= "\x7f" or "\u2e80" <= character <= "\uffff":
        return 1
    return 2 if character < "\u2e80" else 3
