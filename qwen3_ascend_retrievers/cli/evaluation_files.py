"""The files of `qwen3-rerank eval`: what it reads, and where its results go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from .._util.atomic_files import check_writable
from ..errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class EvaluationFiles:
    """The test collection, the run, and where results go."""

    queries: Annotated[Path, typer.Option(help="BEIR queries: JSON lines with _id and text.")]
    corpus: Annotated[
        Path,
        typer.Option(
            help="BEIR corpus: JSON lines with _id, title, text. Blank ones are scored, too."
        ),
    ]
    qrels: Annotated[Path, typer.Option(help="Judgements: BEIR's TSV, or TREC's four columns.")]
    run: Annotated[
        Path | None, typer.Option(help="The first stage's TREC run, which is to be reranked.")
    ] = None
    bm25: Annotated[
        bool,
        typer.Option("--bm25", help="Make that run with BM25 instead (for languages with spaces)."),
    ] = False
    output: Annotated[Path, typer.Option("--output", "-o", help="The reranked TREC run.")] = Path(
        "reranked.trec"
    )
    per_query: Annotated[
        Path | None, typer.Option(help="Write each query's values here, tab-separated.")
    ] = None
    plot: Annotated[Path | None, typer.Option(help="Draw the comparison here, as PNG.")] = None

    def journal(self) -> Path:
        """Finished queries, beside the output."""
        return self.output.with_name(self.output.name + ".journal")

    def first_stage(self) -> Path:
        """The run that BM25 makes, beside the output."""
        return self.output.with_name(self.output.name + ".bm25")

    def check(self) -> None:
        """Raise InvalidInputError for files that could not be written after the work."""
        if (self.run is None) == (not self.bm25):
            raise InvalidInputError("Give either --run FILE or --bm25.")
        # A folder such as . or / has no name from which the journal's could be derived.
        check_writable(self.output, only_file=True)
        for path in (self.journal(), *[self.first_stage()] * self.bm25):
            check_writable(path, only_file=True)
        for path in filter(None, (self.per_query, self.plot)):
            check_writable(path)
        self._check_distinct()

    def _check_distinct(self) -> None:
        """Raise InvalidInputError if a result would replace an input or another result."""
        results = [self.output, self.journal(), *[self.first_stage()] * self.bm25]
        results += filter(None, (self.per_query, self.plot))
        inputs = filter(None, (self.queries, self.corpus, self.qrels, self.run))
        used = {path.resolve() for path in inputs}
        for path in results:
            # A file that is not regular, such as a terminal, takes several results.
            if path.exists() and not path.is_file():
                continue
            if path.resolve() in used:
                raise InvalidInputError(
                    f"{path} is an input or another result, and would be replaced. Take another "
                    "name."
                )
            used.add(path.resolve())
