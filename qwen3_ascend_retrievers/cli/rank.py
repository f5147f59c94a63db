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
from .output import one_line, out, print_json, print_note, terminal_text
from .running import command

_BAR_CELLS = 10
_BEGINNING_CHARACTERS = 200


@command
def rank_command(
    query: Annotated[str, typer.Argument(help="The search query.")],
    document_options: DocumentOptions,
    *,
    top_n: Annotated[
        int | None,
        typer.Option("--top-n", "-n", help="Number of documents to show.", show_default="all"),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Leave out documents that score below it, from 0 to 1.", show_default="none"
        ),
    ] = None,
    json: Json = False,
    options: EngineOptions,
) -> None:
    """Order documents by relevance to a query.

    Tokens are ? where nobody counted: a server is asked only about documents that may not fit.
    With --tokenizer they are counted here.

    Example: qwen3-rerank rank "how do I open a file" docs/ --model tiny --top-n 5
    """
    documents = document_options.read()
    with options.reranker(top_n=top_n, threshold=threshold) as reranker:
        ranking = reranker.rank(query, [document.text for document in documents])
        engine = type(reranker.engine).__name__
    if json:
        print_json(_ranking_json(query, ranking, documents))
        return
    out().print(_ranking_table(ranking.results, documents))
    hidden = len(documents) - len(ranking.results)
    rest = f", {hidden} not shown" if hidden else ""
    print_note(
        f"{len(documents)} documents{rest}; {_count_text(ranking.usage.prompt_tokens)} tokens; "
        f"{ranking.model} by {engine}, {ranking.timings.total:.1f} s"
    )


def _ranking_json(query: str, ranking: Ranking, documents: Sequence[NamedText]) -> dict[str, Any]:
    """A ranking as JSON: ranks from 1, indexes from 0."""
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
                "previous_rank": result.index + 1,
                "index": result.index,
                "name": documents[result.index].name,
                "score": result.score,
                "logit": result.logit,
                "tokens": result.tokens,
                "truncated": result.truncated,
                "cut": result.cut,
                "span": result.span,
                "windows": result.windows,
                "text": result.document,
            }
            | ({} if result.error is None else {"error": str(result.error)})
            for place, result in enumerate(ranking.results, 1)
        ],
    }


def _ranking_table(results: Sequence[RankedDocument], documents: Sequence[NamedText]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("rank", "was"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("cut", no_wrap=True)
    table.add_column("document", overflow="fold")
    for place, result in enumerate(results, 1):
        document = Text(terminal_text(documents[result.index].name), style="cyan")
        document.append("  ")
        document.append(one_line(result.document, _BEGINNING_CHARACTERS), style="default")
        score = result.score
        table.add_row(
            str(place),
            movement(place, result.index + 1),
            Text("not scored", style="yellow") if score is None else score_bar(score),
            _count_text(result.tokens),
            _cut_text(result),
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
    """A bar of ten cells, and the score with enough digits if it is small."""
    full = round(score * _BAR_CELLS)
    number = f"{score:.4f}" if score >= 0.001 else f"{score:.1e}"
    bar = Text("█" * full, style="green")
    return bar + Text("·" * (_BAR_CELLS - full) + f" {number}", style="default")


def _count_text(count: int | None) -> str:
    return "?" if count is None else str(count)


def _cut_text(result: RankedDocument) -> str:
    if result.windows > 1:
        return f"window {(result.window or 0) + 1}/{result.windows}"
    return result.cut if result.truncated else "no"
