"""Bodies of requests, and replies of every shape, right and wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.engines.remote.protocol.error_bodies import (
    error_message,
    is_busy,
    is_too_long,
    is_unknown_model,
)
from qwen3_ascend_retrievers.engines.remote.protocol.rerank_api import (
    classify_body,
    read_classify,
    read_models,
    read_rerank,
    read_tokenize,
    rerank_body,
    tokenize_body,
)
from qwen3_ascend_retrievers.errors import ReplyError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["results", "data", "index", "score", "relevance_score", "probs", "usage", "id",
                 "total_tokens", "model", "error", "tokens", "token_strs", "max_model_len", "root"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip


def test_bodies_hold_what_was_asked_and_no_more() -> None:
    assert rerank_body(None, "q", ["a", "b"]) == {"query": "q", "documents": ["a", "b"]}
    assert rerank_body("m", "q", ("a",), instruction="i", logits=True) == {
        "model": "m", "query": "q", "documents": ["a"], "instruction": "i",
        "use_activation": False,
    }  # fmt: skip
    assert classify_body("m", [(1, 2)], logits=False) == {"model": "m", "input": [[1, 2]]}
    assert tokenize_body(None, "x")["add_special_tokens"] is False


SHAPES: dict[str, Any] = {
    "vllm": {
        "id": "rerank-1", "model": "m", "usage": {"prompt_tokens": 9, "total_tokens": 9},
        "results": [
            {"index": 1, "document": {"text": "lies"}, "relevance_score": 0.75},
            {"index": 0, "document": {"text": "b"}, "relevance_score": 0.5},
        ],
    },
    "cohere": {"results": [{"index": 0, "relevance_score": 0.5},
                           {"index": 1, "relevance_score": 0.75}], "meta": {}},
    "jina": {"data": [{"index": 1, "relevance_score": 0.75},
                      {"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 9}},
    "sglang": [{"score": 0.75, "document": "x", "index": 1, "meta_info": {}},
               {"score": 0.5, "index": 0}],
    "tei": [{"index": 0, "score": 0.5}, {"index": 1, "score": 0.75}],
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_every_servers_shape_is_understood(name: str) -> None:
    scores = read_rerank(SHAPES[name], 2)
    assert scores.values == (0.5, 0.75)
    assert scores.tokens == (9 if name in ("vllm", "jina") else None)
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
    with pytest.raises(ReplyError, match=message):
        read_rerank(reply, 2)


def test_logits_may_be_any_finite_number() -> None:
    reply = results({"index": 0, "relevance_score": -7}, {"index": 1, "relevance_score": 3.5})
    assert read_rerank(reply, 2, logits=True).values == (-7.0, 3.5)
    for wrong in (float("nan"), float("inf"), 10**400, -(10**400)):
        with pytest.raises(ReplyError, match="no finite number"):
            read_rerank(results({"index": 0, "relevance_score": wrong}), 1, logits=True)


def test_classifications() -> None:
    reply = {
        "model": "m", "usage": {"prompt_tokens": 5, "total_tokens": 5},
        "data": [{"index": 1, "probs": [0.25]}, {"index": 0, "probs": [0.5]}],
    }  # fmt: skip
    scores = read_classify(reply, 2)
    assert (scores.values, scores.tokens, scores.model) == ((0.5, 0.25), 5, "m")
    for wrong, message in [
        ([], "no list of classifications"),
        ({"data": [{"index": 0, "probs": [0.5, 0.5]}]}, "2 classes"),
        ({"data": [{"index": 0, "probs": 0.5}]}, "no classes"),
        ({"data": [{"index": 0, "probs": [2.0]}]}, "no probability"),
    ]:
        with pytest.raises(ReplyError, match=message):
            read_classify(wrong, 1)


def test_tokens() -> None:
    assert read_tokenize({"tokens": [1, 2], "max_model_len": 512}) == ((1, 2), None, 512)
    both = {"tokens": [1, 2], "token_strs": ["a", "b"]}
    assert read_tokenize(both) == ((1, 2), ("a", "b"), None)
    # Strings that cannot be these tokens' are not used.
    assert read_tokenize({**both, "token_strs": ["a"]})[1] is None
    assert read_tokenize({**both, "token_strs": ["a", None]})[1] is None
    for wrong in (None, {}, {"tokens": "ab"}, {"tokens": [1, -2]}, {"tokens": [True]}):
        with pytest.raises(ReplyError, match="no list of token ids"):
            read_tokenize(wrong)


def test_models() -> None:
    base = {"id": "m", "root": "/models/m", "parent": None, "max_model_len": 8192}
    adapter = {"id": "lora", "parent": "m"}
    (found,) = read_models({"data": [base, adapter, "noise", {"id": 3}]})
    assert (found.name, found.root, found.max_length) == ("m", "/models/m", 8192)
    (plain,) = read_models({"data": [{"id": "m", "max_model_len": "big"}]})
    assert (plain.root, plain.max_length) == ("m", None)
    with pytest.raises(ReplyError, match="no list of models"):
        read_models([base])


def test_error_bodies() -> None:
    assert error_message({"error": {"message": "m", "code": 400}}) == "m"
    assert error_message({"object": "error", "message": "flat", "code": 400}) == "flat"
    assert error_message({"error": "Unauthorized"}) == "Unauthorized"
    assert error_message({"detail": "Not Found"}) == "Not Found"
    assert error_message({"detail": [{"msg": "bad"}]}) == "[{'msg': 'bad'}]"
    assert error_message({"fine": 1}) is None
    assert error_message("text") is None


def test_a_detail_too_deep_to_print_is_no_crash() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert error_message({"detail": deep}) == "a deeply nested message"


@pytest.mark.parametrize("field", ["index", "relevance_score"])
def test_a_wrong_text_is_named_by_its_type_only(field: str) -> None:
    right = {"index": 0, "relevance_score": 0.5}
    for wrong, description in (("sk-key" * 40, "of type str"), ([], "of type list"), (-2, "-2")):
        with pytest.raises(ReplyError, match=description):
            read_rerank([right | {field: wrong}], 1)
    with pytest.raises(ReplyError, match="a very long number"):
        read_rerank([right | {field: 10**400}], 1)


def test_what_errors_complain_of() -> None:
    # vLLM 0.32 (renderers/params.py), vLLM 0.9, TEI, SGLang.
    assert is_too_long("This model's maximum context length is 512 tokens. However, your prompt")
    assert is_too_long("The prompt is longer than the maximum model length of 512")
    assert is_too_long("`inputs` must have less than 512 tokens. Given: 900")
    assert is_too_long("The input (900 tokens) is longer than the model's context length")
    assert is_too_long("Input exceeds the number of tokens that one request may have")
    assert not is_too_long("The model `x` does not exist.")
    assert is_busy("The engine is currently busy and cannot accept new requests.")
    assert is_busy("The engine has reached its prefill token backlog limit.")
    assert not is_busy("Service Unavailable")
    # vLLM, OpenAI, LiteLLM, Ollama, and a plain gateway.
    assert is_unknown_model("The model `x` does not exist.")
    assert is_unknown_model("The model `x` does not exist or you do not have access to it.")
    assert is_unknown_model("Invalid model name passed in model=x")
    assert is_unknown_model("model 'x' not found, try pulling it first")
    assert is_unknown_model("Unknown model: x")
    assert not is_unknown_model("Not Found")
    assert not is_unknown_model("This model's maximum context length is 512 tokens.")


def test_the_callers_own_texts_are_not_searched_for_a_complaint() -> None:
    # An error may echo them, and each "exceeds" in them would be compared with all that follows.
    assert not is_too_long("It exceeds what was planned" + " for this part" * 20 + " in tokens")
    assert not is_too_long("bad request: " + "word " * 500 + "too long")
    assert not is_busy("bad request: " + "word " * 500 + "busy")


@given(JSON, st.integers(0, 3), st.booleans())
def test_any_reply_is_understood_or_refused(reply: Any, count: int, logits: bool) -> None:
    for read in (read_rerank, read_classify):
        try:
            scores = read(reply, count, logits=logits)
        except ReplyError:
            continue
        assert len(scores.values) == count
        assert logits or all(0 <= value <= 1 for value in scores.values)
    for other in (read_models, read_tokenize):
        try:
            other(reply)
        except ReplyError:
            continue
    error_message(json.loads(json.dumps(reply)))
