"""The options of `bulk`: which columns are read, and on which cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from ..engines.base import Engine
from ..errors import InvalidInputError
from ..settings import is_finite, whole_number
from ..tools.bulk.columns import Columns
from ..tools.bulk.inputs import InputFiles
from ..tools.bulk.recipe import recipe_of

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

    def columns(self, inputs: InputFiles) -> Columns:
        """The columns, by default those that the input has.

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
        return Columns(query=self.query_column, documents=documents, document=document)


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
