"""The proof file: what `doctor --json` writes and `doctor --compare` reads.

No key, no header and no path into the user's home is in it, and no text but that of the known pairs
and of errors. docs/verified.md describes it.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, cast

from pydantic import SecretStr

from ...engines.base import EngineFacts
from ...engines.registry import row_of
from ...errors import InvalidInputError, RerankError
from ...models.checkpoint import find_checkpoint
from ...models.fingerprint import weights_fingerprint
from ...reranker import Reranker
from .engine_checks import details_of
from .environment import versions
from .findings import Colour, Finding, Measurement, worst
from .machine import machine_facts

SCHEMA_VERSION: Final = 1
# A whole report has some 20 kB.
_MAX_BYTES: Final = 5_000_000
_SECRET_NAME: Final = re.compile(r"(^|[_-])(api_?key|key|token|secret|password|headers)$", re.I)
_COLOURS: Final[tuple[Colour, ...]] = ("green", "amber", "red")
_REWRITE: Final = "Write it again with qwen3-rerank doctor --json > FILE."


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """The engine that was examined.

    Attributes:
        config: its constructor's arguments, without secrets.
        model: the model's name; None if it did not come to a handshake.
        max_length: most tokens of a prompt; None if unknown.
        weights: a fingerprint of the weights; None where they are not on this machine.
        details: what is known of it, and how.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    max_length: int | None = None
    weights: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        reranker: Reranker,
        base_url: str | None = None,
        key: SecretStr | None = None,
        *,
        is_ready: bool,
    ) -> EngineRecord:
        """What is known of a reranker's engine.

        Args:
            reranker: whose engine was examined.
            base_url: its server; None for a model in this process.
            key: the server's.
            is_ready: whether its model is loaded, or its server was reached.
        """
        engine: Any = reranker.engine
        config = engine.tagged_config()
        if not is_ready:
            return cls(config=config)
        facts: EngineFacts = engine.facts()
        row = row_of(engine)
        return cls(
            config=config,
            model=facts.model,
            max_length=reranker.settings.max_length or facts.max_length,
            weights=_weights_of(config) if row is not None and row.in_process else None,
            details=details_of(facts, base_url, key),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """A report on a machine and an engine.

    Attributes:
        written_at: in UTC, ISO 8601.
        machine: see `machine_facts`.
        versions: of packages, by name.
        engine: None where only the machine was checked.
        findings: in the order of the checks.
    """

    written_at: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    engine: EngineRecord | None
    findings: Sequence[Finding]

    @classmethod
    def of(cls, findings: Sequence[Finding], engine: EngineRecord | None) -> Proof:
        """The report of this machine, now."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(
            written_at=now,
            machine=machine_facts(),
            versions=versions(),
            engine=engine,
            findings=findings,
        )

    def public(self) -> Proof:
        """The same as it will be read from its file."""
        return _proof_from_json(json.loads(json.dumps(self.as_json())))

    def as_json(self) -> dict[str, Any]:
        """The file's content, without what is nobody else's business."""
        engine = None if self.engine is None else asdict(self.engine)
        content = {
            "schema_version": SCHEMA_VERSION,
            "written_at": self.written_at,
            "colour": worst(self.findings),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "engine": engine,
            "findings": [_finding_as_json(finding) for finding in self.findings],
        }
        return cast("dict[str, Any]", _public(content, _home_pattern()))


def read_proof(path: Path) -> Proof:
    """The proof in a file.

    Raises:
        InvalidInputError: the file cannot be read, is no whole proof, or of another version.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > _MAX_BYTES:
        raise InvalidInputError(f"{path} is too long for a proof file. {_REWRITE}")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{path} is no JSON, or is cut short: {error}. {_REWRITE}"
        ) from error
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version is None:
        raise InvalidInputError(f"{path} is no proof file: it has no schema_version. {_REWRITE}")
    if version != SCHEMA_VERSION:
        raise InvalidInputError(
            f"{path} is a proof file of version {str(version)[:20]}, and this package reads "
            f"{SCHEMA_VERSION}. Write both files with the same release of qwen3-ascend-retrievers."
        )
    try:
        return _proof_from_json(value)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{path} is damaged: {type(error).__name__} at {error}. {_REWRITE}"
        ) from error


def _weights_of(config: Mapping[str, Any]) -> str | None:
    """The fingerprint of a loaded model's weights; None where its folder is another's to find."""
    try:
        checkpoint = find_checkpoint(config["model"], config.get("revision"))
        return weights_fingerprint(checkpoint.model, checkpoint.folder)
    except (RerankError, OSError):
        return None


def _finding_as_json(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "colour": finding.colour,
        "said": finding.message,
        "remedy": finding.remedy,
        "source": finding.source,
        "measured": dict(finding.measured),
    }


def _home_pattern() -> re.Pattern[str]:
    """What matches the user's home at the beginning of a path; nothing if it is the root."""
    homes = {os.path.expanduser("~"), os.path.realpath(os.path.expanduser("~"))}
    whole = "|".join(re.escape(home) for home in sorted(homes) if len(home) > 1 and home != "~")
    return re.compile(rf"(?:{whole})(?![\w.-])" if whole else r"(?!)")


def _public(value: Any, home: re.Pattern[str]) -> Any:
    """A copy without the values of secret names, in which the home is a tilde."""
    if isinstance(value, str):
        return home.sub("~", value)
    if isinstance(value, Mapping):
        return {
            name: None if _SECRET_NAME.search(str(name)) else _public(inner, home)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_public(inner, home) for inner in value]
    return value


def _proof_from_json(value: Mapping[str, Any]) -> Proof:
    engine = value["engine"]
    return Proof(
        written_at=_text(value["written_at"]),
        machine=_texts(value["machine"]),
        versions=_texts(value["versions"]),
        engine=None if engine is None else _engine_from_json(engine),
        findings=[_finding_from_json(finding) for finding in _typed(value["findings"], list)],
    )


def _engine_from_json(value: Any) -> EngineRecord:
    model, length, weights = value["model"], value["max_length"], value["weights"]
    return EngineRecord(
        config=_typed(value["config"], dict),
        model=None if model is None else _text(model),
        max_length=None if length is None else _typed(length, int),
        weights=None if weights is None else _text(weights),
        details=_texts(value["details"]),
    )


def _finding_from_json(value: Any) -> Finding:
    remedy, source = value["remedy"], value["source"]
    if value["colour"] not in _COLOURS:
        raise ValueError("colour")
    measured = _typed(value["measured"], dict)
    return Finding(
        _text(value["name"]),
        value["colour"],
        _text(value["said"]),
        None if remedy is None else _text(remedy),
        None if source is None else _text(source),
        {name: _measurement(number) for name, number in measured.items()},
    )


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{str(value)[:40]!r}, which is no {kind.__name__}")
    return value


def _text(value: Any) -> str:
    return cast(str, _typed(value, str))


def _texts(value: Any) -> dict[str, str]:
    return {name: _text(text) for name, text in _typed(value, dict).items()}


def _measurement(value: Any) -> Measurement:
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]!r}, which is no measurement")
    return value
