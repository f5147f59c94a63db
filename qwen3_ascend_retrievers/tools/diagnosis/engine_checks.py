"""The checks of an engine, in order: first contact, then what its scores give away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from pydantic import SecretStr

from ...engines.base import Engine, EngineFacts
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

_ISSUES: Final = "https://github.com/vllm-project/vllm/issues"
_CARD: Final = "https://huggingface.co/Qwen/Qwen3-Reranker-0.6B"
# The model card's own limit is 8,192 tokens; below an eighth of it ordinary pages are cut.
_SHORTEST: Final = 1024
_LONGER: Final = "Start it with a greater maximum: --max-model-len 8192 on a server."
# What a failure of the first contact is about, and where more is said of it.
_FIRST_CONTACT: Final[tuple[tuple[type[RerankError], str, str], ...]] = (
    (ConnectionFailedError, "reachability", "docs/remote.md, troubleshooting"),
    (DeadlineExceededError, "reachability", "docs/remote.md, troubleshooting"),
    (AuthenticationError, "authentication", "docs/remote.md, troubleshooting"),
    (TemplateMismatchError, "template", f"{_ISSUES}/19260"),
    (StatusError, "model name and route", "docs/remote.md, troubleshooting"),
    (ModelError, "model", _CARD),
    (MissingDependencyError, "packages", "README.md, installation"),
)
# Where an error's message goes over to what to do: its second sentence, or the line that installs.
_REMEDY: Final = re.compile(r"\. |: (?=pip install)")
# What VLLMEngine.self_check proves, and what to do where it is nothing.
_SELF_CHECKS: Final[dict[str, tuple[str, str | None]]] = {
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
    """What is examined.

    Attributes:
        reranker: with the engine, which it does not close.
        facts: what the engine said at first contact.
        base_url: the server, or None for a model in this process.
        key: what the server is sent for its /metrics.
    """

    reranker: Reranker
    facts: EngineFacts
    base_url: str | None
    key: SecretStr | None = None


Check = Callable[[Subject], list[Finding]]


def first_checks(reranker: Reranker, base_url: str | None = None) -> Iterator[Finding]:
    """The quick ones of `check_engine`: first contact, template and known pairs.

    They are for a server of one's own, whose length was chosen: a short one is no mistake.
    """
    for finding in _checked(reranker, base_url, None, _CHECKS[:2]):
        short = finding.name == "model" and finding.remedy == _LONGER
        yield replace(finding, colour="amber") if short else finding


def check_engine(
    reranker: Reranker, base_url: str | None = None, key: SecretStr | None = None
) -> Iterator[Finding]:
    """Findings one by one, as they are made; a failing first contact is the last.

    Args:
        reranker: what is examined; its instruction should be the default.
        base_url: its server, whose /metrics is looked at; None for a model in this process.
        key: the server's, which may guard /metrics.
    """
    return _checked(reranker, base_url, key, _CHECKS)


def _checked(
    reranker: Reranker,
    base_url: str | None,
    key: SecretStr | None,
    checks: tuple[tuple[str, Check], ...],
) -> Iterator[Finding]:
    try:
        facts = reranker.engine.facts()
    except RerankError as error:
        yield failed(error, "engine")
        return
    yield _model(facts, reranker.settings.max_length)
    subject = Subject(reranker, facts, base_url, key)
    for name, check in checks:
        try:
            yield from check(subject)
        except TooLongError as error:
            yield Finding(name, "amber", f"not exercised: {error}", _LONGER)
        except RerankError as error:
            yield failed(error, name)


def _model(facts: EngineFacts, chosen: int | None) -> Finding:
    said = f"{facts.model}, at most {facts.max_length} tokens"
    if facts.max_length is None or facts.max_length >= _SHORTEST:
        return Finding("model", "green", said)
    # Whoever asked for so few tokens is reminded; a server that has them unasked is set up wrongly.
    colour: Colour = "red" if chosen is None or facts.max_length < chosen else "amber"
    return Finding("model", colour, f"{said}: most documents would be cut", _LONGER, _CARD)


def check_texts(engine: Engine) -> Finding:
    """Whether clients that send texts to the server, and no token ids, get exact scores.

    Args:
        engine: a RemoteEngine that was told to use the rerank route.
    """
    name = "texts to /v1/rerank"
    try:
        facts = engine.facts()
    except RerankError as error:
        return replace(failed(error, name), name=name)
    if facts.template_verified:
        return Finding(name, "green", "scored exactly as token ids are")
    remedy = "Use vLLM 0.18 or later, whose /classify lets scores be compared."
    return Finding(name, "amber", "could not be compared with token ids", remedy)


def failed(error: RerankError, name: str) -> Finding:
    """A red finding made of an error, whose message says what to do."""
    about, source = next(
        ((about, source) for kind, about, source in _FIRST_CONTACT if isinstance(error, kind)),
        (name, "docs/remote.md, troubleshooting"),
    )
    said, *remedy = _REMEDY.split(str(error), maxsplit=1)
    return Finding(about, "red", f"{type(error).__name__}: {said}.", (remedy or [said])[0], source)


def _template(subject: Subject) -> list[Finding]:
    verified = subject.facts.template_verified
    if verified is None:
        return [Finding("template", "green", "token ids are sent; no template is involved")]
    if verified:
        return [Finding("template", "green", "proven exact: same scores by two routes")]
    remedy = "Add --tokenizer with the served model's folder, and use vLLM 0.18 or later."
    said = "could not be proven exact"
    return [Finding("template", "amber", said, remedy, f"{_ISSUES}/20478")]


def _prefix_cache(subject: Subject) -> list[Finding]:
    check = PrefixCheck(subject.reranker)
    before = cache_hits(subject.base_url, subject.key)
    check.repeat()
    after = cache_hits(subject.base_url, subject.key)
    apart = check.apart()
    said = f"logits of repeated prompts differ by at most {apart:.3f}"
    source = "https://github.com/vllm-project/vllm-ascend/issues/7145"
    if not check.agrees():
        remedy = (
            "Serve with --no-enable-prefix-caching and --no-enable-chunked-prefill; on Ascend "
            "upgrade to vllm-ascend 0.18.0 or later."
        )
        return [Finding("prefix cache", "red", said, remedy, source)]
    use, advice = _cache_use(subject.reranker.engine, before, after)
    if advice is None:
        return [Finding("prefix cache", "green", f"{said}, {use}")]
    return [Finding("prefix cache", "amber", f"{said}; {use}", advice, source)]


def _cache_use(engine: Engine, before: float | None, after: float | None) -> tuple[str, str | None]:
    """Whether cached tokens were in use, and where that is not proven, what to do.

    Args:
        engine: LocalEngine shares by itself; VLLMEngine compared when it was loaded, and says so.
        before: a server's count of them before prompts were repeated.
        after: the same count afterwards.
    """
    tag = getattr(engine, "tag", None)
    if tag == "vllm":
        return _SELF_CHECKS[getattr(engine, "self_check", None) or "off"]
    if tag == "local" or (before is not None and after is not None and after > before):
        return "with cached tokens in use", None
    if before is None or after is None:
        return "whether cached tokens were in use could not be seen", "Let /metrics be reached."
    return "no cached tokens were in use", (
        "Serve with --enable-prefix-caching for this to be checked; without it nothing is cached "
        "that could be wrong."
    )


_CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("template", _template),
    ("known pairs", lambda one: known_pairs(one.reranker, one.facts.model)),
    ("instruction", lambda one: instruction_is_honoured(one.reranker)),
    ("prefix cache", _prefix_cache),
    ("long document", lambda one: long_document(one.reranker, one.facts.max_length)),
    ("speed", lambda one: speed(one.reranker)),
)
