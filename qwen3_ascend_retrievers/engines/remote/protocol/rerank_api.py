"""The replies of rerank servers, `/classify`, `/tokenize` and `/v1/models`, in every dialect.

Replies are parsed JSON, of which every used value is validated here. Requests are built by the
dialects, sent by http/, which also knows the meaning of HTTP statuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ....errors import ReplyError, ScoreError
from ....settings import is_finite, printed
from .error_bodies import error_message

Headers = Mapping[str, str]

# Digits of a number that an error quotes.
_MAX_NUMBER_LENGTH = 30
# A character is at most four bytes of UTF-8, and a few letters take more in lower case.
_MOST_TOKENS_PER_CHARACTER: Final = 8
# Where prompt tokens of all documents are counted: vLLM, llama.cpp and most others; Cohere and its
# gateways (LiteLLM), SiliconFlow.
_COUNTS: Final = (
    ("usage", "total_tokens"),
    ("usage", "prompt_tokens"),
    ("meta", "billed_units", "total_tokens"),
    ("meta", "tokens", "input_tokens"),
    ("tokens", "input_tokens"),
)
# Text Embeddings Inference has it in a header.
_COUNT_HEADER: Final = "x-compute-tokens"


@dataclass(frozen=True, slots=True)
class ScoreReply:
    """A server's scores of some prompts.

    Attributes:
        values: one number for each, in the order they were sent.
        tokens: prompt tokens of all of them; None if the server does not count.
        model: the model's name; None if the reply has none.
    """

    values: tuple[float, ...]
    tokens: int | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One line of `/v1/models`.

    Attributes:
        name: its name in requests.
        root: the loaded checkpoint; several names may share it.
        max_length: most tokens of a prompt (`max_model_len`); None if not listed.
        owner: `owned_by`; "" if not listed.
    """

    name: str
    root: str
    max_length: int | None
    owner: str = ""


def classify_body(
    model: str | None, prompts: Sequence[Sequence[int]], *, logits: bool = False
) -> dict[str, Any]:
    """A request to `/classify` with the token ids of whole prompts."""
    body: dict[str, Any] = {"input": [list(ids) for ids in prompts]}
    if model is not None:
        body["model"] = model
    if logits:
        body["use_activation"] = False
    return body


def read_rerank(reply: Any, headers: Headers, count: int, *, logits: bool = False) -> ScoreReply:
    """The scores of a rerank reply, in the order of the request.

    Understood are vLLM's and Cohere's `results` with `relevance_score`, Jina's and Voyage's
    `data`, and the bare lists with `score` of SGLang and TEI. Echoed texts are ignored.

    Args:
        reply: the parsed JSON.
        headers: the reply's.
        count: how many documents were sent.
        logits: whether numbers outside [0, 1] are valid.

    Raises:
        ReplyError: another shape, or an index or score that is missing, duplicated or no number.
        ScoreError: a score is no probability.
    """
    entries = reply
    if isinstance(reply, Mapping):
        entries = reply.get("results", reply.get("data"))
    if not isinstance(entries, list):
        raise ReplyError("The reply has no list of results" + _server_message(reply))
    values: dict[int, float] = {}
    for entry in entries:
        _check_entry(entry)
        score = entry.get("score") if "relevance_score" not in entry else entry["relevance_score"]
        _add_score(values, entry.get("index"), score, count, logits=logits)
    tokens = _counted_tokens(reply, headers)
    return ScoreReply(_all_scores(values, count), tokens, _reply_model(reply))


def read_classify(reply: Any, headers: Headers, count: int, *, logits: bool = False) -> ScoreReply:
    """The scores of a classify reply, in the order of the request.

    Raises:
        ReplyError: another shape, more than one class, or a wrong index or score.
    """
    entries = reply.get("data") if isinstance(reply, Mapping) else None
    if not isinstance(entries, list):
        raise ReplyError("The reply has no list of classifications" + _server_message(reply))
    values: dict[int, float] = {}
    for entry in entries:
        _check_entry(entry)
        probs = entry.get("probs")
        if not isinstance(probs, list) or len(probs) != 1:
            raise ReplyError(
                f"The model has {len(probs) if isinstance(probs, list) else 'no'} classes where a "
                "Qwen3 reranker has one"
            )
        _add_score(values, entry.get("index"), probs[0], count, logits=logits)
    tokens = _counted_tokens(reply, headers)
    return ScoreReply(_all_scores(values, count), tokens, _reply_model(reply))


def read_token_ids(reply: Any) -> tuple[tuple[int, ...], tuple[str, ...] | None]:
    """Token ids, and the tokens' strings if they are sent.

    Raises:
        ReplyError: there are no ids.
    """
    ids = reply.get("tokens") if isinstance(reply, Mapping) else None
    if not isinstance(ids, list) or not all(_is_int(token) and token >= 0 for token in ids):
        raise ReplyError("The reply has no list of token ids" + _server_message(reply))
    strings = reply.get("token_strs")
    if not isinstance(strings, list) or not all(isinstance(string, str) for string in strings):
        strings = None
    if strings is not None and len(strings) != len(ids):
        strings = None
    return tuple(ids), None if strings is None else tuple(strings)


def check_tokens(text: str, ids: Sequence[int]) -> None:
    """Raise ReplyError if these cannot be a text's tokens, as where a route expects other fields.

    llama.cpp answers with no tokens where it finds no field that it knows.
    """
    if (text and not ids) or len(ids) > _MOST_TOKENS_PER_CHARACTER * len(text):
        raise ReplyError(f"The reply has {len(ids)} tokens for a text of {len(text)} characters")


def read_models(reply: Any) -> list[ServedModel]:
    """The base models that a server lists; adapters on top of one are left out.

    Raises:
        ReplyError: the reply is no list of models.
    """
    entries = reply.get("data") if isinstance(reply, Mapping) else None
    if not isinstance(entries, list):
        raise ReplyError("The reply has no list of models" + _server_message(reply))
    models = []
    for entry in entries:
        if not isinstance(entry, Mapping) or entry.get("parent"):
            continue
        name, root = entry.get("id"), entry.get("root")
        if isinstance(name, str):
            root = root if isinstance(root, str) else name
            owner = entry.get("owned_by")
            owner = owner if isinstance(owner, str) else ""
            models.append(ServedModel(name, root, _max_model_len(entry), owner))
    return models


def _server_message(reply: Any) -> str:
    message = error_message(reply)
    return f"; the server says: {message}" if message else ""


def _check_entry(entry: Any) -> None:
    # Parsed JSON has no other mappings, and an instance check of those is slow.
    if not isinstance(entry, dict):
        raise ReplyError(f"An entry of the reply is no object but {type(entry).__name__}")


def _add_score(
    values: dict[int, float], index: Any, value: Any, count: int, *, logits: bool
) -> None:
    """Add one entry's score, once it and its index are checked."""
    if not _is_int(index) or not 0 <= index < count:
        raise ReplyError(f"The reply has the index {_printable_value(index)} for {count} inputs")
    if not is_finite(value):
        expected = "finite number" if logits else "probability"
        raise ReplyError(f"The reply's score {_printable_value(value)} is no {expected}")
    if not (logits or 0 <= value <= 1):
        raise ScoreError(
            f"The reply's score {_printable_value(value)} is no probability. If the server "
            "returns logits, say scores='logit'"
        )
    if index in values:
        raise ReplyError(f"The reply has index {index} twice, for {count} inputs")
    values[index] = float(value)


def _all_scores(values: dict[int, float], count: int) -> tuple[float, ...]:
    if len(values) != count:
        absent = next(index for index in range(count) if index not in values)
        raise ReplyError(f"The reply has {len(values)} of {count} scores; {absent} is missing")
    return tuple(values[index] for index in range(count))


def _counted_tokens(reply: Any, headers: Headers) -> int | None:
    """Prompt tokens of all documents, wherever they are; None if they are nowhere."""
    for path in _COUNTS:
        value = reply
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        if _is_int(value) and value > 0:
            return int(value)
    header = headers.get(_COUNT_HEADER, "")
    is_number = header.isascii() and header.isdigit() and len(header) <= _MAX_NUMBER_LENGTH
    return int(header) or None if is_number else None


def _max_model_len(entry: Mapping[str, Any]) -> int | None:
    meta: Any = entry.get("meta")
    # llama.cpp has it as the context of one slot.
    fallback = meta.get("n_ctx") if isinstance(meta, Mapping) else None
    length: Any = entry.get("max_model_len", fallback)
    return length if _is_int(length) and length > 0 else None


def _reply_model(reply: Any) -> str | None:
    name = reply.get("model") if isinstance(reply, Mapping) else None
    return name if isinstance(name, str) and name else None


def _printable_value(value: Any) -> str:
    """A reply's value for an error's message: a text only by its type, as it may echo anything."""
    if value is None or isinstance(value, bool | int | float):
        text = printed(value)
        return text if len(text) <= _MAX_NUMBER_LENGTH else "a very long number"
    return f"of type {type(value).__name__}"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
