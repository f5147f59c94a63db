"""Checks that look at scores only, and so work with any engine."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final
from uuid import uuid4

from ...core.ranking import RankedDocument
from ...errors import TemplateMismatchError
from ...models.files import TINY, TINY_FOLDER
from ...models.known_pairs import CHINESE, GUIDE, KNOWN_PAIRS
from ...reranker import Reranker
from .findings import Finding

_GUIDE_SOURCE: Final = "vLLM-Ascend's guide for Qwen3-Reranker"
# Scores that the guide prints for its pair, by a part of the model's name; none for the 4B.
_PUBLISHED: Final = {"8b": (0.99443, 6.7e-07), "0.6b": (0.99950, 5.1e-06)}
# bf16 and other kernels change logits of this size by less; a wrong prompt by more.
_LOGITS: Final = 1.5
# The bundled model's scores of the Chinese pair, as docs/tiny-model.md has them; bfloat16 moves its
# logits by a hundredth of their range.
_TINY_CHINESE: Final = (0.074, 0.089)
_TINY_LOGITS: Final = 0.3
_RELEVANT, _IRRELEVANT = 0.9, 0.1
_CLOSE: Final = 0.02
# Over three blocks of 128 tokens, vLLM's largest usual block.
_LONG_QUERY: Final = "Which of the following passages says where the capital of China is? " * 30
# As many as LocalEngine needs to share a query's part among documents.
_FACTS: Final = (
    "Beijing is the capital of China. ",
    "Gravity attracts two bodies towards each other. ",
    "Bread is made of flour, water and yeast. ",
    "An egg is boiled in water for eight minutes. ",
)


def known_pairs(reranker: Reranker, model: str) -> list[Finding]:
    """The guide's pair and its Chinese twin; and whether all scores are 0.5."""
    scores: list[tuple[float, float]] = []
    for pair in KNOWN_PAIRS:
        relevant, other = reranker.score(
            [(pair.query, pair.relevant), (pair.query, pair.irrelevant)]
        )
        scores.append((relevant, other))
    if all(abs(score - 0.5) < _CLOSE for both in scores for score in both):
        return [
            Finding(
                "known pairs",
                "red",
                "every score is 0.5: the yes/no head or the weights are broken",
                "Serve the original checkpoint with the three overrides (qwen3-rerank serve "
                "--print shows them), and use another vLLM than 0.11.1rc4.",
                "https://github.com/vllm-project/vllm/issues/27857",
            )
        ]
    published = next((pair for name, pair in _PUBLISHED.items() if name in model.lower()), None)
    english = _pair_finding("guide's pair", scores[KNOWN_PAIRS.index(GUIDE)], published)
    chinese = _pair_finding("Chinese pair", scores[KNOWN_PAIRS.index(CHINESE)], None)
    if chinese.colour != "green":
        chinese = _missed_chinese(chinese, model, scores[KNOWN_PAIRS.index(CHINESE)])
    return [english, chinese]


def _missed_chinese(finding: Finding, model: str, scores: tuple[float, float]) -> Finding:
    """Green for the bundled model if it scores as documented; amber for any other."""
    if model in (TINY, str(TINY_FOLDER)) and _agree(scores, _TINY_CHINESE, _TINY_LOGITS):
        relevant, other = scores
        message = (
            f"relevant {relevant:.4f}, irrelevant {other:.2g}: as documented, since the bundled "
            "model has not learnt Chinese (docs/tiny-model.md, where it fails)"
        )
        return Finding(finding.name, "green", message)
    # Nothing is published for it, and a model without Chinese may fail it.
    remedy = "Every Qwen3-Reranker knows Chinese: check the model."
    return replace(finding, colour="amber", remedy=remedy)


def _pair_finding(
    name: str, scores: tuple[float, float], published: tuple[float, float] | None
) -> Finding:
    relevant, other = scores
    if published is None:
        # Green where it is met: nothing is published for the Chinese pair of any model, so amber
        # for the lack of it would leave no server green.
        reference = f"expected, not published: above {_RELEVANT} and below {_IRRELEVANT}"
        holds = relevant > _RELEVANT and other < _IRRELEVANT
    else:
        reference = f"published {published[0]} and {published[1]:g}"
        holds = _agree(scores, published, _LOGITS)
    message = f"relevant {relevant:.4f}, irrelevant {other:.2g} ({reference})"
    if holds:
        return Finding(name, "green", message)
    if relevant <= other:
        remedy = (
            "The order is wrong, so the prompt, the head or the model is. Check the template "
            "above, the model's name, and start the server with qwen3-rerank serve."
        )
        return Finding(name, "red", message, remedy, _GUIDE_SOURCE)
    remedy = "Compare with another dtype or the original checkpoint before relying on the scores."
    return Finding(name, "amber", message, remedy, _GUIDE_SOURCE)


def _agree(scores: tuple[float, float], expected: tuple[float, float], tolerance: float) -> bool:
    """Whether both scores are within `tolerance` of the expected ones, as logits."""
    return all(
        abs(_logit_of_probability(score) - _logit_of_probability(expected_score)) <= tolerance
        for score, expected_score in zip(scores, expected, strict=True)
    )


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
        abs(_result_logit(before) - _result_logit(after))
        for before, after in zip(plain, changed, strict=True)
    )
    if difference > 0:
        return [Finding("instruction", "green", f"another one moves a logit by {difference:.3f}")]
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
        return max(abs(_result_logit(alone) - _result_logit(again)) for alone, again in pairs)

    def agrees(self) -> bool:
        """Whether they are equal but for rounding: bf16's 2 % of a logit, and a little."""
        largest = max(abs(_result_logit(result)) for result in self._alone)
        return self.largest_difference() <= 0.1 + 0.02 * largest


def long_document(reranker: Reranker, max_length: int | None) -> list[Finding]:
    """A document of three times the model's length must score as the same one, cut by us."""
    limit = reranker.settings.max_length or max_length
    if limit is None:
        remedy = "Add --max-length, or --tokenizer with the served model's folder."
        return [Finding("long document", "amber", "the model's length is not known", remedy)]
    # Each word and space is at least one token.
    text = GUIDE.relevant + " " + "Beijing lies in the north. " * (3 * limit // 6)
    (whole,) = reranker.rank(GUIDE.query, [text]).results
    if not whole.truncated or whole.span is None:
        remedy = "Set --max-length to what the server was started with (--max-model-len)."
        message = f"a document of {len(text)} characters was not cut"
        return [Finding("long document", "red", message, remedy, "docs/remote.md")]
    (cut,) = reranker.rank(GUIDE.query, [text[: whole.span[1]]]).results
    difference = abs(_result_logit(whole) - _result_logit(cut))
    message = (
        f"cut at character {whole.span[1]} ({whole.cut}); as that text scores, "
        f"within {difference:.3f}"
    )
    if difference <= 0.1 + 0.02 * abs(_result_logit(cut)):
        return [Finding("long document", "green", message)]
    remedy = "Set --max-length below --max-model-len, and do not let the server truncate."
    return [Finding("long document", "red", message, remedy, "docs/remote.md")]


def speed(reranker: Reranker) -> list[Finding]:
    """A sample of latency and throughput: one document, and 32 of 50 to 210 words."""
    seconds = reranker.rank(GUIDE.query, [GUIDE.irrelevant]).timings.total
    texts = [f"Document {at}. " + _FACTS[at % len(_FACTS)] * (8 + at % 16) for at in range(32)]
    many = reranker.rank(GUIDE.query, texts)
    tokens = many.usage.prompt_tokens
    rate = "" if tokens is None else f", {tokens / many.timings.total:,.0f} tokens/s"
    message = (
        f"one document in {seconds * 1000:,.0f} ms; 32 in {many.timings.total * 1000:,.0f} ms, "
        f"{32 / many.timings.total:,.1f} documents/s{rate}"
    )
    return [Finding("speed", "green", message)]


def _by_index(results: tuple[RankedDocument, ...]) -> list[RankedDocument]:
    return sorted(results, key=lambda result: result.index)


def _result_logit(result: RankedDocument) -> float:
    return _logit_of_probability(result.score or 0.0) if result.logit is None else result.logit


def _logit_of_probability(score: float) -> float:
    """The logit of a probability, kept finite as a float32 probability would be."""
    bounded = min(max(score, 1e-7), 1 - 1e-7)
    return math.log(bounded / (1 - bounded))
