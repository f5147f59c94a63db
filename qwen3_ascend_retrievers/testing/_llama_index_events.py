"""Handlers that record LlamaIndex's reranking events, for its conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llama_index.core.callbacks import CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined] # no __all__
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from pydantic import Field


class EventRecorder(BaseEventHandler):
    """Collects the dispatcher's events."""

    collected: list[BaseEvent] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """The handler's name."""
        return "ConformanceEvents"

    def handle(self, event: BaseEvent, **_: Any) -> None:
        """Record the event."""
        self.collected.append(event)


class CallbackRecorder(BaseCallbackHandler):
    """Collects the callback manager's events of reranking."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[str] = []
        self.ended: list[str] = []

    def on_event_start(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,  # noqa: ARG002 - the framework's signature
        event_id: str = "",
        parent_id: str = "",  # noqa: ARG002 - the framework's signature
        **_: Any,
    ) -> str:
        """Record the start of reranking."""
        if event_type == CBEventType.RERANKING:
            self.started.append(event_id)
        return event_id

    def on_event_end(
        self,
        event_type: CBEventType,
        payload: dict[str, Any] | None = None,  # noqa: ARG002 - the framework's signature
        event_id: str = "",
        **_: Any,
    ) -> None:
        """Record the end of reranking."""
        if event_type == CBEventType.RERANKING:
            self.ended.append(event_id)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Traces are not recorded."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Traces are not recorded."""


class CallRecord:
    """The events of one call; `raised` is the exception that reached the caller."""

    def __init__(self) -> None:
        self.events = EventRecorder()
        self.callbacks = CallbackRecorder()
        self.raised: Exception | None = None

    def rerank_events(self) -> tuple[ReRankStartEvent, ReRankEndEvent]:
        """The start and the end event, if there is exactly one of each, in order."""
        reranking = [
            event
            for event in self.events.collected
            if isinstance(event, ReRankStartEvent | ReRankEndEvent)
        ]
        kinds = [type(event).__name__ for event in reranking]
        assert kinds == ["ReRankStartEvent", "ReRankEndEvent"], f"these events came: {kinds}"
        assert len(self.callbacks.started) == 1, "no RERANKING event reached the callback manager"
        assert self.callbacks.started == self.callbacks.ended, "the RERANKING event did not end"
        start, end = reranking
        assert isinstance(start, ReRankStartEvent)
        assert isinstance(end, ReRankEndEvent)
        return start, end


@contextmanager
def recording(events: EventRecorder) -> Iterator[None]:
    """Record the root dispatcher's events in `events` inside the block."""
    root = get_dispatcher()
    root.add_event_handler(events)
    try:
        yield
    finally:
        root.event_handlers = [handler for handler in root.event_handlers if handler is not events]
