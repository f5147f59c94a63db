"""The options of `bulk`: which columns are read, what becomes of the results, which cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from .._util.atomic_files import check_writable
from ..engines.base import Engine
from ..errors import InvalidInputError
from ..settings import is_finite, whole_number
from ..tools.bulk.columns import Columns
from ..tools.bulk.finished import folder_of
from ..tools.bulk.inputs import InputFiles
from ..tools.bulk.recipe import recipe_of
from .options import Threshold

CLUSTER_PANEL: Final = "Cluster"
_DOCUMENTS_COLUMN: Final = "documents"
_DOCUMENT_COLUMN: Final = "document"


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """Which columns hold the texts."""

    query_column: Annotated[str, typer.Option(help="The column with the query.")] = "query"
    documents_column: Annotated[
        str | None,
        typer.Option(
            help="The column with a list of documents, if a row is a query with all of them.",
            show_default=f"{_DOCUMENTS_COLUMN}, if there is one",
        ),
    ] = None
    document_column: Annotated[
        str | None,
        typer.Option(
            help="The column with one document, if a row is a pair.",
            show_default=f"{_DOCUMENT_COLUMN}, if there is one",
        ),
    ] = None

    def columns(self, inputs: InputFiles, *, staged: bool) -> Columns:
        """The columns, by default those that the input has.

        Args:
            inputs: that are read.
            staged: whether a cascade scores.

        Raises:
            InvalidInputError: both are named, or none is there.
        """
        documents, document = self.documents_column, self.document_column
        if documents is None and document is None:
            names = inputs.column_names()
            documents = _DOCUMENTS_COLUMN if _DOCUMENTS_COLUMN in names else None
            document = _DOCUMENT_COLUMN if documents is None and _DOCUMENT_COLUMN in names else None
            if documents is None and document is None:
                raise InvalidInputError(
                    f"There is no column {_DOCUMENTS_COLUMN!r} or {_DOCUMENT_COLUMN!r}, but: "
                    f"{', '.join(names)}. Name it with --documents-column (a list) or "
                    "--document-column (one text)."
                )
        return Columns(
            query=self.query_column, documents=documents, document=document, staged=staged
        )


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """What is kept of the results, and how they are written."""

    top_n: Annotated[
        int | None,
        typer.Option(
            "--top-n", "-n", help="Number of a query's documents to keep.", show_default="all"
        ),
    ] = None
    threshold: Threshold = None
    batch_size: Annotated[
        int,
        typer.Option(help="Pairs that are scored and written together; a query stays whole."),
    ] = 1000
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Discard what an interrupted run has finished, and OUT."),
    ] = False

    def check_output(self, output: Path) -> None:
        """Raise InvalidInputError for an output that cannot be written, or would be replaced."""
        check_writable(output, only_file=True)
        if output.exists() and not self.fresh and not folder_of(output).exists():
            raise InvalidInputError(
                f"{output} is there already. Take another name, or replace it with --fresh."
            )

    def pairs(self) -> int:
        """Of a batch, at least 1."""
        return whole_number("--batch-size", self.batch_size, minimum=1)


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """On which Ray cluster, and how many actors with what."""

    ray_address: Annotated[
        str | None,
        typer.Option(
            help="A Ray cluster: host:port, 'auto' for the one that this machine is in, 'local' "
            "for one that lasts as long as the command. Without it the rows are scored in this "
            "process.",
            rich_help_panel=CLUSTER_PANEL,
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="With --ray-address: how many actors.",
            show_default="1",
            rich_help_panel=CLUSTER_PANEL,
        ),
    ] = None
    resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=AMOUNT",
            help="With --ray-address: what each actor takes of its node, such as NPU=1, GPU=1 or "
            "CPU=4. May be repeated.",
            show_default="CPU=1",
            rich_help_panel=CLUSTER_PANEL,
        ),
    ] = None

    def check(self, engine: Engine) -> None:
        """Raise InvalidInputError for wrong options, or an engine that actors cannot make.

        Args:
            engine: the one that they are to make.
        """
        if self.ray_address is not None:
            self.actors()
            self.resources()
            recipe_of(engine)
        elif self.concurrency is not None or self.resource:
            raise InvalidInputError(
                "--concurrency and --resource are for a cluster: add --ray-address."
            )

    def actors(self) -> int:
        """How many actors, at least 1."""
        if self.concurrency is None:
            return 1
        return whole_number("--concurrency", self.concurrency, minimum=1)

    def resources(self) -> dict[str, float] | None:
        """The amounts by name; None if nothing was said.

        Raises:
            InvalidInputError: a text is no NAME=AMOUNT.
        """
        amounts: dict[str, float] = {}
        for text in self.resource or ():
            name, _, amount = text.partition("=")
            try:
                value = float(amount)
            except ValueError:
                value = 0.0
            if not name or not is_finite(value) or value <= 0:
                raise InvalidInputError(
                    f"--resource takes a name and an amount, such as NPU=1, not {text!r}."
                )
            amounts[name] = value
        return amounts or None
