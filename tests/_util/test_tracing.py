"""Spans cost nothing and need nothing where OpenTelemetry is not installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from qwen3_ascend_retrievers._util import tracing
from qwen3_ascend_retrievers._util.tracing import span


@pytest.fixture(autouse=True)
def looked_for_anew() -> Iterator[None]:
    tracing._trace_module.cache_clear()
    yield
    tracing._trace_module.cache_clear()


def test_without_opentelemetry_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with span("POST /v1/rerank", {"rerank.documents": 2, "rerank.template": None}) as current:
        current.set_attribute("http.response.status_code", 200)


def test_an_error_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(KeyError), span("name", {}):
        raise KeyError("x")
