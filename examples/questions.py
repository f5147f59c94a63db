"""The demo's questions, each with words that only a passage which answers it contains."""

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
        "Does Python compute default values each time a function is called?",
        "evaluated from left to right when the function definition is executed",
    ),
    Question(
        "What does a bare raise do?",
        '"raise" re-raises the exception that is currently being handled',
    ),
    Question(
        "Is dictionary order preserved?",
        "Dictionaries preserve insertion order",
    ),
    Question(
        "How do I pad a number with zeros in a format string?",
        "enables sign-aware zero-padding",
    ),
    Question(
        "What happens if a with block raises an exception?",
        "If an exception caused the suite to be exited",
    ),
)
