"""Keeps keys out of quotes of a server's text, however the server encoded them.

A text is searched as it is, and with its escapes (percent, HTML, JSON) decoded again and again; a
place where a secret occurs in any of these, or its base64 or hex, is replaced in the text.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator
from typing import Final

from ...errors import printable
from .protocol.error_bodies import QUOTED

# A value of three letters is no secret, and would replace ordinary words.
_MAX_IGNORED_LENGTH: Final = 3
# From this length on, encoded forms are searched for: those of shorter values occur in any text.
_MIN_ENCODED_LENGTH: Final = 6
_ESCAPE_DEPTH: Final = 4
# Characters that encode one, with escapes within escapes: `&amp;#x00000073;` has 16.
_MAX_EXPANSION: Final = 20
# Runs are bounded, or a crafted text would make the search quadratic.
_ESCAPE: Final = re.compile(
    r"%([0-7][0-9a-f])"
    r"|(&(?:#[0-9]{1,16}|#x[0-9a-f]{1,16}|[a-z]{2,8});?)"
    r"|\\{1,32}(?:u\{0{0,6}([0-7][0-9a-f])\}|u0{2,6}([0-7][0-9a-f])|x([0-7][0-9a-f])|([01][0-7]{2})|([nrt])|)",
    re.IGNORECASE,
)
_BASE64: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")


class Secrets:
    """Texts that must never be shown; they are in no repr of this either.

    Args:
        values: the secrets; the shortest, which would replace ordinary words, are ignored.

    Attributes:
        reach: most characters of a text that one secret can take, however it is encoded.
    """

    __slots__ = ("_finders", "_values", "reach")

    def __init__(self, values: Iterable[str]) -> None:
        self._values = sorted({value for value in values if len(value) > _MAX_IGNORED_LENGTH})
        self._finders: list[_Finder] | None = None
        self.reach = _MAX_EXPANSION * max(map(len, self._values), default=0)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The positions of the secrets in `text`, in order and without overlaps."""
        if self._finders is None:
            self._finders = [finder for value in self._values for finder in _finders(value)]
        spans: list[tuple[int, int]] = []
        decoded = _DecodedText.of(text)
        for _ in range(_ESCAPE_DEPTH + 1):
            for finder in self._finders:
                spans += [decoded.original(span) for span in finder.spans(decoded.text)]
            unescaped = decoded.unescaped()
            if unescaped.text == decoded.text:
                break
            decoded = unescaped
        return _merge_spans(spans)


def redact(text: str, secrets: Secrets | Iterable[str]) -> str:
    """`text` with each secret in it replaced by `[key]`, however it is encoded."""
    return _redacted(text, secrets if isinstance(secrets, Secrets) else Secrets(secrets), len(text))


def redacted_excerpt(text: str, secrets: Secrets, limit: int = 2 * QUOTED) -> str:
    """The beginning of a server's text, redacted: one line of at most `limit` characters."""
    # Redacted before it is cut: half a key would not be recognised. So the end of the first cut,
    # which is for speed, is dropped.
    begin = text[: 4 * limit + 2 * secrets.reach]
    end = len(begin) if begin == text else len(begin) - secrets.reach
    return printable(_redacted(begin, secrets, end), limit)


def _redacted(text: str, secrets: Secrets, end: int) -> str:
    """`text` up to `end`, redacted."""
    pieces, position = [], 0
    for begin, after in secrets.spans(text):
        if begin >= end:
            break
        pieces += [text[position:begin], "[key]"]
        position = after
    return "".join([*pieces, text[position:end]])


class _Finder:
    """Finds one encoded form of a secret.

    Args:
        pattern: the form's.
        base64: whether adjacent base64 letters belong to it, because they encode the same text.
    """

    __slots__ = ("_base64", "_pattern")

    def __init__(self, pattern: re.Pattern[str], *, base64: bool = False) -> None:
        self._pattern = pattern
        self._base64 = base64

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Its positions in `text`."""
        last = 0
        for match in self._pattern.finditer(text):
            begin, end = match.span()
            while self._base64 and begin > last and text[begin - 1] in _BASE64:
                begin -= 1
            while self._base64 and end < len(text) and text[end] in _BASE64:
                end += 1
            last = end
            yield begin, end


def _finders(secret: str) -> Iterator[_Finder]:
    forms = {secret, secret.replace(" ", "+")}
    plain = secret
    for _ in range(_ESCAPE_DEPTH):
        plain = _DecodedText.of(plain).unescaped().text
        forms.add(plain)
    for form in forms:
        if len(form) > _MAX_IGNORED_LENGTH:
            flags = re.IGNORECASE if len(form) >= _MIN_ENCODED_LENGTH else re.RegexFlag(0)
            yield _Finder(re.compile(re.escape(form), flags))
    if len(secret) >= _MIN_ENCODED_LENGTH:
        raw = secret.encode()
        pairs = (f"{byte:02x}" for byte in raw)
        yield _Finder(re.compile(r"[^0-9a-z]{0,3}(?:0x)?".join(pairs), re.IGNORECASE))
        for lead in range(3):
            core = _base64_core(raw, lead).replace("+", "-").replace("/", "_")
            letters = ({"-": "[-+]", "_": "[_/]"}.get(letter, letter) for letter in core)
            yield _Finder(re.compile(r"\s{0,2}".join(letters)), base64=True)


def _base64_core(raw: bytes, lead: int) -> str:
    """The letters that do not depend on the bytes around `raw`, `lead` bytes after a boundary."""
    encoded = base64.b64encode(bytes(lead) + raw).decode()
    return encoded[(0, 2, 3)[lead] : (lead + len(raw)) * 8 // 6]


class _DecodedText:
    """A text with some of its escapes decoded, and the origin of each character."""

    __slots__ = ("_begins", "_ends", "text")

    def __init__(self, text: str, begins: list[int], ends: list[int]) -> None:
        self.text = text
        self._begins = begins
        self._ends = ends

    @classmethod
    def of(cls, text: str) -> _DecodedText:
        """A text with nothing decoded."""
        return cls(text, list(range(len(text))), list(range(1, len(text) + 1)))

    def original(self, span: tuple[int, int]) -> tuple[int, int]:
        """The position in the original text."""
        begin, end = span
        return self._begins[begin], self._ends[end - 1]

    def unescaped(self) -> _DecodedText:
        """This, with one level of escapes fewer."""
        pieces: list[str] = []
        begins: list[int] = []
        ends: list[int] = []
        position = 0
        for match in _ESCAPE.finditer(self.text):
            begin, end = match.span()
            letters = _unescape(match)
            pieces += [self.text[position:begin], letters]
            begins += self._begins[position:begin] + [self._begins[begin]] * len(letters)
            ends += self._ends[position:begin] + [self._ends[end - 1]] * len(letters)
            position = end
        return _DecodedText(
            "".join([*pieces, self.text[position:]]),
            begins + self._begins[position:],
            ends + self._ends[position:],
        )


def _unescape(escape: re.Match[str]) -> str:
    percent, entity, braced, unicode, byte, octal, blank = escape.groups()
    if entity is not None:
        return html.unescape(entity)
    if octal is not None:
        return chr(int(octal, 8))
    if blank is not None:
        return " "
    code = percent or braced or unicode or byte
    # Backslashes alone only protect the next character.
    return "" if code is None else chr(int(code, 16))


def _merge_spans(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged
