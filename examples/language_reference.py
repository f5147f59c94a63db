"""The demo's corpus: Python's own language reference, its passages, and a BM25 first stage.

Every Python carries the text in `pydoc_data.topics`, so that there is nothing to download. No
reranking happens here, and no framework is known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pydoc_data.topics import topics

import bm25s

# About 150 tokens: enough for a whole thought, little enough that a passage has one subject.
CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Passage:
    """A few neighbouring paragraphs of one topic of the language reference."""

    topic: str
    text: str


def split(text: str, characters: int = CHARACTERS) -> list[str]:
    """The splitter: neighbouring paragraphs are joined until the next would exceed `characters`.

    A paragraph is never cut, so a long one is a passage of its own. Titles (underlined lines)
    start a new passage and stay with what follows.
    """
    passages: list[str] = []
    gathered = ""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        title = re.search(r"^([*=\-^~])\1{2,}$", paragraph, re.MULTILINE) is not None
        if gathered and (title or len(gathered) + len(paragraph) > characters):
            passages.append(gathered)
            gathered = ""
        gathered = f"{gathered}\n\n{paragraph}" if gathered else paragraph
    return [*passages, gathered]


def passages() -> list[Passage]:
    """Every distinct passage. Topics repeat each other; the shortest one names the passage."""
    found: dict[str, Passage] = {}
    for topic in sorted(topics, key=lambda name: len(topics[name])):
        for text in split(topics[topic]):
            # The same section is underlined differently where it stands deeper.
            same = re.sub(r"[*=\-^~]{3,}|\s+", " ", text)
            found.setdefault(same, Passage(topic, text))
    return list(found.values())


class Bm25:
    """BM25 over passages: the first stage that finds the candidates to rerank."""

    def __init__(self, corpus: list[Passage]) -> None:
        self._corpus = corpus
        self._index = bm25s.BM25()
        self._index.index(self._tokens([one.text for one in corpus]), show_progress=False)

    def search(self, query: str, count: int) -> list[tuple[Passage, float]]:
        """The `count` best passages with their BM25 scores, best first."""
        found, scores = self._index.retrieve(
            self._tokens([query]), k=count, corpus=self._corpus, show_progress=False
        )
        return [(one, float(score)) for one, score in zip(found[0], scores[0], strict=True)]

    def _tokens(self, texts: list[str]) -> bm25s.tokenization.Tokenized:
        return bm25s.tokenize(texts, stopwords="en", show_progress=False)
