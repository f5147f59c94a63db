"""Two proofs side by side: what differs, and what differs by more than rounding explains."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

from .findings import Finding, Measurement, worst
from .logits import noise_of
from .proof import EngineRecord, Proof

_ABSENT: Final = "-"
# Where a server is says nothing of its scores.
_NOT_COMPARED: Final = frozenset({"base_url"})


@dataclass(frozen=True, slots=True)
class ComparedValue:
    """One value of two proofs.

    Attributes:
        section: "machine", "versions", "engine" or "checks".
        name: what it is.
        there: of the first proof; "-" if it has none.
        here: of the second.
        difference: from there to here, if it can be computed.
        is_marked: whether a person should look at it: a check has another colour, or scores of the
            same pair differ by more than bf16 explains.
    """

    section: str
    name: str
    there: str
    here: str
    difference: str = ""
    is_marked: bool = False


def compare_proofs(there: Proof, here: Proof) -> list[ComparedValue]:
    """All values of both, in the second one's order; what only the first has comes after."""
    engines = [_engine_values(proof.engine) for proof in (there, here)]
    return [
        *_compare_texts("machine", there.machine, here.machine),
        *_compare_texts("versions", there.versions, here.versions),
        *_compare_texts("engine", *engines),
        *_compare_findings(_by_name(there), _by_name(here)),
    ]


def _engine_values(engine: EngineRecord | None) -> dict[str, str]:
    if engine is None:
        return {}
    length = engine.max_length
    values = {
        "model": engine.model or "not reached",
        "weights": engine.weights or "unknown",
        "max length": "unknown" if length is None else f"{length:,}",
    }
    values |= engine.details
    for name, value in engine.config.items():
        if name not in _NOT_COMPARED:
            values[f"{name}="] = value if isinstance(value, str) else json.dumps(value)
    return values


def _compare_texts(
    section: str, there: Mapping[str, str], here: Mapping[str, str]
) -> Iterator[ComparedValue]:
    for name in _all_names(there, here):
        before, now = there.get(name, _ABSENT), here.get(name, _ABSENT)
        yield ComparedValue(section, name, before, now, "" if before == now else "differs")


def _compare_findings(
    there: Mapping[str, list[Finding]], here: Mapping[str, list[Finding]]
) -> Iterator[ComparedValue]:
    for name in _all_names(there, here):
        before, now = there.get(name, []), here.get(name, [])
        old, new = _colour_of(before), _colour_of(now)
        differs = old != new
        is_marked = differs and _ABSENT not in (old, new)
        yield ComparedValue("checks", name, old, new, "differs" if differs else "", is_marked)
        yield from _compare_measured(name, _measured_by(before), _measured_by(now))


def _compare_measured(
    check: str, there: Mapping[str, Measurement], here: Mapping[str, Measurement]
) -> Iterator[ComparedValue]:
    for name in _all_names(there, here):
        before, now = there.get(name), here.get(name)
        if before is None and now is None:
            continue
        difference, is_marked = "", False
        if _is_number(before) and _is_number(now) and before != now:
            difference = f"{now - before:+.3g}"
            is_marked = name.endswith("logit") and abs(now - before) > noise_of(before)
        yield ComparedValue(
            "checks", f"{check}: {name}", _shown(before), _shown(now), difference, is_marked
        )


def _by_name(proof: Proof) -> dict[str, list[Finding]]:
    findings: dict[str, list[Finding]] = {}
    for finding in proof.findings:
        findings.setdefault(finding.name, []).append(finding)
    return findings


def _colour_of(findings: Sequence[Finding]) -> str:
    return worst(findings) if findings else _ABSENT


def _measured_by(findings: Iterable[Finding]) -> dict[str, Measurement]:
    return {name: number for finding in findings for name, number in finding.measured.items()}


def _all_names(there: Iterable[str], here: Iterable[str]) -> list[str]:
    return list(dict.fromkeys((*here, *there)))


def _is_number(value: Measurement) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Measurement) -> str:
    if value is None:
        return _ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
