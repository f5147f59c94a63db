"""Bodies of requests, and replies of every shape, right and wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.engines.remote.protocol.dialects.table import DIALECTS
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.tei import TEI
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.vllm import VLLM
from qwen3_ascend_retrievers.engines.remote.protocol.error_bodies import error_message
from qwen3_ascend_retrievers.engines.remote.protocol.refusals import refusal_of
from qwen3_ascend_retrievers.engines.remote.protocol.rerank_api import (
    check_tokens,
    classify_body,
    read_classify,
    read_models,
    read_rerank,
    read_token_ids,
)
from qwen3_ascend_retrievers.errors import ReplyError, ScoreError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["results", "data", "index", "score", "relevance_score", "probs", "usage", "id",
                 "total_tokens", "model", "error", "tokens", "token_strs", "max_model_len", "root",
                 "meta", "n_ctx", "owned_by", "is_generation", "max_client_batch_size",
                 "max_input_length", "model_type", "default_generation_settings"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip


def test_bodies_hold_what_was_asked_and_no_more() -> None:
    assert VLLM.rerank_body(None, "q", ["a", "b"]) == {"query": "q", "documents": ["a", "b"]}
    assert VLLM.rerank_body("m", "q", ("a",), instruction="i", logits=True) == {
        "model": "m", "query": "q", "documents": ["a"], "instruction": "i",
        "use_activation": False,
    }  # fmt: skip
    assert TEI.rerank_body("m", "q", ("a",), instruction="i", logits=True) == {
        "query": "q", "texts": ["a"], "truncate": False, "raw_scores": True,
    }  # fmt: skip
    assert classify_body("m", [(1, 2)], logits=False) == {"model": "m", "input": [[1, 2]]}
    assert VLLM.tokenize is not None
    body = VLLM.tokenize_body(VLLM.tokenize, None, "x")
    assert body == {"prompt": "x", "add_special_tokens": False, "return_token_strs": True}


SHAPES: dict[str, Any] = {
    "vllm": {
        "id": "rerank-1", "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9},
        "results": [
            {"index": 1, "document": {"text": "lies"}, "relevance_score": 0.75},
            {"index": 0, "document": {"text": "b"}, "relevance_score": 0.5},
        ],
    },
    "cohere": {"results": [{"index": 0, "relevance_score": 0.5},
                           {"index": 1, "relevance_score": 0.75}],
               "meta": {"billed_units": {"total_tokens": 9}, "tokens": {"input_tokens": 9}}},
    "new-api": {"results": [{"index": 0, "relevance_score": 0.5},
                            {"index": 1, "relevance_score": 0.75}],
                "meta": {"tokens": {"input_tokens": 9}, "billed_units": None}},
    "siliconflow": {"results": [{"index": 0, "relevance_score": 0.5},
                                {"index": 1, "relevance_score": 0.75}],
                    "tokens": {"input_tokens": 9, "output_tokens": 0}},
    "jina": {"data": [{"index": 1, "relevance_score": 0.75},
                      {"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 9}},
    "sglang": [{"score": 0.75, "document": "x", "index": 1, "meta_info": {}},
               {"score": 0.5, "index": 0}],
    "tei": [{"index": 0, "score": 0.5}, {"index": 1, "score": 0.75}],
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_every_servers_shape_is_understood(name: str) -> None:
    headers = {"x-compute-tokens": "9"} if name == "tei" else {}
    scores = read_rerank(SHAPES[name], headers, 2)
    assert scores.values == (0.5, 0.75)
    assert scores.tokens == (None if name == "sglang" else 9)
    assert scores.model == ("m" if name == "vllm" else None)


def results(*entries: Any) -> Any:
    return {"results": list(entries)}


GOOD = {"index": 0, "relevance_score": 0.5}
WRONG = [
    (None, "no list"),
    ("text", "no list"),
    ({"results": {"0": 1}}, "no list"),
    ({"error": {"message": "out of memory"}}, "out of memory"),
    (results(0.5, 0.6), "no object"),
    (results(GOOD), "1 of 2 scores; 1 is missing"),
    (results(GOOD, GOOD), "index 0 twice"),
    (results(GOOD, {"index": 2, "relevance_score": 0.5}), "index 2 "),
    (results(GOOD, {"index": -1, "relevance_score": 0.5}), "index -1 "),
    (results(GOOD, {"index": True, "relevance_score": 0.5}), "index True "),
    (results(GOOD, {"index": 1.0, "relevance_score": 0.5}), "index 1.0 "),
    (results(GOOD, {"relevance_score": 0.5}), "index None "),
    (results(GOOD, {"index": 1}), "None is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": "0.5"}), "is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": True}), "is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": float("nan")}), "is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": float("inf")}), "is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": 1.01}), "is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": 10**400}), "is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": -(10**5000)}), "is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": -0.01}), "is no probability"),
    (results(GOOD, {"index": 1, "relevance_score": 0.1}, GOOD), "index 0 twice"),
]


@pytest.mark.parametrize(("reply", "message"), WRONG)
def test_a_wrong_rerank_reply_is_refused(reply: Any, message: str) -> None:
    with pytest.raises((ReplyError, ScoreError), match=message):
        read_rerank(reply, {}, 2)


@pytest.mark.parametrize("value", [1.01, -0.01, 7])
def test_a_number_outside_probability_names_what_it_may_be(value: float) -> None:
    with pytest.raises(ScoreError, match="scores='logit'"):
        read_rerank(results({"index": 0, "relevance_score": value}), {}, 1)


@pytest.mark.parametrize("count", ["0", "-3", "many", "", "²", "9" * 5000])
def test_a_count_in_a_header_is_a_number_or_none(count: str) -> None:
    assert read_rerank([GOOD], {"x-compute-tokens": count}, 1).tokens is None


def test_logits_may_be_any_finite_number() -> None:
    reply = results({"index": 0, "relevance_score": -7}, {"index": 1, "relevance_score": 3.5})
    assert read_rerank(reply, {}, 2, logits=True).values == (-7.0, 3.5)
    for wrong in (float("nan"), float("inf"), 10**400, -(10**400)):
        with pytest.raises(ReplyError, match="no finite number"):
            read_rerank(results({"index": 0, "relevance_score": wrong}), {}, 1, logits=True)


def test_classifications() -> None:
    reply = {
        "model": "m", "usage": {"prompt_tokens": 5, "total_tokens": 5},
        "data": [{"index": 1, "probs": [0.25]}, {"index": 0, "probs": [0.5]}],
    }  # fmt: skip
    scores = read_classify(reply, {}, 2)
    assert (scores.values, scores.tokens, scores.model) == ((0.5, 0.25), 5, "m")
    for wrong, message in [
        ([], "no list of classifications"),
        ({"data": [{"index": 0, "probs": [0.5, 0.5]}]}, "2 classes"),
        ({"data": [{"index": 0, "probs": 0.5}]}, "no classes"),
        ({"data": [{"index": 0, "probs": [2.0]}]}, "no probability"),
    ]:
        with pytest.raises((ReplyError, ScoreError), match=message):
            read_classify(wrong, {}, 1)


def test_tokens() -> None:
    assert read_token_ids({"tokens": [1, 2], "max_model_len": 512}) == ((1, 2), None)
    both = {"tokens": [1, 2], "token_strs": ["a", "b"]}
    assert read_token_ids(both) == ((1, 2), ("a", "b"))
    # Strings that cannot be these tokens' are not used.
    assert read_token_ids({**both, "token_strs": ["a"]})[1] is None
    assert read_token_ids({**both, "token_strs": ["a", None]})[1] is None
    for wrong in (None, {}, {"tokens": "ab"}, {"tokens": [1, -2]}, {"tokens": [True]}):
        with pytest.raises(ReplyError, match="no list of token ids"):
            read_token_ids(wrong)


def test_tokens_of_tei() -> None:
    assert TEI.tokenize is not None
    token = {"id": 7, "text": "a", "special": False, "start": 0, "stop": 1}
    assert TEI.tokenize.read([[token, token]]) == ((7, 7), None)
    for wrong in (None, [], [token], [[token], [token]], [[7]], [[{"text": "a"}]], {"tokens": [7]}):
        with pytest.raises(ReplyError, match="no list of tokens with ids"):
            TEI.tokenize.read(wrong)


def test_no_tokens_for_a_text_are_no_tokens_of_it() -> None:
    check_tokens("", ())
    check_tokens("ab", (1,))
    for text, ids in (("a", ()), ("a", (1,) * 9)):
        with pytest.raises(ReplyError, match="tokens for a text of 1 characters"):
            check_tokens(text, ids)


def test_models() -> None:
    base = {"id": "m", "root": "/models/m", "parent": None, "max_model_len": 8192}
    adapter = {"id": "lora", "parent": "m"}
    (found,) = read_models({"data": [base, adapter, "noise", {"id": 3}]})
    assert (found.name, found.root, found.max_length) == ("m", "/models/m", 8192)
    (plain,) = read_models({"data": [{"id": "m", "max_model_len": "big"}]})
    assert (plain.root, plain.max_length) == ("m", None)
    slot = {"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 4096}}
    (gguf,) = read_models({"data": [slot]})
    assert (gguf.max_length, gguf.owner, found.owner) == (4096, "llamacpp", "")
    with pytest.raises(ReplyError, match="no list of models"):
        read_models([base])


def test_error_bodies() -> None:
    assert error_message({"error": {"message": "m", "code": 400}}) == "m"
    assert error_message({"object": "error", "message": "flat", "code": 400}) == "flat"
    assert error_message({"error": "Unauthorized"}) == "Unauthorized"
    assert error_message({"detail": "Not Found"}) == "Not Found"
    assert error_message({"detail": [{"msg": "bad"}]}) == "[{'msg': 'bad'}]"
    assert error_message({"fine": 1}) is None
    assert error_message("text") == "text"
    assert error_message(3) is None


def test_a_detail_too_deep_to_print_is_no_crash() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert error_message({"detail": deep}) == "a deeply nested message"


@pytest.mark.parametrize("field", ["index", "relevance_score"])
def test_a_wrong_text_is_named_by_its_type_only(field: str) -> None:
    right = {"index": 0, "relevance_score": 0.5}
    for wrong, description in (("sk-key" * 40, "of type str"), ([], "of type list"), (-2, "-2")):
        with pytest.raises((ReplyError, ScoreError), match=description):
            read_rerank([right | {field: wrong}], {}, 1)
    with pytest.raises(ReplyError, match="a very long number"):
        read_rerank([right | {field: 10**400}], {}, 1)


TOO_LONG = [
    # vLLM 0.32 (renderers/params.py), vLLM 0.9, SGLang, TEI, llama.cpp, Infinity, SiliconFlow.
    (400, "This model's maximum context length is 512 tokens. However, your prompt", 512),
    (400, "The prompt is longer than the maximum model length of 512", 512),
    (400, "The input (900 tokens) is longer than the model's context length (512 tokens).", 512),
    (422, "`inputs` must have less than 512 tokens. Given: 900", 512),
    (400, "request (900 tokens) exceeds the available context size (512 tokens)", 512),
    (
        500,
        "input (900 tokens) is too large to process. increase the physical batch size (current "
        "batch size: 512)",
        512,
    ),
    (422, "String should have at most 122880 characters", None),
    (400, "length of prompt_tokens (900) must be less than max_seq_len (512).", 512),
    (400, f"maximum context length is {'9' * 400} tokens", None),
    (400, "Input exceeds the number of tokens that one request may have", None),
    (413, "<html>Request Entity Too Large</html>", None),
]
TOO_MANY = [
    # TEI, DashScope, SiliconFlow, Infinity, Cohere.
    (422, "batch size 33 > maximum allowed batch size 32", 32),
    (413, "batch size 33 > maximum allowed batch size 32", 32),
    (
        400,
        "<400> InternalError.Algo.InvalidParameter: Value error, batch size of documents is "
        "invalid, it should not be empty or larger than 500.: input.documents",
        500,
    ),
    (400, "Value error, batch size is invalid, it should not be larger than 10.", 10),
    (422, "[{'msg': 'List should have at most 2048 items after validation, not 2049'}]", 2048),
    (400, "number of total max chunks (number of documents) must be less than 10000", None),
    (400, "too many documents", None),
]
OTHERS = [
    (503, "The engine is currently busy and cannot accept new requests.", "busy"),
    (503, "The engine has reached its prefill token backlog limit.", "busy"),
    # llama.cpp, whose slots share a cache; SGLang's rerank route.
    (500, "Context size has been exceeded.", "busy"),
    (400, "503: The request queue is full.", "busy"),
    (429, "Model is overloaded", "later"),
    (503, "Service Unavailable", "later"),
    (500, "out of memory", "retry"),
    # LiteLLM.
    (400, "No connected db.", "wrong_key"),
    (500, "Authentication Error, No api key passed in.", "wrong_key"),
    # vLLM, OpenAI, LiteLLM, Ollama, a plain gateway, SiliconFlow, Xinference.
    (404, "The model `x` does not exist.", "unknown_model"),
    (404, "The model `x` does not exist or you do not have access to it.", "unknown_model"),
    (400, "/rerank: Invalid model name passed in model=x", "unknown_model"),
    (404, "model 'x' not found, try pulling it first", "unknown_model"),
    (400, "Unknown model: x", "unknown_model"),
    (400, "Model does not exist. Please check it carefully.", "unknown_model"),
    (404, "Model not found in the model list, uid: x", "unknown_model"),
    (404, "Not Found", "final"),
    (400, "Each document must be a non-empty string", "document"),
    (400, "text input should not be empty.: input.documents", "document"),
    # An error may echo texts, and each "exceeds" in them would be compared with all that follows.
    (400, "It exceeds what was planned" + " for this part" * 20 + " in tokens", "document"),
    (400, "bad request: " + "word " * 500 + "too long", "document"),
    (503, "bad request: " + "word " * 500 + "busy", "later"),
]


@pytest.mark.parametrize(("status", "message", "most"), TOO_LONG, ids=str)
def test_too_long_in_every_server_s_words(status: int, message: str, most: int | None) -> None:
    assert refusal_of(status, message, has_wait=False) == ("too_long", most)


@pytest.mark.parametrize(("status", "message", "most"), TOO_MANY, ids=str)
def test_too_many_in_every_server_s_words(status: int, message: str, most: int | None) -> None:
    assert refusal_of(status, message, has_wait=False) == ("too_many", most)


@pytest.mark.parametrize(("status", "message", "kind"), OTHERS, ids=str)
def test_other_refusals_in_every_server_s_words(status: int, message: str, kind: str) -> None:
    assert refusal_of(status, message, has_wait=False) == (kind, None)


def test_a_failure_that_says_when_to_come_back_is_no_other_failure() -> None:
    assert refusal_of(500, "out of memory", has_wait=True).kind == "later"


@given(JSON, st.integers(0, 3), st.booleans())
def test_any_reply_is_understood_or_refused(reply: Any, count: int, logits: bool) -> None:
    for read in (read_rerank, read_classify):
        try:
            scores = read(reply, {}, count, logits=logits)
        except (ReplyError, ScoreError):
            continue
        assert len(scores.values) == count
        assert logits or all(0 <= value <= 1 for value in scores.values)
    routes = [dialect.tokenize for dialect in DIALECTS.values() if dialect.tokenize]
    for other in (read_models, *(route.read for route in routes)):
        with suppress(ReplyError):
            other(reply)
    for dialect in DIALECTS.values():
        if dialect.details is not None:
            dialect.details.read(reply)
    error_message(json.loads(json.dumps(reply)))
