"""How numbers read: as many digits everywhere, and nouns in their number."""

from __future__ import annotations

import pytest

from qwen3_ascend_retrievers.tools.wording import counted, logit_text, score_text


@pytest.mark.parametrize(
    ("score", "text"),
    [(1.0, "1.0000"), (0.99949, "0.9995"), (0.00923, "0.0092"), (0.00005, "0.0001"),
     (0.000049, "4.9e-05"), (6.7e-07, "6.7e-07"), (0.0, "0.0000")],
)  # fmt: skip
def test_scores_have_four_decimals_unless_they_would_read_as_zero(score: float, text: str) -> None:
    assert score_text(score) == text


def test_logits_have_four_decimals_too() -> None:
    assert (logit_text(-4.6759), logit_text(12.0), logit_text(None)) == ("-4.6759", "12.0000", "?")


def test_a_noun_stands_in_the_number_of_its_count() -> None:
    assert [counted(number, "document") for number in (0, 1, 2, 1400)] == [
        "0 documents",
        "1 document",
        "2 documents",
        "1,400 documents",
    ]
    assert counted(2, "query", "queries") == "2 queries"
    assert counted(1, "query", "queries") == "1 query"
