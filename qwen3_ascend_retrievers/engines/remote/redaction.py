"""Keeps keys out of what is shown of a server's text, however the server spelt them.

A text is looked at as it is, and with its escapes (percent, HTML, JSON) undone once and again; a
place where a secret is found in any of these, or its base64 or hex, is replaced in the text.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator
from typing import Final

from ...errors import printable
from .protocol.error_bodies import QUOTED

# A value of three letters is no secret, and would blot out ordinary words.
_SHORT: Final = 3
# From here on, other spellings than its own are looked for: those of less occur in any text.
_LONG: Final = 6
_DEPTH: Final = 4
# Of characters for one, as far as escapes within escapes go: `&amp;#x00000073;` has 16.
_EXPANSION: Final = 20
# Runs are bounded, or their search would be quadratic in a text that is made for it.
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
        values: the secrets; the shortest, which would blot out ordinary words, are left out.
    """

    __slots__ = ("_finders", "_values", "reach")

    def __init__(self, values: Iterable[str]) -> None:
        self._values = sorted({value for value in values if len(value) > _SHORT})
        self._finders: list[_Finder] | None = None
        self.reach = _EXPANSION * max(map(len, self._values), default=0)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where the secrets stand in `text`, in order and apart from each other."""
        if self._finders is None:
            self._finders = [finder for value in self._values for finder in _finders(value)]
        spans: list[tuple[int, int]] = []
        reading = _Reading.of(text)
        for _ in range(_DEPTH + 1):
            for finder in self._finders:
                spans += [reading.raw(span) for span in finder.spans(reading.text)]
            plainer = reading.unescaped()
            if plainer.text == reading.text:
                break
            reading = plainer
        return _merged(spans)


def redact(text: str, secrets: Secrets | Iterable[str]) -> str:
    """`text` with each secret in it replaced by `[key]`, whatever its spelling."""
    return _redacted(text, secrets if isinstance(secrets, Secrets) else Secrets(secrets), len(text))


def shown(text: str, secrets: Secrets, most: int = 2 * QUOTED) -> str:
    """The beginning of what a server sent, as it may be shown: in one line, `most` characters."""
    # Redacted before it is cut: half a key would not be recognised. So what stands where the text
    # is cut first, which is for speed, is left out.
    begin = text[: 4 * most + 2 * secrets.reach]
    end = len(begin) if begin == text else len(begin) - secrets.reach
    return printable(_redacted(begin, secrets, end), most)


def _redacted(text: str, secrets: Secrets, end: int) -> str:
    """`text` up to `end`, redacted."""
    pieces, at = [], 0
    for begin, after in secrets.spans(text):
        if begin >= end:
            break
        pieces += [text[at:begin], "[key]"]
        at = after
    return "".join([*pieces, text[at:end]])


class _Finder:
    """Finds one spelling of a secret.

    Args:
        pattern: of the spelling.
        base64: whether the letters around it belong to it, because they encode more of the same.
    """

    __slots__ = ("_base64", "_pattern")

    def __init__(self, pattern: re.Pattern[str], *, base64: bool = False) -> None:
        self._pattern = pattern
        self._base64 = base64

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where it stands."""
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
    spellings = {secret, secret.replace(" ", "+")}
    plain = secret
    for _ in range(_DEPTH):
        plain = _Reading.of(plain).unescaped().text
        spellings.add(plain)
    for spelling in spellings:
        if len(spelling) > _SHORT:
            flags = re.IGNORECASE if len(spelling) >= _LONG else re.RegexFlag(0)
            yield _Finder(re.compile(re.escape(spelling), flags))
    if len(secret) >= _LONG:
        raw = secret.encode()
        pairs = (f"{byte:02x}" for byte in raw)
        yield _Finder(re.compile(r"[^0-9a-z]{0,3}(?:0x)?".join(pairs), re.IGNORECASE))
        for lead in range(3):
            core = _base64_core(raw, lead).replace("+", "-").replace("/", "_")
            letters = ({"-": "[-+]", "_": "[_/]"}.get(letter, letter) for letter in core)
            yield _Finder(re.compile(r"\s{0,2}".join(letters)), base64=True)


def _base64_core(raw: bytes, lead: int) -> str:
    """The letters that do not depend on what stands around `raw`, `lead` bytes after a border."""
    encoded = base64.b64encode(bytes(lead) + raw).decode()
    return encoded[(0, 2, 3)[lead] : (lead + len(raw)) * 8 // 6]


class _Reading:
    """A text with some of its escapes undone, and where each character comes from."""

    __slots__ = ("_begins", "_ends", "text")

    def __init__(self, text: str, begins: list[int], ends: list[int]) -> None:
        self.text = text
        self._begins = begins
        self._ends = ends

    @classmethod
    def of(cls, text: str) -> _Reading:
        """A text as it is."""
        return cls(text, list(range(len(text))), list(range(1, len(text) + 1)))

    def raw(self, span: tuple[int, int]) -> tuple[int, int]:
        """The place in the original text."""
        begin, end = span
        return self._begins[begin], self._ends[end - 1]

    def unescaped(self) -> _Reading:
        """This, with one level of escapes fewer."""
        pieces: list[str] = []
        begins: list[int] = []
        ends: list[int] = []
        at = 0
        for match in _ESCAPE.finditer(self.text):
            begin, end = match.span()
            letters = _meaning(match)
            pieces += [self.text[at:begin], letters]
            begins += self._begins[at:begin] + [self._begins[begin]] * len(letters)
            ends += self._ends[at:begin] + [self._ends[end - 1]] * len(letters)
            at = end
        return _Reading(
            "".join([*pieces, self.text[at:]]), begins + self._begins[at:], ends + self._ends[at:]
        )


def _meaning(escape: re.Match[str]) -> str:
    percent, entity, braced, unicode, byte, octal, blank = escape.groups()
    if entity is not None:
        return html.unescape(entity)
    if octal is not None:
        return chr(int(octal, 8))
    if blank is not None:
        return " "
    code = percent or braced or unicode or byte
    # Backslashes alone only protect what follows them.
    return "" if code is None else chr(int(code, 16))


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged
