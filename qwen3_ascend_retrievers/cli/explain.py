"""`qwen3-rerank explain`: the exact prompts and scores, on the terminal and as an HTML page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text

from .._util.atomic_files import check_writable, write_text
from ..core.prompt import ADDED_TOKENS
from ..settings import check_instruction, whole_number
from ..tools.documents.files import NamedText
from ..tools.explanation import Explained, Explanation
from ..tools.explanation import explain as look_into
from ..tools.explanation.report import html_report
from .documents import DocumentOptions
from .options import EngineOptions, Json
from .output import note, out, printable, write_json
from .rank import movement, score_bar
from .running import command

_CONTROL: Final = re.compile("|".join(map(re.escape, ADDED_TOKENS)))
_STYLES: Final = {"instruction": "green", "query": "cyan", "document": "default"}
# Characters of a part that are shown at each end.
_ENDS: Final = 600


@command
def explain(
    query: Annotated[str, typer.Argument(help="What is searched for.")],
    given: DocumentOptions,
    *,
    show: Annotated[int, typer.Option(help="How many documents to show, best first.")] = 3,
    html: Annotated[
        Path | None, typer.Option(help="Write a report of all documents here, one HTML page.")
    ] = None,
    versus_instruction: Annotated[
        str | None, typer.Option(help="A second instruction, to be compared with the first.")
    ] = None,
    json: Json = False,
    options: EngineOptions,
) -> None:
    """Show the exact prompt, tokens, cuts and scores behind a ranking.

    Example: qwen3-rerank explain "capital of China" a.txt b.txt -m tiny --html report.html
    """
    whole_number("--show", show, minimum=0)
    check_instruction(versus_instruction)
    if html is not None:
        check_writable(html)
    documents = given.read()
    texts = [one.text for one in documents]
    with options.reranker() as reranker:
        made = [look_into(reranker, query, texts)]
        if versus_instruction is not None:
            made.append(look_into(reranker, query, texts, versus_instruction))
    names = [one.name for one in documents]
    if html is not None:
        write_text(html, html_report(made, names))
    if json:
        write_json([_as_json(one, documents) for one in made])
        return
    for explanation in made:
        _show(explanation, names, show)
    if html is not None:
        note(f"The report is in {html}.")


def _show(explanation: Explanation, names: Sequence[str], count: int) -> None:
    console = out()
    console.print(Text(f"Instruction: {printable(explanation.instruction)}", style="bold"))
    for one in explanation.documents[:count]:
        head = Text(f"\n{one.place}. ", style="bold") + Text(printable(names[one.result.index]))
        before = Text("  was ") + movement(one.place, one.result.index + 1)
        console.print(head + before, soft_wrap=True)
        logit = one.result.logit
        said = "not known" if logit is None else f"{logit:.4f}"
        console.print(score_bar(one.result.score or 0.0) + Text(f"   logit {said}"))
        console.print(Text(_tokens(one)), soft_wrap=True)
        for line in _changes(one):
            console.print(Text(line, style="yellow"), soft_wrap=True)
        console.print(_prompt(one), soft_wrap=True)
    left = len(explanation.documents) - count
    if left > 0:
        note(f"{left} more documents are not shown; --show says how many are.")


def _tokens(one: Explained) -> str:
    total = "not counted" if one.result.tokens is None else str(one.result.tokens)
    known = [f"{part.name} {part.tokens}" for part in one.parts if part.tokens is not None]
    return f"tokens: {total}" + (f" = {' + '.join(known)}" if known else "")


def _changes(one: Explained) -> list[str]:
    result, said = one.result, []
    if result.error is not None:
        said.append(f"not scored: {printable(str(result.error))}")
    if result.span is not None and (result.truncated or result.windows > 1):
        start, end = result.span
        cut = f"cut ({result.cut}): " * result.truncated
        which = f"window {(result.window or 0) + 1} of {result.windows}, " * (result.windows > 1)
        said.append(
            f"{cut}{which}characters {start} to {end} of {len(result.document)} were scored"
        )
    if one.neutralised:
        said.append(f"control tokens were neutralised in: {', '.join(one.neutralised)}")
    return said


def _prompt(one: Explained) -> Text:
    """The prompt with control tokens set off, its line ends visible, long parts shortened."""
    made = Text()
    for part in one.parts:
        text = part.text
        if len(text) > 2 * _ENDS:
            text = f"{text[:_ENDS]} … {len(text) - 2 * _ENDS} more … {text[-_ENDS:]}"
        shown = Text(printable(text).replace("\n", "⏎\n"), style=_STYLES.get(part.name, "dim"))
        shown.highlight_regex(_CONTROL, style="bold magenta")
        made.append_text(shown)
    return made


def _as_json(explanation: Explanation, documents: Sequence[NamedText]) -> dict[str, Any]:
    return {
        "query": explanation.query,
        "instruction": explanation.instruction,
        "model": explanation.facts.model,
        "template_verified": explanation.facts.template_verified,
        "documents": [
            {
                "rank": one.place,
                "previous_rank": one.result.index + 1,
                "name": documents[one.result.index].name,
                "score": one.result.score,
                "logit": one.result.logit,
                "tokens": one.result.tokens,
                "cut": one.result.cut,
                "span": one.result.span,
                "neutralised": one.neutralised,
                "parts": [
                    {"name": part.name, "tokens": part.tokens, "text": part.text}
                    for part in one.parts
                ],
            }
            for one in explanation.documents
        ],
    }
