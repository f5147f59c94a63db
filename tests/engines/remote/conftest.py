"""Every test here ends without the engine's threads and with the server's connections closed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from qwen3_ascend_retrievers import RemoteEngine
from support.dialects.table import FAKES
from support.eventually import eventually
from support.rerank_answers import RerankAnswers, Setup
from support.rerank_server import RerankServer

Serve = Callable[..., RerankServer]
Connect = Callable[..., RemoteEngine]
Start = Callable[..., tuple[RerankServer, RemoteEngine]]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    eventually(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers: `serve(Setup(...), decide)`; all are stopped in the end."""
    with ExitStack() as stack:
        servers: list[RerankServer] = []

        def start(
            setup: Setup | None = None,
            decide: Any = lambda request: None,
            kind: Any = RerankAnswers,
            **more: Any,
        ) -> RerankServer:
            server = stack.enter_context(RerankServer(setup or Setup(), decide, kind, **more))
            servers.append(server)
            return server

        yield start
        # A stalled reply is the server's own business; a kept connection would be a leak of ours.
        for server in servers:
            eventually(lambda server=server: server.idle == 0)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes engines: `connect(url, **settings)`; all are closed in the end."""
    with ExitStack() as stack:

        def make(base_url: Any, **settings: Any) -> RemoteEngine:
            settings = {"timeout": 60, "deadline": 120, "backoff": 0.001} | settings
            return stack.enter_context(RemoteEngine(base_url, **settings))

        yield make


@pytest.fixture
def start(serve: Any, connect: Any) -> Start:
    """Starts a dialect's fake and an engine for it: `start(name, template, **settings)`."""

    def started(
        name: str, started_with: str, *, setup: Any = None, **settings: Any
    ) -> tuple[RerankServer, RemoteEngine]:
        row = FAKES[name]
        server = serve(Setup(template=started_with, **(setup or {})), kind=row.kind)
        return server, connect(server.url + row.path, **(row.settings | settings))

    return started


@pytest.fixture(scope="session")
def spans() -> InMemorySpanExporter:
    """All spans that end; the provider is one for the whole process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter
