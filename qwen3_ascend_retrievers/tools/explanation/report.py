"""An explanation as one self-contained HTML page: no network, no script, no font."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from ...core.prompt import ADDED_TOKENS
from ..wording import counted, logit_text, score_text
from .chart import MAX_LINES, Line, slope_chart
from .explain import Explained, Explanation, PromptPart

_TEMPLATE: Final = Path(__file__).parent / "explain_report.html"
# Characters of a document in the table.
_EXCERPT_LENGTH: Final = 120
_CONTROL_TOKEN_PATTERN: Final = re.compile("|".join(map(re.escape, ADDED_TOKENS)))


def html_report(explanations: Sequence[Explanation], names: Sequence[str]) -> str:
    """A page on one query's ranking, or on the rankings by two instructions side by side.

    Args:
        explanations: one, or two of the same query and documents.
        names: of the documents, in input order.
    """
    first = explanations[0]
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        query=_escaped_html(first.query),
        model=_escaped_html(first.facts.model),
        count=counted(len(first.documents), "document"),
        columns="\n".join(_ranking_section(explanation, names) for explanation in explanations),
        prompts="\n".join(
            _prompt_list(explanation, names, first_open=at == 0)
            for at, explanation in enumerate(explanations)
        ),
    )


def _ranking_section(explanation: Explanation, names: Sequence[str]) -> str:
    lines = [
        Line(
            _replace_invalid(names[explained.result.index]),
            explained.result.index + 1,
            explained.place,
        )
        for explained in explanation.documents
    ]
    heading = f"Rank before and after: {_replace_invalid(explanation.instruction)}"
    more = len(lines) - MAX_LINES
    note = f"<p>In the table only: {counted(more, 'more document')}.</p>" if more > 0 else ""
    rows = "\n".join(_table_row(explained, names) for explained in explanation.documents)
    return (
        f'<section class="ranking"><h2><bdi>{_escaped_html(explanation.instruction)}</bdi></h2>\n'
        f"<div>{slope_chart(lines, heading)}{note}</div>\n"
        '<div class="rows"><table><thead><tr><th>rank<th>was<th>score<th>logit<th>tokens<th>cut'
        f"<th>document</thead><tbody>\n{rows}\n</tbody></table></div></section>"
    )


def _table_row(explained: Explained, names: Sequence[str]) -> str:
    result = explained.result
    cells = (
        str(explained.place),
        str(result.index + 1),
        "not scored" if result.score is None else _score_cell(result.score),
        logit_text(result.logit),
        "?" if result.tokens is None else str(result.tokens),
        result.cut
        if result.windows == 1
        else f"window {(result.window or 0) + 1}/{result.windows}",
        f'<bdi class="name">{_escaped_html(names[result.index])}</bdi><br>'
        f"<bdi>{_excerpt(result.document)}</bdi>",
    )
    return "<tr>" + "".join(f"<td>{cell}" for cell in cells)


def _score_cell(score: float) -> str:
    return f'<meter min="0" max="1" value="{score:.4f}"></meter> {score_text(score)}'


def _excerpt(document: str) -> str:
    folded = " ".join(document[: 4 * _EXCERPT_LENGTH].split())
    return _escaped_html(
        folded if len(folded) <= _EXCERPT_LENGTH else folded[: _EXCERPT_LENGTH - 1] + "…"
    )


def _prompt_list(explanation: Explanation, names: Sequence[str], *, first_open: bool) -> str:
    lines = [f"<h3><bdi>{_escaped_html(explanation.instruction)}</bdi></h3>"]
    for explained in explanation.documents:
        counts = ", ".join(_part_tokens(part) for part in explained.parts)
        opened = " open" if first_open and explained.place == 1 else ""
        lines.append(
            f"<details{opened}><summary>{explained.place}. "
            f"<bdi>{_escaped_html(names[explained.result.index])}</bdi></summary>\n"
            f"<p>Tokens: {counts}.{_scoring_notes(explained)}</p>\n"
            f'<pre dir="auto">{"".join(map(_marked_part, explained.parts))}</pre></details>'
        )
    return "\n".join(lines)


def _part_tokens(part: PromptPart) -> str:
    return f"{part.name} {'not counted' if part.tokens is None else part.tokens}"


def _scoring_notes(explained: Explained) -> str:
    notes = ""
    result = explained.result
    if result.stage is not None:
        notes += f" Decided by stage {result.stage.number} of {result.stage.of}."
    if result.error is not None:
        notes += f" Not scored: {_escaped_html(str(result.error))}"
    if result.span is not None and (result.truncated or result.windows > 1):
        start, end = result.span
        notes += f" Scored: characters {start} to {end} of {len(explained.result.document)}."
    if explained.neutralised:
        notes += f" Control tokens neutralised in: {', '.join(explained.neutralised)}."
    return notes


def _marked_part(part: PromptPart) -> str:
    marked, at = "", 0
    for match in _CONTROL_TOKEN_PATTERN.finditer(part.text):
        marked += _escaped_html(part.text[at : match.start()])
        marked += f"<mark>{_escaped_html(match.group())}</mark>"
        at = match.end()
    return f'<span class="{part.name}">{marked}{_escaped_html(part.text[at:])}</span>'


def _escaped_html(text: str) -> str:
    return escape(_replace_invalid(text))


def _replace_invalid(text: str) -> str:
    """`text` with characters that HTML forbids replaced: lone surrogates and controls."""
    return re.sub("[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "\ufffd", text)
