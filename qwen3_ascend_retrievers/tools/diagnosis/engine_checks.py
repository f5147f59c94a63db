"""The checks of an engine, in order: the handshake, then its scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from pydantic import SecretStr

from ...engines.base import EngineFacts
from ...engines.configured import Configured
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
from .metrics import server_version
from .pairs import known_pairs
from .score_checks import instruction_is_honoured, long_document, speed
from .step_checks import check_long_batch, check_prefix_cache
from .subject import Subject

_VLLM_ISSUES: Final = "https://github.com/vllm-project/vllm/issues"
_MODEL_CARD: Final = "https://huggingface.co/Qwen/Qwen3-Reranker-0.6B"
# The model card's own limit is 8,192 tokens; below an eighth of it ordinary pages are cut.
_MIN_LENGTH: Final = 1024
_LENGTH_REMEDY: Final = "Start it with a greater maximum: --max-model-len 8192 on a server."
# What vLLM's log says of the text model under the vision model's architecture, with and without
# torchvision; such a server ends at its start, so that only its log tells.
_VISION_HINT: Final = (
    "If vLLM ended at its start and its log names Qwen3VLForSequenceClassification or "
    "Qwen3VLConfig: that is the vision model's architecture, which older guides have in "
    "--hf-overrides; the text model's is Qwen3ForSequenceClassification."
)
_UNPROVEN_REMEDY: Final = (
    "On vLLM 0.18 or later add --tokenizer with the served model's folder. A template file of the "
    "server's must end in three newlines, of which Jinja takes one. The known pairs below are the "
    "rest of the evidence."
)
_UNSEEN_REMEDY: Final = (
    "Compare the known pairs below with the published scores. To have it proven, serve with vLLM "
    "0.18 or later (qwen3-rerank serve)."
)
_UNTEMPLATED_REMEDY: Final = (
    "Leave template=none out of the engine's options, unless your texts hold the whole prompt."
)
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

Check = Callable[[Subject], list[Finding]]


def first_checks(reranker: Reranker, base_url: str | None = None) -> Iterator[Finding]:
    """The quick checks of `check_engine`: the handshake, template and known pairs.

    For a server that the user started: its length was configured, so a short one is no error.
    """
    for finding in _run_checks(reranker, base_url, None, _CHECKS[1:3]):
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
    yield _model_finding(facts, reranker)
    subject = Subject(reranker, facts, base_url, key)
    for name, check in checks:
        try:
            yield from check(subject)
        except TooLongError as error:
            yield Finding(name, "amber", f"not exercised: {error}", _LENGTH_REMEDY)
        except RerankError as error:
            yield error_finding(error, name)


def _model_finding(facts: EngineFacts, reranker: Reranker) -> Finding:
    configured = reranker.settings.max_length
    message = f"{facts.model}, {_limit_text(facts, reranker)}"
    if facts.max_length is None or facts.max_length >= _MIN_LENGTH:
        return Finding("model", "green", message)
    # A short length that the user configured is amber; a server's own is a configuration error.
    colour: Colour = "red" if configured is None or facts.max_length < configured else "amber"
    return Finding(
        "model", colour, f"{message}: most documents would be cut", _LENGTH_REMEDY, _MODEL_CARD
    )


def _limit_text(facts: EngineFacts, reranker: Reranker) -> str:
    """The longest prompt, and who set that; of a server the details say it."""
    configured, length = reranker.settings.max_length, facts.max_length
    if configured is not None and (length is None or configured <= length):
        return f"at most {configured:,} tokens, by --max-length"
    if length is None:
        return "of unknown maximum length"
    if "max_length" in facts.details:
        return f"at most {length:,} tokens"
    engine = reranker.engine
    is_default = isinstance(engine, Configured) and engine.config().get("max_length") == length
    return f"at most {length:,} tokens, by the {'engine' if is_default else 'model'}"


def details_of(facts: EngineFacts, base_url: str | None, key: SecretStr | None) -> dict[str, str]:
    """What is known of an engine or a server, and how; with the server's version if it says it."""
    version = server_version(base_url, key)
    named = {} if version is None else {"version": f"{version}, by /version"}
    return named | {name.replace("_", " "): text for name, text in facts.details.items()}


def _show_details(subject: Subject) -> list[Finding]:
    details = details_of(subject.facts, subject.base_url, subject.key)
    lines = [f"{name}: {text}" for name, text in details.items()]
    name = "engine" if subject.base_url is None else "server"
    return [Finding(name, "green", "\n".join(lines))] if lines else []


def error_finding(error: RerankError, name: str) -> Finding:
    """A red finding for an error, whose message holds the remedy."""
    about, source = next(
        ((about, source) for kind, about, source in _FIRST_CONTACT if isinstance(error, kind)),
        (name, "docs/remote.md, troubleshooting"),
    )
    message, *rest = _REMEDY_START.split(str(error), maxsplit=1)
    remedy = (rest or [message])[0]
    if isinstance(error, ConnectionFailedError):
        remedy = f"{remedy} {_VISION_HINT}"
    return Finding(about, "red", f"{type(error).__name__}: {message}.", remedy, source)


def _check_template(subject: Subject) -> list[Finding]:
    facts = subject.facts
    if not facts.templated:
        message = "none is applied: texts are sent as they are, and nothing is checked"
        return [Finding("template", "amber", message, _UNTEMPLATED_REMEDY)]
    if facts.token_ids:
        return [Finding("template", "green", "token ids are sent; no template is involved")]
    if facts.template_verified:
        return [Finding("template", "green", "proven exact: same scores by two routes")]
    message = f"not proven exact: {facts.details.get('template', 'nothing shows it')}"
    remedy = _UNSEEN_REMEDY if facts.template_verified is None else _UNPROVEN_REMEDY
    return [Finding("template", "amber", message, remedy, f"{_VLLM_ISSUES}/20478")]


_CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("details", _show_details),
    ("template", _check_template),
    ("known pairs", lambda subject: known_pairs(subject.reranker, subject.facts.model)),
    ("instruction", lambda subject: instruction_is_honoured(subject.reranker)),
    ("prefix cache", check_prefix_cache),
    ("long document", lambda subject: long_document(subject.reranker, subject.facts.max_length)),
    ("long batch", check_long_batch),
    ("speed", lambda subject: speed(subject.reranker)),
)
