"""The demo's questions, each with words that only a passage which answers it contains.

They were chosen among some thirty so that there is something to see, which makes them no
measurement: docs/tiny-model.md has those.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A question about Python, and how to recognise its answer in the language reference."""

    text: str
    answer: str

    def answered_by(self, passage: str) -> bool:
        """Whether `passage` holds the answer, whatever its line breaks."""
        return self.answer in " ".join(passage.split())


QUESTIONS = (
    Question(
        "What does a bare raise do?",
        '"raise" re-raises the exception that is currently being handled',
    ),
    Question(
        "Does Python compute default values each time a function is called?",
        "evaluated from left to right when the function definition is executed",
    ),
    Question(
        "Is dictionary order preserved?",
        "Dictionaries preserve insertion order",
    ),
    Question(
        "How do I save memory by avoiding a __dict__ for every instance?",
        "reserves space for the declared variables",
    ),
    Question(
        "What do two underscores at the start of a name in a class do?",
        "Private name mangling",
    ),
)
