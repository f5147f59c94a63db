"""The plan of a call: what is scored for each input, and what was truncated. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .prompt import document_part
from .tokens import TokenIds

Counting = Literal["always", "when_needed", "never"]
Cut = Literal["no", "exact", "estimated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the plan must keep to.

    Attributes:
        max_length: tokens of the whole prompt; None if unknown.
        counting: "always" counts every text; "when_needed" only those whose upper bound exceeds the
            budget; "never" has no tokenizer and cuts long texts by an estimate.
        overflow: "truncate", "window" or "error".
        window_overlap: most tokens that neighbouring windows share; a window has twice as many.
        neutralise: whether control tokens in the texts are; False sends texts as they are.
    """

    max_length: int | None
    counting: Counting = "always"
    overflow: str = "truncate"
    window_overlap: int = 64
    neutralise: bool = True


@dataclass(frozen=True, slots=True)
class Query:
    """One query with its instruction, both neutralised.

    Attributes:
        query: the neutralised query.
        instruction: the neutralised instruction.
        part: the first half of the prompt, made of both.
        ids: token ids of `part`; None where they were not counted.
    """

    query: str
    instruction: str
    part: str
    ids: TokenIds | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One text to be scored: a whole document, its beginning, or a window of it.

    Attributes:
        query: position of its query in `Plan.queries`.
        text: the neutralised text that the model sees.
        span: position of `text` in the caller's document, in code points, [start, end).
        ids: token ids of the document part of the prompt; None where they were not counted.
        cut: whether something was left out of the document's passages, and whether tokens or an
            estimate decided where.
    """

    query: int
    text: str
    span: tuple[int, int]
    ids: TokenIds | None = None
    cut: Cut = "no"

    @property
    def part(self) -> str:
        """The second half of the prompt."""
        return document_part(self.text)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one call scores.

    Attributes:
        queries: each distinct query, in order of appearance.
        passages: each distinct text to score, grouped by query.
        inputs: for each input pair the positions of its passages; equal pairs share theirs.
        neutralised: whether control tokens in the texts were.
        numbers: for each input its position in the whole call; None if this plan is the whole.
    """

    queries: tuple[Query, ...]
    passages: tuple[Passage, ...]
    inputs: tuple[tuple[int, ...], ...]
    neutralised: bool = True
    numbers: tuple[int, ...] | None = None

    def part(self, positions: Sequence[int]) -> Plan:
        """The plan of some of its passages, each an input of its own."""
        if len(positions) == len(self.passages):
            return self
        passages = tuple([self.passages[position] for position in positions])
        inputs = tuple([(at,) for at in range(len(positions))])
        firsts: dict[int, int] = {}
        for number, windows in zip(self._numbers(), self.inputs, strict=True):
            for position in windows:
                firsts.setdefault(position, number)
        numbers = tuple([firsts[position] for position in positions])
        return replace(self, passages=passages, inputs=inputs, numbers=numbers)

    def prompt_ids(self, position: int) -> TokenIds | None:
        """Token ids of a passage's whole prompt, or None where they were not counted."""
        passage = self.passages[position]
        ids = self.queries[passage.query].ids
        return None if ids is None or passage.ids is None else ids + passage.ids

    def tokens(self, position: int) -> int | None:
        """Prompt tokens of a passage, or None where they were not counted."""
        passage = self.passages[position]
        ids = self.queries[passage.query].ids
        return None if ids is None or passage.ids is None else len(ids) + len(passage.ids)

    def total_tokens(self) -> int | None:
        """Prompt tokens of all passages, or None where they were not counted."""
        total = 0
        for passage in self.passages:
            ids = self.queries[passage.query].ids
            if ids is None or passage.ids is None:
                return None
            total += len(ids) + len(passage.ids)
        return total

    def input_of(self, position: int) -> int:
        """The first input of the whole call that a passage stands for, to name it in an error."""
        numbered = zip(self._numbers(), self.inputs, strict=True)
        return next(number for number, positions in numbered if position in positions)

    def _numbers(self) -> Sequence[int]:
        return range(len(self.inputs)) if self.numbers is None else self.numbers
