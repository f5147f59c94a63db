"""What is refused before a server starts, and what a running one leaves open."""

from __future__ import annotations

import pytest

from qwen3_ascend_retrievers.engines.remote.protocol.canary import SHORTEST
from qwen3_ascend_retrievers.errors import EngineError, InvalidInputError
from qwen3_ascend_retrievers.serving.checks import check_extra, check_key, check_length
from qwen3_ascend_retrievers.serving.exposure import open_routes
from support.rerank_faults import status
from support.rerank_server import Fault, ReceivedRequest, RerankServer


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "is empty"),
        ("one-key\nanother-key", "has 2 lines"),
        ("one-key\r\n\r\nanother-key", "has 3 lines"),
        ("schlüssel-geheim", "no HTTP header takes"),
        ("a\x00bc-geheim", "no HTTP header takes"),
        ("a\tbc-geheim", "no HTTP header takes"),
    ],
)
def test_a_key_that_no_client_could_send_is_refused(key: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^FILE .*{message}") as caught:
        check_key(key, "FILE")
    assert not key or key[-6:] not in str(caught.value)


def test_a_usual_key_is_kept() -> None:
    assert check_key("sk-0123 with/all=of+it~", "FILE") == "sk-0123 with/all=of+it~"


@pytest.mark.parametrize(
    "extra", [["--api-key", "x"], ["--seed", "1", "--api-key=x"], ["--api_key", "x"], ["--api-k=x"]]
)
def test_a_key_among_vllm_s_arguments_is_refused(extra: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="--api-key-file FILE"):
        check_extra(extra)


@pytest.mark.parametrize("flag", ["--hf-overrides", "--hf_overrides", "--hf-overrides.x"])
def test_the_vision_model_s_architecture_is_refused(flag: str) -> None:
    value = '{"architectures": ["Qwen3VLForSequenceClassification"]}'
    for extra in ([flag, value], [f"{flag}={value}"]):
        with pytest.raises(InvalidInputError, match="vision model's architecture"):
            check_extra(extra)
    check_extra([flag, '{"architectures": ["Qwen3ForSequenceClassification"]}'])


def test_other_arguments_are_vllm_s() -> None:
    check_extra(["--api-server-count", "2", "--seed", "--", "api-key"])


@pytest.mark.parametrize(
    ("max_length", "positions", "extra"),
    [
        (SHORTEST - 1, None, []),
        (1, 40_960, []),
        (None, SHORTEST - 1, []),
        (8192, SHORTEST - 1, []),
        (None, None, ["--max-model-len", "64"]),
        (8192, None, ["--max_model_len=64"]),
        (None, None, ["--seed", "1", "--max-model-l", "64"]),
    ],
)
def test_a_length_below_the_minimum_is_refused(
    max_length: int | None, positions: int | None, extra: list[str]
) -> None:
    with pytest.raises(InvalidInputError, match=f"--max-length {SHORTEST} or more"):
        check_length(max_length, positions, extra)


def test_other_lengths_are_served() -> None:
    check_length(SHORTEST, 40_960, [])
    check_length(None, None, [])
    # What vLLM is told itself wins; it takes more forms than plain numbers.
    check_length(1, None, ["--max-model-len", "512"])
    check_length(None, None, ["--max-model-len", "8k"])


def guard_v1(request: ReceivedRequest) -> Fault:
    """Refuses what begins with /v1 without the key, as vLLM does."""
    return status(401 if request.path.startswith("/v1") else 422)


def test_routes_that_answer_without_the_key_are_found() -> None:
    with RerankServer(decide=guard_v1) as server:
        exposed = open_routes(server.url)
    assert {"/rerank", "/classify", "/tokenize", "/metrics"} <= set(exposed)
    assert not [path for path in exposed if path.startswith("/v1")]


def test_a_server_that_is_gone_guards_nothing() -> None:
    with pytest.raises(EngineError, match="did not answer on /rerank"):
        open_routes("http://127.0.0.1:9")
