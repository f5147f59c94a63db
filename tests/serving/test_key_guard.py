"""The middleware lets nothing through without the key, however a path or header is written.

What vLLM's server does with it is shown in tests/e2e/vllm; here the requests are those of the ASGI.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwen3_ascend_retrievers.serving import key_guard
from qwen3_ascend_retrievers.serving.key_guard import KEY_VARIABLE, KeyGuard

KEY = "sk-guard-0123456789"
RIGHT = {"Authorization": f"Bearer {KEY}"}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers everything."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"secret"})


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> KeyGuard:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    return KeyGuard(app)


Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(guard: KeyGuard) -> Ask:
    """Sends one request to the guarded app."""

    async def request(method: str, path: str, root: str, headers: Any) -> httpx.Response:
        transport = httpx.ASGITransport(guard, root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, headers=headers)

    return lambda method, path, headers=None, root="": asyncio.run(
        request(method, path, root, headers)
    )


PATHS = (
    "/rerank", "/v1/rerank", "/v2/rerank", "/classify", "/tokenize", "/score", "/metrics", "/",
    "/version", "/docs", "//rerank", "/v1/../rerank", "/%72erank", "/health/", "/healthz",
    "//health", "/health/../rerank", "/health%2f..%2frerank", "/ping/x", "/HEALTH",
    "/rerank?/health", "/rerank#/health", "/rerank;/health", "/health%00", "/health%0a", "/health ",
)  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT", "ANYTHING"])
def test_no_path_and_no_method_goes_without_the_key(ask: Ask, method: str) -> None:
    for path in PATHS:
        answer = ask(method, path)
        assert (answer.status_code, "secret" in answer.text) == (401, False), path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert ask(method, path, RIGHT).status_code == 200, path


@pytest.mark.parametrize(
    "value",
    [
        "", "Bearer", "Bearer ", f"Bearer  {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", KEY,
        f"Basic {KEY}", f"Bearer {KEY} {KEY}", f"Bearer {KEY.upper()}", f"Bearer\t{KEY}",
    ],
)  # fmt: skip
def test_what_is_not_the_key_is_refused(ask: Ask, value: str) -> None:
    assert ask("POST", "/rerank", {"Authorization": value}).status_code == 401


def test_the_scheme_s_case_does_not_matter(ask: Ask) -> None:
    assert ask("POST", "/rerank", {"authorization": f"bearer {KEY}"}).status_code == 200


def test_a_health_check_needs_no_key(ask: Ask) -> None:
    for path in ("/health", "/ping"):
        for method, status in (("GET", 200), ("HEAD", 200), ("POST", 401), ("DELETE", 401)):
            assert ask(method, path).status_code == status


def test_a_root_path_opens_the_health_check_and_nothing_else(ask: Ask) -> None:
    assert ask("GET", "/api/health", root="/api").status_code == 200
    for path in ("/api/rerank", "/api/api/health", "/apihealth", "/api/rerank/health"):
        assert ask("GET", path, root="/api").status_code == 401, path
    assert ask("POST", "/api/rerank", RIGHT, root="/api").status_code == 200


def test_a_browser_may_ask_for_permission(ask: Ask) -> None:
    preflight = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
    assert ask("OPTIONS", "/rerank", preflight).status_code == 200
    assert ask("POST", "/rerank", preflight).status_code == 401
    assert ask("OPTIONS", "/rerank", {"Origin": "http://page"}).status_code == 401


@pytest.mark.parametrize(("headers", "kind"), [({}, "close"), (RIGHT, "accept")])
def test_a_websocket_needs_the_key(guard: KeyGuard, headers: dict[str, str], kind: str) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/health", "headers": raw}
    asyncio.run(guard(scope, receive, send))
    assert [message["type"] for message in messages] == [f"websocket.{kind}"]


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_key_of_its_own_it_lets_nobody_in(
    value: str | None, monkeypatch: pytest.MonkeyPatch, ask: Ask, guard: KeyGuard
) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    if value is not None:
        monkeypatch.setenv(KEY_VARIABLE, value)
    guard.__init__(app)  # type: ignore[misc]
    for authorization in ("Bearer ", "Bearer", RIGHT["Authorization"]):
        assert ask("POST", "/rerank", {"Authorization": authorization}).status_code == 401


def test_a_container_without_this_package_can_load_the_file(tmp_path: Path) -> None:
    file = tmp_path / Path(key_guard.__file__).name
    file.write_bytes(Path(key_guard.__file__).read_bytes())
    code = (
        "import sys, key_guard\n"
        "print(key_guard.KeyGuard.__module__, 'qwen3_ascend_retrievers' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    assert result.stdout.split() == ["key_guard", "False"], result.stderr
