"""Spans for OpenTelemetry, if opentelemetry-api is installed; else nothing happens.

No query or document text goes into a span, no key, and no text of an error, which may quote them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Protocol

Attribute = str | int | float | bool


class Span(Protocol):
    """The part of OpenTelemetry's span that is used here."""

    def set_attribute(self, key: str, value: Attribute) -> None:
        """Set one attribute."""
        ...


class _NoSpan:
    def set_attribute(self, key: str, value: Attribute) -> None:
        pass


def _type_name(error: Exception) -> str:
    return type(error).__name__


@contextmanager
def span(
    name: str,
    attributes: Mapping[str, Attribute | None],
    error_type: Callable[[Exception], str] = _type_name,
) -> Iterator[Span]:
    """A client span around the body.

    Args:
        name: of the span.
        attributes: those that are None are left out.
        error_type: the value of `error.type` for an exception that leaves the body.
    """
    tracer = _tracer()
    if tracer is None:
        yield _NoSpan()
        return
    from opentelemetry.trace import SpanKind, StatusCode

    recorded = {key: value for key, value in attributes.items() if value is not None}
    with tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes=recorded,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            current.set_attribute("error.type", error_type(error))
            current.set_status(StatusCode.ERROR)
            raise


def _tracer() -> Any:
    trace = _trace_module()
    return None if trace is None else trace.get_tracer("qwen3_ascend_retrievers")


@cache
def _trace_module() -> Any:
    # Once: a module that is not there is looked for in every folder of the path, at every request.
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace
