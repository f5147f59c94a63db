"""Two rankings of the same documents side by side: what `explain --versus-instruction` adds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.table import Table
from rich.text import Text

from ..tools.documents.files import NamedText
from ..tools.explanation import Explained, Explanation
from ..tools.wording import counted, score_text
from .output import TERMINAL_ROWS, on_terminal, out, print_note, print_table, terminal_text
from .rank import document_cell, movement, score_bar


def print_comparison(old: Explanation, new: Explanation, documents: Sequence[NamedText]) -> None:
    """Print each document's place and score in both, in the order of `new`.

    Args:
        old: the ranking to compare with.
        new: the other one, of the same query and documents.
        documents: in input order.
    """
    console = out()
    console.print(Text("\nThe two orders compared", style="bold"))
    console.print(Text(f"was: {terminal_text(old.instruction)}"), soft_wrap=True)
    console.print(Text(f"now: {terminal_text(new.instruction)}"), soft_wrap=True)
    before = {document.result.index: document for document in old.documents}
    rows = new.documents[: TERMINAL_ROWS if on_terminal() else None]
    pairs = [(before[document.result.index], document) for document in rows]
    texts = [document_cell(documents[document.result.index]) for document in rows]
    print_table(partial(_two_orders_table, pairs), texts)
    if hidden := len(new.documents) - len(rows):
        print_note(f"{counted(hidden, 'more document')}; --json has all.")


def _two_orders_table(pairs: Sequence[tuple[Explained, Explained]], texts: Sequence[Text]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("now", "was"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("score now", no_wrap=True)
    table.add_column("score was", justify="right", no_wrap=True)
    table.add_column("document", overflow="fold")
    for (before, document), text in zip(pairs, texts, strict=True):
        score = before.result.score
        table.add_row(
            str(document.place),
            movement(document.place, before.place),
            score_bar(document.result.score),
            "not scored" if score is None else score_text(score),
            text,
        )
    return table
