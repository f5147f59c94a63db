"""Offsets of a byte-level BPE's tokens in a text, computed from the tokens' strings alone.

A server's `/tokenize` returns strings and no offsets; with offsets, a text is truncated where a
local tokenizer would truncate it. The strings are of the normalised text (NFC, and lower case for
some tokenizers).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final

Offsets = tuple[tuple[int, int], ...]


def offsets_from_strings(text: str, strings: Sequence[str]) -> Offsets:
    """For each token the code points [start, end) of `text` that it covers, in part or whole.

    Empty if the strings do not spell the text, as it is or normalised: no guess is made.
    Where NFC reorders a letter's marks, the offsets inside that letter are a guess.
    """
    try:
        token_bytes = [_bytes(string) for string in strings]
    except KeyError:
        return ()
    joined = b"".join(token_bytes)
    for normalise in (str, _lower):
        normalised, spans = _normalised_bytes(text, normalise)
        if normalised == joined:
            return _token_offsets(token_bytes, spans)
    return ()


def _lower(text: str) -> str:
    # Character by character, as the tokenizers library does it: no final sigma.
    return "".join(character.lower() for character in text)


def _normalised_bytes(
    text: str, normalise: Callable[[str], str]
) -> tuple[bytes, list[tuple[int, int]]]:
    """The normalised text's bytes, and the code points of `text` that each byte comes from."""
    pieces: list[bytes] = []
    spans: list[tuple[int, int]] = []
    for start, end in _clusters(text):
        characters = unicodedata.normalize("NFC", text[start:end])
        # As the tokenizers library counts: what NFC joins has the first code point's offset alone,
        # and all that it makes of one code point has that code point's offset.
        merged = max(0, end - start - len(characters))
        for index, character in enumerate(characters):
            source = start if index == 0 else min(start + merged + index, end - 1)
            piece = normalise(character).encode()
            pieces.append(piece)
            spans += [(source, source + 1)] * len(piece)
    return b"".join(pieces), spans


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """[start, end) of single code points, or of several that NFC may join or reorder."""
    if unicodedata.is_normalized("NFC", text):
        yield from ((index, index + 1) for index in range(len(text)))
        return
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or not _joins(text[start:end], text[end]):
            yield start, end
            start = end


def _joins(before: str, character: str) -> bool:
    if unicodedata.combining(character):
        return True
    separate = unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", character)
    return unicodedata.normalize("NFC", before + character) != separate


def _token_offsets(token_bytes: Sequence[bytes], spans: Sequence[tuple[int, int]]) -> Offsets:
    offsets: list[tuple[int, int]] = []
    first = 0
    for piece in token_bytes:
        last = max(first, first + len(piece) - 1)
        offsets.append((spans[first][0], spans[last][1]) if piece else (0, 0))
        first += len(piece)
    return tuple(offsets)


def _bytes(string: str) -> bytes:
    return bytes(_BYTE_OF_CHARACTER[character] for character in string)


def _byte_alphabet() -> list[str]:
    """The character that stands for each byte: `bytes_to_unicode` in GPT-2's encoder.py."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    above = count(0x100)
    return [chr(byte if byte in printable else next(above)) for byte in range(0x100)]


# The characters that token strings of a byte-level BPE consist of, by byte.
BYTE_ALPHABET: Final = tuple(_byte_alphabet())
_BYTE_OF_CHARACTER: Final = {character: byte for byte, character in enumerate(BYTE_ALPHABET)}
