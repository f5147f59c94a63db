"""Handlers that note the events of reranking in LlamaIndex, for its conformance suite."""

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


class Events(BaseEventHandler):
    """Collects the dispatcher's events."""

    seen: list[BaseEvent] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        """The handler's name."""
        return "ConformanceEvents"

    def handle(self, event: BaseEvent, **_: Any) -> None:
        """Keep the event."""
        self.seen.append(event)


class Callbacks(BaseCallbackHandler):
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
        """Note that reranking began."""
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
        """Note that reranking ended."""
        if event_type == CBEventType.RERANKING:
            self.ended.append(event_id)

    def start_trace(self, trace_id: str | None = None) -> None:
        """Traces are of no interest here."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Traces are of no interest here."""


class Seen:
    """What handlers saw of one call; `raised` is what reached the caller."""

    def __init__(self) -> None:
        self.events = Events()
        self.callbacks = Callbacks()
        self.raised: Exception | None = None

    def pair(self) -> tuple[ReRankStartEvent, ReRankEndEvent]:
        """The start and the end event, if there is exactly one of each, in order."""
        reranking = [
            one for one in self.events.seen if isinstance(one, ReRankStartEvent | ReRankEndEvent)
        ]
        kinds = [type(one).__name__ for one in reranking]
        assert kinds == ["ReRankStartEvent", "ReRankEndEvent"], f"these events came: {kinds}"
        assert len(self.callbacks.started) == 1, "no RERANKING event reached the callback manager"
        assert self.callbacks.started == self.callbacks.ended, "the RERANKING event did not end"
        start, end = reranking
        assert isinstance(start, ReRankStartEvent)
        assert isinstance(end, ReRankEndEvent)
        return start, end


@contextmanager
def listening(events: Events) -> Iterator[None]:
    """Let `events` hear what the root dispatcher hears."""
    root = get_dispatcher()
    root.add_event_handler(events)
    try:
        yield
    finally:
        root.event_handlers = [one for one in root.event_handlers if one is not events]
