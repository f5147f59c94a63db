"""Checks that look at scores only, and so work with any engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from ...core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ...core.ranking import RankedDocument
from ...errors import TemplateMismatchError
from ...models.known_pairs import GUIDE
from ...reranker import Reranker
from .findings import Finding, Measurement
from .logits import logit_of, noise_of

# Over three blocks of 128 tokens, vLLM's largest usual block.
_LONG_QUERY: Final = "Which of the following passages says where the capital of China is? " * 30
# As many as LocalEngine needs to share a query's part among documents.
_FACTS: Final = (
    "Beijing is the capital of China. ",
    "Gravity attracts two bodies towards each other. ",
    "Bread is made of flour, water and yeast. ",
    "An egg is boiled in water for eight minutes. ",
)
_LONG_FILLER: Final = "Beijing lies in the north. "
_LONG_DOCUMENTS: Final = 6
# Documents of the sample of throughput.
_MANY: Final = 32


def instruction_is_honoured(reranker: Reranker) -> list[Finding]:
    """Whether another instruction changes a score."""
    texts = [GUIDE.relevant, GUIDE.irrelevant]
    plain = _by_index(reranker.rank(GUIDE.query, texts).results)
    try:
        other = "Given a recipe's name, retrieve the list of its ingredients"
        changed = _by_index(reranker.rank(GUIDE.query, texts, instruction=other).results)
    except TemplateMismatchError as error:
        source = "https://github.com/vllm-project/vllm/issues/42391"
        message = "the server ignores instructions of its clients"
        return [Finding("instruction", "red", message, str(error), source)]
    difference = max(
        abs(logit_of(before) - logit_of(after))
        for before, after in zip(plain, changed, strict=True)
    )
    if difference > 0:
        message = f"another one moves a logit by {difference:.3f}"
        return [
            Finding("instruction", "green", message, measured={"largest difference": difference})
        ]
    return [
        Finding(
            "instruction",
            "red",
            "another instruction changes no score, so it does not reach the prompt",
            "Start the server without --chat-template, or use vLLM 0.23 or later.",
            "https://github.com/vllm-project/vllm/issues/42391",
        )
    ]


class PrefixCheck:
    """Prompts that share a long beginning, scored alone and again together.

    Args:
        reranker: scores every prompt once, alone, in the constructor.
    """

    def __init__(self, reranker: Reranker) -> None:
        self._reranker = reranker
        # One query per fact, unique from its start: a server caches what it computed for an earlier
        # check or fact, and a score with cached tokens is no reference.
        self._queries = [f"{uuid4().hex} {_LONG_QUERY}" for _ in _FACTS]
        pairs = zip(self._queries, _FACTS, strict=True)
        self._alone = [reranker.rank(query, [fact]).results[0] for query, fact in pairs]
        self._again: list[RankedDocument] = []

    def repeat(self) -> None:
        """Score them again, each among all facts in one call; a cache now holds its query."""
        rankings = [self._reranker.rank(query, list(_FACTS)) for query in self._queries]
        self._again = [_by_index(ranking.results)[at] for at, ranking in enumerate(rankings)]

    def largest_difference(self) -> float:
        """The largest difference of a logit between alone and together."""
        pairs = zip(self._alone, self._again, strict=True)
        return max(abs(logit_of(alone) - logit_of(again)) for alone, again in pairs)

    def agrees(self) -> bool:
        """Whether they are equal but for rounding: bf16's 2 % of a logit, and a little."""
        largest = max(abs(logit_of(result)) for result in self._alone)
        return self.largest_difference() <= noise_of(largest)


def long_document(reranker: Reranker, max_length: int | None) -> list[Finding]:
    """A document of three times the model's length must score as the same one, cut by us."""
    limit = reranker.settings.max_length or max_length
    if limit is None:
        remedy = "Add --max-length, or --tokenizer with the served model's folder."
        return [Finding("long document", "amber", "the model's length is not known", remedy)]
    # Each of its words is at least one token, and so is the full stop.
    text = GUIDE.relevant + " " + _LONG_FILLER * (3 * limit // 6)
    (whole,) = reranker.rank(GUIDE.query, [text]).results
    if not whole.truncated or whole.span is None:
        remedy = "Set --max-length to what the server was started with (--max-model-len)."
        message = f"a document of {len(text)} characters was not cut"
        return [Finding("long document", "red", message, remedy, "docs/remote.md")]
    (cut,) = reranker.rank(GUIDE.query, [text[: whole.span[1]]]).results
    difference = abs(logit_of(whole) - logit_of(cut))
    measured: dict[str, Measurement] = {
        "prompt tokens": whole.tokens,
        "cut at character": whole.span[1],
        "logit of the cut document": logit_of(whole),
        "difference": difference,
    }
    message = (
        f"cut at character {whole.span[1]} ({whole.cut}); as that text scores, "
        f"within {difference:.3f}"
    )
    if difference <= noise_of(logit_of(cut)):
        return [Finding("long document", "green", message, measured=measured)]
    remedy = "Set --max-length below --max-model-len, and do not let the server truncate."
    return [Finding("long document", "red", message, remedy, "docs/remote.md", measured)]


class LongBatch:
    """Long documents, scored together and each alone.

    Together they are longer than a prompt may be, so that a server that computes prompts in chunks
    splits one of them between two steps, unless its steps are greater than that.

    Args:
        reranker: scores them in the constructor.
        limit: most tokens of a prompt, of which each document takes a fifth to a third.
    """

    def __init__(self, reranker: Reranker, limit: int) -> None:
        facts = [f"Part {at}. {_FACTS[at % len(_FACTS)]}" for at in range(_LONG_DOCUMENTS)]
        self.texts = [fact + _LONG_FILLER * (limit // 30) for fact in facts]
        # Unique from its start: nothing of these prompts is cached yet.
        query = f"{uuid4().hex} {GUIDE.query}"
        together = _by_index(reranker.rank(query, self.texts).results)
        alone = [reranker.rank(query, [text]).results[0] for text in self.texts]
        self.pairs = [(logit_of(a), logit_of(b)) for a, b in zip(together, alone, strict=True)]

    def largest_difference(self) -> float:
        """The largest difference of a logit between together and alone."""
        return max(abs(together - alone) for together, alone in self.pairs)

    def agrees(self) -> bool:
        """Whether they are equal but for rounding."""
        return all(abs(together - alone) <= noise_of(alone) for together, alone in self.pairs)


def speed(reranker: Reranker) -> list[Finding]:
    """A sample of latency and throughput: one document, and 32 of 50 to 210 words."""
    seconds = reranker.rank(GUIDE.query, [GUIDE.irrelevant]).timings.total
    texts = [f"Document {at}. " + _FACTS[at % len(_FACTS)] * (8 + at % 16) for at in range(_MANY)]
    many = reranker.rank(GUIDE.query, texts).timings.total
    tokens = _tokens_of_prompts(reranker, GUIDE.query, texts)
    rate = "" if tokens is None else f", {tokens / many:,.0f} tokens/s"
    message = (
        f"one document in {seconds * 1000:,.0f} ms; {_MANY} in {many * 1000:,.0f} ms, "
        f"{_MANY / many:,.1f} documents/s{rate}"
    )
    measured: dict[str, Measurement] = {
        "seconds for one pair": seconds,
        "pairs": _MANY,
        "prompt tokens": tokens,
        "pairs per second": _MANY / many,
        "tokens per second": None if tokens is None else tokens / many,
    }
    return [Finding("speed", "green", message, measured=measured)]


def _tokens_of_prompts(reranker: Reranker, query: str, documents: Sequence[str]) -> int | None:
    """Tokens of all prompts, counted after they were scored; None where nothing counts them."""
    engine = reranker.engine
    if engine.facts().counting == "never":
        return None
    parts = [query_part(DEFAULT_INSTRUCTION, query), *map(document_part, documents)]
    first, *others = engine.encode(parts)
    return len(first.ids) * len(others) + sum(len(encoding.ids) for encoding in others)


def _by_index(results: tuple[RankedDocument, ...]) -> list[RankedDocument]:
    return sorted(results, key=lambda result: result.index)
