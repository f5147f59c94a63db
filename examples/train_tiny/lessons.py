"""From passages to lessons: queries shaped as people ask them, and the pool they are asked of.

A lesson is a query and the index of the pool text that answers it. Negatives and the strength
of every pair are decided in grading.py; nothing here needs a model.
"""

import random
import re
from collections import Counter
from dataclasses import dataclass, field

from sources import Passage

WORDNET_LESSONS = 4_000
PASSAGE_LESSONS = 6_000
_LONGEST_WORDS = 260

_DEFINE = ("{}", "{}", "what is {}", "what is a {}?", "what does {} mean", "meaning of {}",
           "define {}", "{} definition", "what do you call {}?", "tell me about {}",
           "explain {}")  # fmt: skip
_ASK = ("{}", "{}", "{}", "what is known about {}", "how does {}", "why {}", "what are {}",
        "how can {}", "is it true that {}", "has anyone studied {}", "find information on {}",
        "when {}", "which {}", "explain {}", "can {}", "are there {}")  # fmt: skip
_HOW = ("{}", "{}", "{}", "how to {}", "how do I {}", "how do you use {}", "what is {}",
        "what does {} do", "documentation of {}", "explain {}", "{} example")  # fmt: skip


@dataclass
class Lessons:
    """`queries[i]` is answered by `pool[answers[i]]`."""

    queries: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    pool: list[str] = field(default_factory=list)

    def add(self, queries: list[str], text: str) -> None:
        """Put `text` into the pool as the answer to each of `queries`."""
        for query in queries:
            self.queries.append(query)
            self.answers.append(len(self.pool))
        self.pool.append(text)


def build(passages: list[Passage], seed: int) -> Lessons:
    """All lessons, from WordNet and from documentation."""
    rng = random.Random(seed)
    words = [p for p in passages if p.source == "wordnet"]
    prose = [p for p in passages if p.source != "wordnet"]
    synonyms = _synonyms(words)
    # "Description" or "__init__" ask for nothing: only a title of its own is a query.
    titles = Counter(p.title for p in prose)
    lessons = Lessons()
    for passage in rng.sample(words, WORDNET_LESSONS):
        query, text = _word_lesson(passage, rng)
        lessons.add([query], text)
    # Long passages teach the most per text, and short ones are plentiful: prefer length.
    prose.sort(key=lambda p: -min(len(p.text.split()), 120) * rng.random())
    for passage in prose:
        if len(lessons.queries) >= WORDNET_LESSONS + PASSAGE_LESSONS:
            break
        sentences = _window(_sentences(passage.text), rng)
        if len(sentences) >= 2:
            title = passage.title if titles[passage.title] == 1 else ""
            lessons.add(*_passage_lesson(title, sentences, synonyms, rng))
    return lessons


def _synonyms(words: list[Passage]) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for passage in words:
        names = [n for n in (passage.title, *passage.synonyms) if n.isalpha() and n.islower()]
        for name in names:
            # The first sense is the commonest, and WordNet lists parts in that order.
            if len(names) > 1 and name not in table:
                table[name] = [other for other in names if other != name]
    return table


def _word_lesson(passage: Passage, rng: random.Random) -> tuple[str, str]:
    """A word or its description asks; the gloss, with or without the word, answers."""
    names = [passage.title, *passage.synonyms]
    gloss, _, example = passage.text.partition("; ")
    shape = rng.random()
    asked, told = rng.choice(names), rng.choice(names)
    if shape < 0.25:
        # The description asks and the word answers, with a synonym's gloss for company.
        return _ask(_thin(gloss.split(), {}, rng), rng), f"{told}: {passage.text}"
    query = rng.choice(_DEFINE).format(asked)
    if shape < 0.55 and len(names) > 1:
        told = rng.choice([name for name in names if name != asked])
    if shape < 0.7:
        verb = rng.choice([" is ", " is ", ": ", " means ", ", or "])
        return query, f"{told.capitalize()}{verb}{passage.text}"
    return query, gloss if rng.random() < 0.5 or not example else passage.text


def _passage_lesson(
    title: str, sentences: list[str], synonyms: dict[str, list[str]], rng: random.Random
) -> tuple[list[str], str]:
    """One query from the title or from a sentence that the passage then often lacks."""
    shape = rng.random()
    if shape < 0.3 and title:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_.()]+", " ", title).strip() or title
        name = words if rng.random() < 0.7 else title
        return [rng.choice(_HOW).format(name)], _join(sentences, rng, title)
    at = 0 if shape < 0.5 else rng.randrange(len(sentences))
    asked = sentences[at].split()[:30]
    if rng.random() < 0.75:
        sentences = sentences[:at] + sentences[at + 1 :]
    return [_ask(_thin(asked, synonyms, rng), rng)], _join(sentences, rng, title)


def _thin(words: list[str], synonyms: dict[str, list[str]], rng: random.Random) -> list[str]:
    """Drop and replace some words, so that whole phrases seldom match."""
    drop = rng.choice([0.0, 0.15, 0.3, 0.5])
    kept = [w for w in words if rng.random() >= drop] or words
    return [rng.choice(synonyms[w]) if w in synonyms and rng.random() < 0.15 else w for w in kept]


def _ask(words: list[str], rng: random.Random) -> str:
    text = " ".join(words).rstrip(".;:,")
    if rng.random() < 0.5:
        text = text[:1].lower() + text[1:]
    end = rng.choice(["", "", "?", ".", " ."])
    return rng.choice(_ASK).format(text) + end


def _join(sentences: list[str], rng: random.Random, title: str) -> str:
    text = " ".join(sentences)
    return f"{title}. {text}" if title and rng.random() < 0.3 else text


def _sentences(text: str) -> list[str]:
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z`\"(])", text)
    return [part for part in parts if len(part.split()) >= 4]


def _window(sentences: list[str], rng: random.Random) -> list[str]:
    """A run of sentences whose length in words varies from a line to a page."""
    limit = rng.choice([40, 80, 120, 180, _LONGEST_WORDS, _LONGEST_WORDS])
    start = rng.randrange(max(1, len(sentences) - 3))
    kept: list[str] = []
    total = 0
    for sentence in sentences[start:]:
        total += len(sentence.split())
        if kept and total > limit:
            break
        kept.append(" ".join(sentence.split()[:limit]))
    return kept
