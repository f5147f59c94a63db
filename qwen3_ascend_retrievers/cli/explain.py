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
from ..tools.explanation import Explained, Explanation, explain
from ..tools.explanation.report import html_report
from ..tools.wording import counted, logit_text
from .comparison import print_comparison
from .documents import DocumentOptions
from .options import EngineOptions, Json
from .output import out, print_json, print_note, terminal_text
from .rank import movement, score_bar, stage_note
from .running import command

_CONTROL_TOKENS: Final = re.compile("|".join(map(re.escape, ADDED_TOKENS)))
_PART_STYLES: Final = {"instruction": "green", "query": "cyan", "document": "default"}
# Characters of a part that are shown at each end.
_END_CHARACTERS: Final = 600


@command
def explain_command(
    query: Annotated[str, typer.Argument(help="The search query.")],
    document_options: DocumentOptions,
    *,
    show: Annotated[int, typer.Option(help="Number of documents to show, best first.")] = 3,
    html: Annotated[
        Path | None, typer.Option(help="Write a report of all documents here, one HTML page.")
    ] = None,
    versus_instruction: Annotated[
        str | None,
        typer.Option(help="A second instruction: the two orders and their scores are compared."),
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
    documents = document_options.read()
    texts = [document.text for document in documents]
    with options.reranker() as reranker:
        explanations = [explain(reranker, query, texts)]
        if versus_instruction is not None:
            explanations.append(explain(reranker, query, texts, versus_instruction))
    names = [document.name for document in documents]
    if html is not None:
        write_text(html, html_report(explanations, names))
    if json:
        print_json([_explanation_json(explanation, documents) for explanation in explanations])
        return
    for explanation in explanations:
        _print_explanation(explanation, names, show)
    if versus_instruction is not None:
        print_comparison(explanations[0], explanations[1], documents)
    if html is not None:
        print_note(f"The report is in {html}.")


def _print_explanation(explanation: Explanation, names: Sequence[str], count: int) -> None:
    console = out()
    console.print(Text(f"Instruction: {terminal_text(explanation.instruction)}", style="bold"))
    for document in explanation.documents[:count]:
        result = document.result
        place, name = document.place, terminal_text(names[result.index])
        head = Text(f"\n{place}. ", style="bold") + Text(name)
        before = Text("  was ") + movement(place, result.index + 1)
        console.print(head + before, soft_wrap=True)
        logit = Text(f"   logit {logit_text(result.logit)}")
        console.print(score_bar(result.score) + logit + stage_note(result))
        console.print(Text(_token_counts(document)), soft_wrap=True)
        for line in _change_notes(document):
            console.print(Text(line, style="yellow"), soft_wrap=True)
        console.print(_prompt_text(document), soft_wrap=True)
    hidden = len(explanation.documents) - count
    if hidden > 0:
        print_note(f"{counted(hidden, 'more document')}; --show says how many are shown.")


def _token_counts(document: Explained) -> str:
    total = "not counted" if document.result.tokens is None else str(document.result.tokens)
    counts = [f"{part.name} {part.tokens}" for part in document.parts if part.tokens is not None]
    return f"tokens: {total}" + (f" = {' + '.join(counts)}" if counts else "")


def _change_notes(document: Explained) -> list[str]:
    result, notes = document.result, []
    if result.error is not None:
        notes.append(f"not scored: {terminal_text(str(result.error))}")
    if result.span is not None and (result.truncated or result.windows > 1):
        start, end = result.span
        cut = f"cut ({result.cut}): " * result.truncated
        window = f"window {(result.window or 0) + 1} of {result.windows}, " * (result.windows > 1)
        notes.append(
            f"{cut}{window}characters {start} to {end} of {len(result.document)} were scored"
        )
    if document.neutralised:
        notes.append(f"control tokens were neutralised in: {', '.join(document.neutralised)}")
    return notes


def _prompt_text(document: Explained) -> Text:
    """The prompt with control tokens highlighted, its line ends visible, long parts shortened."""
    prompt = Text()
    for part in document.parts:
        text = part.text
        if len(text) > 2 * _END_CHARACTERS:
            omitted = len(text) - 2 * _END_CHARACTERS
            text = f"{text[:_END_CHARACTERS]} … {omitted} more … {text[-_END_CHARACTERS:]}"
        style = _PART_STYLES.get(part.name, "dim")
        part_text = Text(terminal_text(text).replace("\n", "⏎\n"), style=style)
        part_text.highlight_regex(_CONTROL_TOKENS, style="bold magenta")
        prompt.append_text(part_text)
    return prompt


def _explanation_json(explanation: Explanation, documents: Sequence[NamedText]) -> dict[str, Any]:
    return {
        "query": explanation.query,
        "instruction": explanation.instruction,
        "model": explanation.facts.model,
        "template_verified": explanation.facts.template_verified,
        "documents": [
            {
                "rank": document.place,
                "previous_rank": document.result.index + 1,
                "name": documents[document.result.index].name,
                "score": document.result.score,
                "logit": document.result.logit,
                "tokens": document.result.tokens,
                "cut": document.result.cut,
                "span": document.result.span,
                "stage": None if document.result.stage is None else document.result.stage.number,
                "neutralised": document.neutralised,
                "parts": [
                    {"name": part.name, "tokens": part.tokens, "text": part.text}
                    for part in document.parts
                ],
            }
            for document in explanation.documents
        ],
    }
