"""An explanation as one HTML page that needs nothing else: no network, no script, no font."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from ...core.prompt import ADDED_TOKENS
from .chart import MOST, Line, slope_chart
from .explain import Explained, Explanation, PromptPart

_TEMPLATE: Final = Path(__file__).parent / "explain_report.html"
# Characters of a document in the table.
_BEGINNING: Final = 120
_CONTROL: Final = re.compile("|".join(map(re.escape, ADDED_TOKENS)))


def html_report(explanations: Sequence[Explanation], names: Sequence[str]) -> str:
    """A page on one query's ranking, or on the rankings by two instructions side by side.

    Args:
        explanations: one, or two of the same query and documents.
        names: of the documents, in input order.
    """
    first = explanations[0]
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        query=_text(first.query),
        model=_text(first.facts.model),
        count=str(len(first.documents)),
        columns="\n".join(_column(one, names) for one in explanations),
        prompts="\n".join(_prompts(one, names) for one in explanations),
    )


def _column(explanation: Explanation, names: Sequence[str]) -> str:
    lines = [
        Line(_clean(names[one.result.index]), one.result.index + 1, one.place)
        for one in explanation.documents
    ]
    heading = f"Rank before and after: {_clean(explanation.instruction)}"
    more = len(lines) - MOST
    note = f"<p>{more} more documents are in the table only.</p>" if more > 0 else ""
    rows = "\n".join(_row(one, names) for one in explanation.documents)
    return (
        f'<section class="ranking"><h2><bdi>{_text(explanation.instruction)}</bdi></h2>\n'
        f"{slope_chart(lines, heading)}{note}\n"
        "<table><thead><tr><th>rank<th>was<th>score<th>logit<th>tokens<th>cut<th>document"
        f"</thead><tbody>\n{rows}\n</tbody></table></section>"
    )


def _row(one: Explained, names: Sequence[str]) -> str:
    result = one.result
    score = result.score or 0.0
    cells = (
        str(one.place),
        str(result.index + 1),
        f'<meter min="0" max="1" value="{score:.4f}"></meter> {score:.4g}',
        "?" if result.logit is None else f"{result.logit:.3f}",
        "?" if result.tokens is None else str(result.tokens),
        result.cut
        if result.windows == 1
        else f"window {(result.window or 0) + 1}/{result.windows}",
        f"<bdi>{_text(names[result.index])}</bdi><br><bdi>{_beginning(result.document)}</bdi>",
    )
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells)


def _beginning(document: str) -> str:
    folded = " ".join(document[: 4 * _BEGINNING].split())
    return _text(folded if len(folded) <= _BEGINNING else folded[: _BEGINNING - 1] + "…")


def _prompts(explanation: Explanation, names: Sequence[str]) -> str:
    made = [f"<h3><bdi>{_text(explanation.instruction)}</bdi></h3>"]
    for one in explanation.documents:
        counts = ", ".join(_count(part) for part in one.parts)
        made.append(
            f"<details><summary>{one.place}. <bdi>{_text(names[one.result.index])}</bdi>"
            f"</summary>\n<p>Tokens: {counts}.{_changes(one)}</p>\n"
            f'<pre dir="auto">{"".join(map(_part, one.parts))}</pre></details>'
        )
    return "\n".join(made)


def _count(part: PromptPart) -> str:
    return f"{part.name} {'not counted' if part.tokens is None else part.tokens}"


def _changes(one: Explained) -> str:
    said = ""
    result = one.result
    if result.error is not None:
        said += f" Not scored: {_text(str(result.error))}"
    if result.span is not None and (result.truncated or result.windows > 1):
        start, end = result.span
        said += f" Scored: characters {start} to {end} of {len(one.result.document)}."
    if one.neutralised:
        said += f" Control tokens neutralised in: {', '.join(one.neutralised)}."
    return said


def _part(part: PromptPart) -> str:
    marked, at = "", 0
    for found in _CONTROL.finditer(part.text):
        marked += _text(part.text[at : found.start()])
        marked += f"<mark>{_text(found.group())}</mark>"
        at = found.end()
    return f'<span class="{part.name}">{marked}{_text(part.text[at:])}</span>'


def _text(text: str) -> str:
    return escape(_clean(text))


def _clean(text: str) -> str:
    """`text` with what no HTML page may hold replaced: lone surrogates, NUL and their like."""
    return re.sub("[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", text)
