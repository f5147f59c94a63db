"""Where a byte-level BPE's tokens stand in a text, from the tokens' strings alone.

A server's `/tokenize` tells strings and no offsets; with these, a text is cut where a local
tokenizer would cut it. The strings are of the normalised text (NFC, and lower case for some).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final

Offsets = tuple[tuple[int, int], ...]


def offsets_from_strings(text: str, strings: Sequence[str]) -> Offsets:
    """For each token the code points [start, end) of `text` that it covers, in part or whole.

    Empty if the strings do not spell the text, as it stands or normalised: no guess is made.
    Where NFC reorders a letter's marks, the offsets inside that letter are a guess.
    """
    try:
        spelled = [_bytes(string) for string in strings]
    except KeyError:
        return ()
    joined = b"".join(spelled)
    for normalise in (str, _lower):
        places = _places(text, normalise)
        if places is not None and places[0] == joined:
            return _cover(spelled, places[1])
    return ()


def _lower(text: str) -> str:
    # Letter by letter, as the tokenizers library does it: no final sigma.
    return "".join(letter.lower() for letter in text)


def _places(text: str, normalise: Callable[[str], str]) -> tuple[bytes, list[tuple[int, int]]]:
    """The normalised text's bytes, and the code points of `text` that each byte comes from."""
    made: list[bytes] = []
    places: list[tuple[int, int]] = []
    for start, end in _clusters(text):
        letters = unicodedata.normalize("NFC", text[start:end])
        # As the tokenizers library counts: what NFC joins is the first letter's place alone, and
        # what it makes of one letter stands where that letter did.
        joined = max(0, end - start - len(letters))
        for nth, letter in enumerate(letters):
            at = start if nth == 0 else min(start + joined + nth, end - 1)
            piece = normalise(letter).encode()
            made.append(piece)
            places += [(at, at + 1)] * len(piece)
    return b"".join(made), places


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Code points one by one, but those together that NFC may join or reorder."""
    if unicodedata.is_normalized("NFC", text):
        yield from ((at, at + 1) for at in range(len(text)))
        return
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or not _joins(text[start:at], text[at]):
            yield start, at
            start = at


def _joins(before: str, letter: str) -> bool:
    if unicodedata.combining(letter):
        return True
    apart = unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", letter)
    return unicodedata.normalize("NFC", before + letter) != apart


def _cover(spelled: Sequence[bytes], places: Sequence[tuple[int, int]]) -> Offsets:
    offsets: list[tuple[int, int]] = []
    done = 0
    for piece in spelled:
        last = max(done, done + len(piece) - 1)
        offsets.append((places[done][0], places[last][1]) if piece else (0, 0))
        done += len(piece)
    return tuple(offsets)


def _bytes(string: str) -> bytes:
    return bytes(_BYTE_OF_LETTER[letter] for letter in string)


def _letters() -> list[str]:
    """The letter of each byte, by GPT-2's encoder.py, `bytes_to_unicode`."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    above = count(0x100)
    return [chr(byte if byte in printable else next(above)) for byte in range(0x100)]


# The alphabet of byte-level BPE.
BYTE_LETTERS: Final = tuple(_letters())
_BYTE_OF_LETTER: Final = {letter: byte for byte, letter in enumerate(BYTE_LETTERS)}
