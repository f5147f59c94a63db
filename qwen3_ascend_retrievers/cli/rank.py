"""`qwen3-rerank rank`: documents in, a table or JSON out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..core.ranking import RankedDocument
from ..core.results import Ranking
from ..tools.documents.files import NamedText
from ..tools.wording import counted, score_text
from .documents import DocumentOptions
from .options import EngineOptions, Json, Threshold
from .output import (
    TERMINAL_ROWS,
    on_terminal,
    one_line,
    print_json,
    print_note,
    print_table,
    terminal_text,
)
from .running import command


class CombineChoice(str, Enum):
    """How ranks are combined; the values are those of `settings.Combine`."""

    rrf = "rrf"


_BAR_CELLS = 10
_BEGINNING_CHARACTERS = 200


@command
def rank_command(
    query: Annotated[str, typer.Argument(help="The search query.")],
    document_options: DocumentOptions,
    *,
    top_n: Annotated[
        int | None,
        typer.Option(
            "--top-n",
            "-n",
            help="Number of documents to show.",
            show_default="all; on a terminal the first 10",
        ),
    ] = None,
    threshold: Threshold = None,
    max_documents: Annotated[
        int | None,
        typer.Option(
            help="Score only the first so many documents; the others follow in their order.",
            show_default="all",
        ),
    ] = None,
    combine: Annotated[
        CombineChoice | None,
        typer.Option(
            help="rrf orders by the ranks of the input and of the scores together (reciprocal rank "
            "fusion).",
            show_default="by score",
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
    reranker = options.reranker(
        top_n=top_n,
        threshold=threshold,
        max_documents=max_documents,
        combine=None if combine is None else combine.value,
    )
    with reranker:
        ranking = reranker.rank(query, [document.text for document in documents])
        engine = type(reranker.engine).__name__
    if json:
        print_json(_ranking_json(query, ranking, documents))
        return
    rows = TERMINAL_ROWS if top_n is None and on_terminal() else len(documents)
    results = ranking.results[:rows]
    texts = [document_cell(documents[result.index]) for result in results]
    print_table(partial(_ranking_table, results), texts)
    _print_notes(ranking, len(documents), rows, engine)


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
            "cache_hits": ranking.usage.cache_hits,
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
            | ({} if result.stage is None else {"stage": result.stage.number})
            | ({} if result.fusion is None else {"fusion": result.fusion._asdict()})
            for place, result in enumerate(ranking.results, 1)
        ],
    }


def _ranking_table(results: Sequence[RankedDocument], texts: Sequence[Text]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("rank", "was"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("score", no_wrap=True)
    table.add_column("tokens", justify="right", no_wrap=True)
    table.add_column("cut", no_wrap=True)
    table.add_column("document", overflow="fold")
    for place, (result, text) in enumerate(zip(results, texts, strict=True), 1):
        table.add_row(
            str(place),
            movement(place, result.index + 1),
            score_bar(result.score) + stage_note(result),
            _count_text(result.tokens),
            _cut_text(result),
            text,
        )
    return table


def _print_notes(ranking: Ranking, documents: int, rows: int, engine: str) -> None:
    """What the table does not show, and what the ranking took."""
    count = len(ranking.results)
    if count > rows:
        print_note(f"{counted(count - rows, 'more document')}; --top-n {count} shows all.")
    left_out = f", {documents - count:,} not shown" if documents > count else ""
    tokens, hits = ranking.usage.prompt_tokens, ranking.usage.cache_hits
    cached = f"{hits:,} of {ranking.usage.passages:,} scores from the cache; " if hits else ""
    print_note(
        f"{counted(documents, 'document')}{left_out}; "
        f"{'? tokens' if tokens is None else counted(tokens, 'token')}; "
        f"{cached}{ranking.model} by {engine}, {ranking.timings.total:.1f} s"
    )


def document_cell(document: NamedText) -> Text:
    """A document's name and the beginning of its text."""
    text = Text(terminal_text(document.name), style="cyan")
    text.append("  ")
    return text.append(one_line(document.text, _BEGINNING_CHARACTERS), style="default")


def movement(place: int, before: int) -> Text:
    """The previous rank, with an arrow that says which way the document went."""
    if place == before:
        return Text(f"{before} =", style="dim")
    up = place < before
    return Text(f"{before} {'↑' if up else '↓'}", style="green" if up else "red")


def score_bar(score: float | None) -> Text:
    """A bar of ten cells and the score; None was not scored."""
    if score is None:
        return Text("not scored", style="yellow")
    full = round(score * _BAR_CELLS)
    bar = Text("█" * full, style="green")
    return bar + Text("·" * (_BAR_CELLS - full) + f" {score_text(score)}", style="default")


def stage_note(result: RankedDocument) -> Text:
    """Which stage of a cascade decided."""
    stage = result.stage
    return Text("" if stage is None else f" stage {stage.number}/{stage.of}", style="dim")


def _count_text(count: int | None) -> str:
    return "?" if count is None else str(count)


def _cut_text(result: RankedDocument) -> str:
    if result.windows > 1:
        return f"window {(result.window or 0) + 1}/{result.windows}"
    return result.cut if result.truncated else "no"
