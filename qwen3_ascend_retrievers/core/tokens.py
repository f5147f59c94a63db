"""Tokens of texts, as the planning sees them. Loading a tokenizer is tokenizer_files.py's job."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cachetools import LRUCache

# A bound on memory, not a tuned number: about 16 million characters of document text.
CACHE_CHARACTERS: Final = 16_000_000


class Encoding(Protocol):
    """One text's tokens.

    Attributes:
        ids: token ids, in order.
        offsets: for each id, the code points [start, end) of the text that it covers; empty if
            the tokenizer cannot tell.
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
    """An Encoding of our own: what caches and remote tokenizers hand out."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...] = ()


class CachedTokenizer:
    """A Tokenizer that remembers the texts it saw last. Safe to share between threads.

    Args:
        tokenizer: makes the tokens of texts that are not remembered, in one call per batch.
        characters: how much text is remembered, counted in code points.
    """

    def __init__(self, tokenizer: Tokenizer, characters: int = CACHE_CHARACTERS) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        # The size of an entry is asked of its value, so the value holds the text too.
        self._known: LRUCache[str, tuple[str, Tokens]] = LRUCache(
            characters, getsizeof=lambda entry: len(entry[0])
        )

    def encode_batch(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, in order; those not remembered are made in one batch."""
        with self._lock:
            found = {text: self._known[text][1] for text in texts if text in self._known}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        made = self._tokenizer.encode_batch(missing) if missing else []
        fresh = {
            text: Tokens(tuple(one.ids), tuple(one.offsets))
            for text, one in zip(missing, made, strict=True)
        }
        with self._lock:
            for text, tokens in fresh.items():
                if len(text) <= self._known.maxsize:
                    self._known[text] = (text, tokens)
        return [found[text] if text in found else fresh[text] for text in texts]


def token_ceiling(text: str) -> int:
    """A number of tokens that no byte-level BPE tokenizer with NFC exceeds for `text`.

    Every token covers at least one byte of the normalised text, so its bytes bound the tokens.
    """
    return len(unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass"))


Encode = Callable[[Sequence[str]], Sequence[Encoding]]


# Pieces that a byte-level BPE never splits finer in practice: up to four letters with the space
# before them, else single characters.
_PIECES: Final = re.compile(r" ?[A-Za-z]{1,4}|.", re.DOTALL)


def estimate(texts: Sequence[str]) -> list[Tokens]:
    """Made-up tokens, meant to be more than any Qwen tokenizer would make of ordinary text.

    One for every four letters of a word, one for any other character up to U+007F and from
    U+2E80 to U+FFFF (CJK), two for the scripts between, three for what lies above (emoji).
    """
    made: list[Tokens] = []
    for text in texts:
        offsets: list[tuple[int, int]] = []
        for match in _PIECES.finditer(text):
            offsets += [match.span()] * _weight(match.group()[-1])
        made.append(Tokens((0,) * len(offsets), tuple(offsets)))
    return made


def _weight(character: str) -> int:
    if character <= "\x7f" or "\u2e80" <= character <= "\uffff":
        return 1
    return 2 if character < "\u2e80" else 3
