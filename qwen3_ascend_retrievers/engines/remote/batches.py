"""The batches of a plan: which passages go in one request. Decisions only, nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Final

from ...core.batching import portions
from ...core.plan import Passage, Plan, Query
from ...core.prompt import document_part, utf8_length

# Chinese has about three, English more.
_BYTES_PER_TOKEN: Final = 3


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """What one request has: neighbouring passages of one query.

    Attributes:
        plan: the whole plan.
        start: position of the first passage in it.
        passages: as they are sent.
        kept: code points of the plan's text that were kept of the only passage; None if it was not
            cut further.
    """

    plan: Plan
    start: int
    passages: Sequence[Passage]
    kept: int | None = None

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def query(self) -> Query:
        """The query of all its passages."""
        return self.plan.queries[self.passages[0].query]

    def parts(self, size: int) -> list[RequestBatch]:
        """The same in batches of at most `size` passages."""
        return [
            replace(self, start=self.start + at, passages=self.passages[at : at + size])
            for at in range(0, len(self), size)
        ]

    def with_text(self, text: str) -> RequestBatch:
        """The first passage alone, with another text in place of its own."""
        passage = replace(self.passages[0], text=text, ids=None)
        return RequestBatch(self.plan, self.start, [passage], len(text))

    def tokens(self) -> list[int | None]:
        """Prompt tokens of each passage; None where they were not counted."""
        ids = self.query.ids
        if ids is None or self.kept is not None:
            return [None] * len(self)
        return [
            None if passage.ids is None else len(ids) + len(passage.ids)
            for passage in self.passages
        ]

    def sizes(self) -> list[int]:
        """About how many tokens each prompt has, to size requests.

        Where they were not counted, by their bytes: to tell 65,000 tokens from 66,000 is worth no
        millisecond of the loop that all callers share.
        """
        template_bytes = utf8_length(self.query.part) + utf8_length(document_part(""))
        return [
            count or (template_bytes + utf8_length(passage.text)) // _BYTES_PER_TOKEN
            for count, passage in zip(self.tokens(), self.passages, strict=True)
        ]


def batches_of(plan: Plan, *, max_count: int, max_tokens: int) -> Iterator[RequestBatch]:
    """All passages, in order, each batch within both limits but for a passage that exceeds them."""
    start = 0
    for _, group in groupby(plan.passages, key=attrgetter("query")):
        whole = RequestBatch(plan, start, list(group))
        for portion in portions(whole.sizes(), max_count=max_count, max_tokens=max_tokens):
            yield RequestBatch(
                plan, start + portion[0], whole.passages[portion[0] : portion[-1] + 1]
            )
        start += len(whole)
