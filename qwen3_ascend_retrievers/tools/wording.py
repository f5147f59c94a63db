"""How numbers read wherever people see them: tables, notes, the report. JSON has them whole."""

from __future__ import annotations


def score_text(score: float) -> str:
    """P(yes) with four decimals; a score that would read as 0 in scientific notation."""
    return f"{score:.1e}" if 0 < score < 0.00005 else f"{score:.4f}"


def logit_text(logit: float | None) -> str:
    """A logit with four decimals; a question mark where none is known."""
    return "?" if logit is None else f"{logit:.4f}"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun, as "1 document" and "1,400 documents"; an s makes the plural."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
