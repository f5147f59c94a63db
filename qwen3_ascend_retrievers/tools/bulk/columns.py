"""Which columns hold queries and documents, and which are added to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from ...core.ranking import RankedDocument
from ...errors import InvalidInputError
from .groups import GroupRanking

# Of ray.data.llm, so that what reads its datasets reads these; "" is no error.
ERROR_COLUMN: Final = "__inference_error__"
RESULTS_COLUMN: Final = "results"
# Of a row that is one pair; the names of /v1/rerank and of the command line's JSON.
PAIR_COLUMNS: Final = ("relevance_score", "rank", "truncated")
# The stage of a cascade that gave a score, from 1; the name that it has in metadata.
STAGE_COLUMN: Final = "rerank_stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns that are read: a row is a query with its documents, or one pair.

    Args:
        query: with the query.
        documents: with a list of documents; a row is a query with all of them.
        document: with one document; a row is a pair.
        staged: whether results say which stage of a cascade scored them: scores of two stages
            cannot be compared.

    Raises:
        InvalidInputError: both or neither of the last two, or a name that is no text.
    """

    query: str
    documents: str | None = None
    document: str | None = None
    staged: bool = False

    def __post_init__(self) -> None:
        if (self.documents is None) == (self.document is None):
            raise InvalidInputError(
                "Give documents_column, if a row holds a query with a list of documents, or "
                "document_column, if it holds a query and one document."
            )
        for name in (self.query, self.texts):
            if not isinstance(name, str) or not name:
                raise InvalidInputError(f"A column's name must be a non-empty str, not {name!r}.")
        if self.query == self.texts:
            raise InvalidInputError(f"The column {self.query!r} cannot hold query and documents.")

    @property
    def texts(self) -> str:
        """The column with the documents, or the document."""
        return self.documents or self.document or ""

    @property
    def is_pairs(self) -> bool:
        """Whether a row is one pair."""
        return self.document is not None

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that results go into."""
        if not self.is_pairs:
            return RESULTS_COLUMN, ERROR_COLUMN
        return (*PAIR_COLUMNS, *((STAGE_COLUMN,) if self.staged else ()), ERROR_COLUMN)

    def check(self, names: Collection[str]) -> None:
        """Raise InvalidInputError unless what is read is among `names`, and nothing to be added.

        Args:
            names: of a table's columns.
        """
        counts = Counter(names)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise InvalidInputError(f"There are two columns {twice[0]!r}. Rename one of them.")
        for name in (self.query, self.texts):
            if name not in counts:
                raise InvalidInputError(
                    f"There is no column {name!r}. There are: {', '.join(sorted(names))}."
                )
        if clashes := sorted({*self.added} & {*names}):
            raise InvalidInputError(
                f"There is a column {clashes[0]!r} already, which would be replaced. Give it "
                "another name first."
            )


def row_values(ranking: GroupRanking, staged: bool) -> list[Any]:
    """What is added to a row that is a query with its documents, in the order of the columns.

    Documents with an error of their own are in the results, behind the others and without a score.
    """
    if ranking.error:
        return [None, ranking.error]
    failed = sorted(ranking.errors)
    unscored = [RankedDocument(at, "", None) for at in failed]
    results = [
        {
            "index": result.index,
            "relevance_score": result.score,
            "truncated": result.truncated,
            **({STAGE_COLUMN: _stage(result)} if staged else {}),
        }
        for result in (*ranking.results, *unscored)
    ]
    text = ""
    if failed:
        others = f" ({len(failed)} documents in all)" if len(failed) > 1 else ""
        text = f"documents[{failed[0]}]: {ranking.errors[failed[0]]}{others}"
    return [results, text]


def pair_values(ranking: GroupRanking, count: int, staged: bool) -> list[list[Any] | None]:
    """What is added to each of a query's pairs; None for one that top_n or a threshold left out.

    Args:
        ranking: of the query.
        count: how many pairs it has.
        staged: whether there is a column for the stage.
    """
    no_stage = [None] if staged else []
    if ranking.error:
        return [[None, None, False, *no_stage, ranking.error] for _ in range(count)]
    values: list[list[Any] | None] = [None] * count
    for place, result in enumerate(ranking.results, 1):
        rank = None if result.score is None else place
        stage = [_stage(result)] if staged else []
        values[result.index] = [result.score, rank, result.truncated, *stage, ""]
    for position, text in ranking.errors.items():
        values[position] = [None, None, False, *no_stage, text]
    return values


def _stage(result: RankedDocument) -> int | None:
    return None if result.stage is None else result.stage.number


def neighbours(queries: Iterable[Any]) -> list[range]:
    """The places of neighbouring equal queries, one range each."""
    ranges: list[range] = []
    last: Any = None
    for place, query in enumerate(queries):
        if ranges and type(query) is type(last) and query == last:
            ranges[-1] = range(ranges[-1].start, place + 1)
        else:
            ranges.append(range(place, place + 1))
        last = query
    return ranges
