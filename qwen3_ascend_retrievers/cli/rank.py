"""`qwen3-rerank rank`: documents in, a table or JSON out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..core.ranking import RankedDocument
from ..core.results import Ranking
from ..tools.documents.files import NamedText
from .documents import DocumentOptions
from .options import EngineOptions, Json
from .output import note, one_line, out, printable, write_json
from .running import command

_BAR = 10
_TEXT = 200


@command
def rank(
    query: Annotated[str, typer.Argument(help="What is searched for.")],
    given: DocumentOptions,
    *,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", help="How many to show.", show_default="all")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Leave out what scores below it, from 0 to 1.", show_default="none"),
    ] = None,
    json: Json = False,
    options: EngineOptions,
) -> None:
    """Order documents by relevance to a query.

    Tokens are ? where nobody counted: a server is asked only about documents that may not fit.
    With --tokenizer they are counted here.

    Example: qwen3-rerank rank "how do I open a file" docs/ --model tiny --top-n 5
    """
    documents = given.read()
    with options.reranker(top_n=top_n, threshold=threshold) as reranker:
        ranking = reranker.rank(query, [one.text for one in documents])
        engine = type(reranker.engine).__name__
    if json:
        write_json(as_json(query, ranking, documents))
        return
    out().print(_table(ranking.results, documents))
    left = len(documents) - len(ranking.results)
    rest = f", {left} not shown" if left else ""
    note(
        f"{len(documents)} documents{rest}; {_tokens(ranking.usage.prompt_tokens)} tokens; "
        f"{ranking.model} by {engine}, {ranking.timings.total:.1f} s"
    )


def as_json(query: str, ranking: Ranking, documents: Sequence[NamedText]) -> dict[str, Any]:
    """A ranking for machines: ranks from 1, indexes from 0."""
    return {
        "query": query,
        "model": ranking.model,
        "template_verified": ranking.template_verified,
        "usage": {
            "documents": ranking.usage.documents,
            "passages": ranking.usage.passages,
            "prompt_tokens": ranking.usage.prompt_tokens,
        },
        "seconds": round(ranking.timings.total, 3),
        "results": [
            {
                "rank": place,
                "previous_rank": one.index + 1,
                "index": one.index,
                "name": documents[one.index].name,
                "score": one.score,
                "logit": one.logit,
                "tokens": one.tokens,
                "truncated": one.truncated,
                "cut": one.cut,
                "span": one.span,
                "windows": one.windows,
                "text": one.document,
            }
            | ({} if one.error is None else {"error": str(one.error)})
            for place, one in enumerate(ranking.results, 1)
        ],
    }


def _table(results: Sequence[RankedDocument], documents: Sequence[NamedText]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("rank", "was"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("cut", no_wrap=True)
    table.add_column("document", overflow="fold")
    for place, one in enumerate(results, 1):
        document = Text(printable(documents[one.index].name), style="cyan")
        document.append("  ")
        document.append(one_line(one.document, _TEXT), style="default")
        table.add_row(
            str(place),
            movement(place, one.index + 1),
            Text("not scored", style="yellow") if one.score is None else score_bar(one.score),
            _tokens(one.tokens),
            _cut(one),
            document,
        )
    return table


def movement(place: int, before: int) -> Text:
    """The previous rank, with an arrow that says which way the document went."""
    if place == before:
        return Text(f"{before} =", style="dim")
    up = place < before
    return Text(f"{before} {'↑' if up else '↓'}", style="green" if up else "red")


def score_bar(score: float) -> Text:
    """A bar of ten cells and the number, which keeps its digits where it is small."""
    full = round(score * _BAR)
    number = f"{score:.4f}" if score >= 0.001 else f"{score:.1e}"
    bar = Text("█" * full, style="green")
    return bar + Text("·" * (_BAR - full) + f" {number}", style="default")


def _tokens(count: int | None) -> str:
    return "?" if count is None else str(count)


def _cut(one: RankedDocument) -> str:
    if one.windows > 1:
        return f"window {(one.window or 0) + 1}/{one.windows}"
    return one.cut if one.truncated else "no"
