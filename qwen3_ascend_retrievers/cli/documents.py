"""The options that name the documents, shared by `rank` and `explain`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from ..errors import InvalidInputError
from ..settings import whole_number
from ..tools.documents.chunking import CHUNK_CHARACTERS
from ..tools.documents.files import STDIN, NamedText, read_documents


@dataclass(frozen=True, kw_only=True)
class DocumentOptions:
    """Where the documents come from, and how they are read."""

    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Documents, in the order to improve: text files (one document each), .jsonl "
            "files (one a line), folders (their .txt, .md and .rst files, split into passages at "
            "headings and paragraphs; not hidden files, nor links to folders), or - for standard "
            "input (one document a line).",
            show_default="- if something is piped in",
        ),
    ] = None
    field: Annotated[
        str | None,
        typer.Option(help="JSON field with the text. All input is then read as JSON lines."),
    ] = None
    chunk_size: Annotated[int, typer.Option(help="Maximum characters of a folder's passages.")] = (
        CHUNK_CHARACTERS
    )

    def read(self) -> list[NamedText]:
        """The documents.

        Raises:
            InvalidInputError: none, or unreadable ones.
        """
        size = whole_number("--chunk-size", self.chunk_size, minimum=1)
        if not self.files and sys.stdin.isatty():
            raise InvalidInputError(
                "There are no documents. Name files or a folder, or pipe text in."
            )
        return read_documents(self.files or [STDIN], sys.stdin, field=self.field, chunk_size=size)
