"""The checks of an engine, in order: the handshake, then its scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from pydantic import SecretStr

from ...engines.base import Engine, EngineFacts
from ...engines.registry import row_of
from ...errors import (
    AuthenticationError,
    ConnectionFailedError,
    DeadlineExceededError,
    MissingDependencyError,
    ModelError,
    RerankError,
    StatusError,
    TemplateMismatchError,
    TooLongError,
)
from ...reranker import Reranker
from .findings import Colour, Finding
from .metrics import cache_hits
from .score_checks import PrefixCheck, instruction_is_honoured, known_pairs, long_document, speed

_VLLM_ISSUES: Final = "https://github.com/vllm-project/vllm/issues"
_MODEL_CARD: Final = "https://huggingface.co/Qwen/Qwen3-Reranker-0.6B"
# The model card's own limit is 8,192 tokens; below an eighth of it ordinary pages are cut.
_MIN_LENGTH: Final = 1024
_LENGTH_REMEDY: Final = "Start it with a greater maximum: --max-model-len 8192 on a server."
# For an error at the handshake: the finding's name, and a reference.
_FIRST_CONTACT: Final[tuple[tuple[type[RerankError], str, str], ...]] = (
    (ConnectionFailedError, "reachability", "docs/remote.md, troubleshooting"),
    (DeadlineExceededError, "reachability", "docs/remote.md, troubleshooting"),
    (AuthenticationError, "authentication", "docs/remote.md, troubleshooting"),
    (TemplateMismatchError, "template", f"{_VLLM_ISSUES}/19260"),
    (StatusError, "model name and route", "docs/remote.md, troubleshooting"),
    (ModelError, "model", _MODEL_CARD),
    (MissingDependencyError, "packages", "README.md, installation"),
)
# Where the remedy starts in an error's message: its second sentence, or the pip command.
_REMEDY_START: Final = re.compile(r"\. |: (?=pip install)")
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


@dataclass(frozen=True, slots=True)
class Subject:
    """The engine under examination.

    Attributes:
        reranker: with the engine, which it does not close.
        facts: the engine's, read at the handshake.
        base_url: the server, or None for a model in this process.
        key: sent with the request for /metrics.
    """

    reranker: Reranker
    facts: EngineFacts
    base_url: str | None
    key: SecretStr | None = None


Check = Callable[[Subject], list[Finding]]


def first_checks(reranker: Reranker, base_url: str | None = None) -> Iterator[Finding]:
    """The quick checks of `check_engine`: the handshake, template and known pairs.

    For a server that the user started: its length was configured, so a short one is no error.
    """
    for finding in _run_checks(reranker, base_url, None, _CHECKS[:2]):
        short = finding.name == "model" and finding.remedy == _LENGTH_REMEDY
        yield replace(finding, colour="amber") if short else finding


def check_engine(
    reranker: Reranker, base_url: str | None = None, key: SecretStr | None = None
) -> Iterator[Finding]:
    """Findings, each as soon as its check ends; a failed handshake is the last.

    Args:
        reranker: with the engine; its instruction should be the default.
        base_url: its server, whose /metrics is read; None for a model in this process.
        key: the server's, which may guard /metrics.
    """
    return _run_checks(reranker, base_url, key, _CHECKS)


def _run_checks(
    reranker: Reranker,
    base_url: str | None,
    key: SecretStr | None,
    checks: tuple[tuple[str, Check], ...],
) -> Iterator[Finding]:
    try:
        facts = reranker.engine.facts()
    except RerankError as error:
        yield error_finding(error, "engine")
        return
    yield _model_finding(facts, reranker.settings.max_length)
    subject = Subject(reranker, facts, base_url, key)
    for name, check in checks:
        try:
            yield from check(subject)
        except TooLongError as error:
            yield Finding(name, "amber", f"not exercised: {error}", _LENGTH_REMEDY)
        except RerankError as error:
            yield error_finding(error, name)


def _model_finding(facts: EngineFacts, configured: int | None) -> Finding:
    message = f"{facts.model}, at most {facts.max_length} tokens"
    if facts.max_length is None or facts.max_length >= _MIN_LENGTH:
        return Finding("model", "green", message)
    # A short length that the user configured is amber; a server's own is a configuration error.
    colour: Colour = "red" if configured is None or facts.max_length < configured else "amber"
    return Finding(
        "model", colour, f"{message}: most documents would be cut", _LENGTH_REMEDY, _MODEL_CARD
    )


def check_texts(engine: Engine) -> Finding:
    """Whether clients that send texts to the server, and no token ids, get exact scores.

    Args:
        engine: a RemoteEngine that uses the rerank route.
    """
    name = "texts to /v1/rerank"
    try:
        facts = engine.facts()
    except RerankError as error:
        return replace(error_finding(error, name), name=name)
    if facts.template_verified:
        return Finding(name, "green", "scored exactly as token ids are")
    remedy = "Use vLLM 0.18 or later, whose /classify lets scores be compared."
    return Finding(name, "amber", "could not be compared with token ids", remedy)


def error_finding(error: RerankError, name: str) -> Finding:
    """A red finding for an error, whose message holds the remedy."""
    about, source = next(
        ((about, source) for kind, about, source in _FIRST_CONTACT if isinstance(error, kind)),
        (name, "docs/remote.md, troubleshooting"),
    )
    message, *remedy = _REMEDY_START.split(str(error), maxsplit=1)
    return Finding(
        about, "red", f"{type(error).__name__}: {message}.", (remedy or [message])[0], source
    )


def _check_template(subject: Subject) -> list[Finding]:
    verified = subject.facts.template_verified
    if verified is None:
        return [Finding("template", "green", "token ids are sent; no template is involved")]
    if verified:
        return [Finding("template", "green", "proven exact: same scores by two routes")]
    remedy = "Add --tokenizer with the served model's folder, and use vLLM 0.18 or later."
    message = "could not be proven exact"
    return [Finding("template", "amber", message, remedy, f"{_VLLM_ISSUES}/20478")]


def _check_prefix_cache(subject: Subject) -> list[Finding]:
    check = PrefixCheck(subject.reranker)
    before = cache_hits(subject.base_url, subject.key)
    check.repeat()
    after = cache_hits(subject.base_url, subject.key)
    difference = check.largest_difference()
    message = f"logits of repeated prompts differ by at most {difference:.3f}"
    source = "https://github.com/vllm-project/vllm-ascend/issues/7145"
    if not check.agrees():
        remedy = (
            "Serve with --no-enable-prefix-caching and --no-enable-chunked-prefill; on Ascend "
            "upgrade to vllm-ascend 0.18.0 or later."
        )
        return [Finding("prefix cache", "red", message, remedy, source)]
    use, advice = _cache_use(subject.reranker.engine, before, after)
    if advice is None:
        return [Finding("prefix cache", "green", f"{message}, {use}")]
    return [Finding("prefix cache", "amber", f"{message}; {use}", advice, source)]


def _cache_use(engine: Engine, before: float | None, after: float | None) -> tuple[str, str | None]:
    """Whether cached tokens were in use, and where that is not proven, what to do.

    Args:
        engine: its row in the registry says what it can.
        before: a server's count of cached tokens before prompts were repeated.
        after: the same count afterwards.
    """
    row = row_of(engine)
    use = "unknown" if row is None else row.prefix_cache
    if use == "self_checked":
        return _SELF_CHECK_OUTCOMES[getattr(engine, "self_check", None) or "off"]
    if use == "never":
        return "and the engine caches none", None
    if use == "always" or (before is not None and after is not None and after > before):
        return "with cached tokens in use", None
    if before is None or after is None:
        return "whether cached tokens were in use could not be seen", "Let /metrics be reached."
    return "no cached tokens were in use", (
        "Serve with --enable-prefix-caching for this to be checked; without it nothing is cached "
        "that could be wrong."
    )


_CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("template", _check_template),
    ("known pairs", lambda subject: known_pairs(subject.reranker, subject.facts.model)),
    ("instruction", lambda subject: instruction_is_honoured(subject.reranker)),
    ("prefix cache", _check_prefix_cache),
    ("long document", lambda subject: long_document(subject.reranker, subject.facts.max_length)),
    ("speed", lambda subject: speed(subject.reranker)),
)
