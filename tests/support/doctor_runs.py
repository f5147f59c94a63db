"""Doctor's findings on engines and servers, by its checks or by the installed script.

No tests here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call, EngineFacts
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.diagnosis import Finding, check_engine
from support.cli_runs import run
from support.rerank_faults import status as reply_of
from support.rerank_server import RerankServer


def examine(engine: Any, base_url: str | None = None, **settings: Any) -> dict[str, Finding]:
    """The findings on an engine by name; that each has its remedy and source is checked."""
    with Reranker(engine, **settings) as reranker:
        findings = list(check_engine(reranker, base_url))
    for finding in findings:
        assert finding.colour == "green" or finding.remedy, finding
        assert finding.colour != "red" or finding.source, finding
    return {finding.name: finding for finding in findings}


def colours(report: str) -> dict[str, str]:
    """The colour of each finding in doctor's JSON report, by name."""
    return {finding["name"]: finding["colour"] for finding in json.loads(report)["findings"]}


def doctor_is_red(url: str, *arguments: str) -> dict[str, str]:
    """What doctor finds red at a server, by name, with remedies; its exit code is checked."""
    doctor = run("doctor", "--base-url", url, "--json", *arguments)
    findings = json.loads(doctor.stdout)["findings"]
    red = {
        finding["name"]: f"{finding['said']} {finding['remedy']}"
        for finding in findings
        if finding["colour"] == "red"
    }
    assert doctor.returncode == (2 if red else doctor.returncode), doctor.stdout + doctor.stderr
    return red


class AlteredEngine(FakeEngine):
    """Tiny's scores, changed by a test's function; tokens are tiny's own."""

    def __init__(self, bend: Any, max_length: int = 1200) -> None:
        super().__init__(max_length=max_length)
        self._inner, self._bend = LocalEngine("tiny", max_length=max_length), bend

    def facts(self) -> EngineFacts:
        return self._inner.facts()

    def encode(self, texts: Sequence[str]) -> Any:
        return self._inner.encode(texts)

    def score(self, plan: Plan, call: Call) -> list[Score]:
        scores = self._inner.score(plan, call)
        return [self._bend(score, plan, at) for at, score in enumerate(scores)]

    def close(self) -> None:
        self._inner.close()


@contextmanager
def fixed_reply_server(status: int, body: bytes) -> Iterator[str]:
    """The address of a server that replies alike to everything."""
    with RerankServer(decide=lambda request: reply_of(status, body)) as server:
        yield server.url
