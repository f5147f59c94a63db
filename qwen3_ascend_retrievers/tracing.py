"""Spans for OpenTelemetry, if opentelemetry-api is installed; else nothing happens.

No query or document text goes into a span, and no key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

Attribute = str | int | float | bool


class Span(Protocol):
    """What a span is used for here."""

    def set_attribute(self, key: str, value: Attribute) -> None:
        """Note one fact."""
        ...


class _NoSpan:
    def set_attribute(self, key: str, value: Attribute) -> None:
        pass


@contextmanager
def span(name: str, attributes: Mapping[str, Attribute | None]) -> Iterator[Span]:
    """A client span around the body; attributes that are None are left out.

    An error that leaves the body is recorded and marks the span, by OpenTelemetry's own rule.
    """
    tracer = _tracer()
    if tracer is None:
        yield _NoSpan()
        return
    from opentelemetry.trace import SpanKind

    known = {key: value for key, value in attributes.items() if value is not None}
    with tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=known) as made:
        yield made


def _tracer() -> Any:
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace.get_tracer("qwen3_ascend_retrievers")
