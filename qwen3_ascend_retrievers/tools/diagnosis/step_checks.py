"""Scores must not depend on what is cached, nor on how prompts are split between steps."""

from __future__ import annotations

from typing import Final

from ...engines.base import Engine
from ...engines.registry import row_of
from .findings import Finding, Measurement
from .metrics import cache_hits
from .score_checks import LongBatch, PrefixCheck
from .subject import Subject

_ASCEND_ISSUES: Final = "https://github.com/vllm-project/vllm-ascend/issues"
# What VLLMEngine.self_check proves, and the remedy where it proves nothing.
_SELF_CHECK_OUTCOMES: Final[dict[str, tuple[str, str | None]]] = {
    "passed": ("and the engine's self-check passed with cached tokens in use", None),
    "not exercised": (
        "the engine's self-check could not exercise its caches or its steps (the log says which)",
        "Load it with --max-length 1024 or more; where prefix caching is off, nothing is cached "
        "that could be wrong.",
    ),
    "off": ("the engine's self-check is off", "Load it with self_check=True, the default."),
}


def check_prefix_cache(subject: Subject) -> list[Finding]:
    check = PrefixCheck(subject.reranker)
    before = cache_hits(subject.base_url, subject.key)
    check.repeat()
    after = cache_hits(subject.base_url, subject.key)
    difference = check.largest_difference()
    message = f"logits of repeated prompts differ by at most {difference:.3f}"
    source = f"{_ASCEND_ISSUES}/7145"
    in_use, use, advice = _cache_use(subject.reranker.engine, before, after)
    measured: dict[str, Measurement] = {
        "largest difference": difference,
        "cached tokens in use": in_use,
        "cached tokens": _increase(before, after),
    }
    if not check.agrees():
        remedy = (
            "Serve with --no-enable-prefix-caching and --no-enable-chunked-prefill; on Ascend "
            "upgrade to vllm-ascend 0.18.0 or later."
        )
        return [Finding("prefix cache", "red", message, remedy, source, measured)]
    if advice is None:
        return [Finding("prefix cache", "green", f"{message}, {use}", measured=measured)]
    return [Finding("prefix cache", "amber", f"{message}; {use}", advice, source, measured)]


def _cache_use(
    engine: Engine, before: float | None, after: float | None
) -> tuple[bool | None, str, str | None]:
    """Whether cached tokens were in use, in words, and where it is not proven, what to do.

    Args:
        engine: its row in the registry says what it can.
        before: a server's count of cached tokens before prompts were repeated.
        after: the same count afterwards.
    """
    row = row_of(engine)
    use = "unknown" if row is None else row.prefix_cache
    if use == "self_checked":
        outcome = getattr(engine, "self_check", None) or "off"
        return (True if outcome == "passed" else None), *_SELF_CHECK_OUTCOMES[outcome]
    if use == "never":
        return False, "and the engine caches none", None
    increase = _increase(before, after)
    if use == "always" or (increase or 0) > 0:
        return True, "with cached tokens in use", None
    if increase is None:
        text = "whether cached tokens were in use could not be seen"
        return None, text, "Let /metrics be reached."
    advice = (
        "Serve with --enable-prefix-caching for this to be checked; without it nothing is cached "
        "that could be wrong."
    )
    return False, "no cached tokens were in use", advice


def _increase(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def check_long_batch(subject: Subject) -> list[Finding]:
    """Long prompts together and alone; in this process no steps, or self_check, stand for it."""
    row = row_of(subject.reranker.engine)
    limit = subject.reranker.settings.max_length or subject.facts.max_length
    if limit is None or (row is not None and row.in_process):
        return []
    before = cache_hits(subject.base_url, subject.key)
    batch = LongBatch(subject.reranker, limit)
    difference = batch.largest_difference()
    measured: dict[str, Measurement] = {
        "documents": len(batch.texts),
        "largest difference": difference,
        "cached tokens": _increase(before, cache_hits(subject.base_url, subject.key)),
    }
    message = (
        f"{len(batch.texts)} documents of {len(batch.texts[0]):,} characters score together as "
        f"each alone, within {difference:.3f}"
    )
    if batch.agrees():
        return [Finding("long batch", "green", message, measured=measured)]
    remedy = (
        "Serve with --no-enable-chunked-prefill and --max-num-batched-tokens of at least "
        "--max-model-len; on Ascend upgrade to vllm-ascend 0.18.0 or later."
    )
    message = message.replace("score together as each alone, within", "differ from each alone by")
    return [Finding("long batch", "red", message, remedy, f"{_ASCEND_ISSUES}/7192", measured)]
