"""The words of `/v1/rerank`, `/classify`, `/tokenize` and `/v1/models`: bodies out, replies in.

Replies are JSON that was already parsed; nothing of them is trusted but what is checked here.
Sending, retrying and the meaning of HTTP statuses are the remote engine's job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....errors import ReplyError
from ....settings import is_finite, printed
from .error_bodies import error_message

# Digits of a number that an error shows.
_LONGEST_NUMBER = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said of some prompts.

    Attributes:
        values: one number for each, in the order they were sent.
        tokens: prompt tokens of all of them; None if the server does not count.
        model: the model's name; None if the server does not say.
    """

    values: tuple[float, ...]
    tokens: int | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One line of `/v1/models`.

    Attributes:
        name: what requests must call it.
        root: what was loaded; several names may share it.
        max_length: most tokens of a prompt (`max_model_len`); None if not said.
    """

    name: str
    root: str
    max_length: int | None


def rerank_body(
    model: str | None,
    query: str,
    documents: Sequence[str],
    *,
    instruction: str | None = None,
    logits: bool = False,
) -> dict[str, Any]:
    """A request to `/v1/rerank`. `top_n` is never sent: all scores are wanted."""
    body: dict[str, Any] = {"query": query, "documents": list(documents)}
    return _with_common(body, model, logits) | (
        {} if instruction is None else {"instruction": instruction}
    )


def classify_body(
    model: str | None, prompts: Sequence[Sequence[int]], *, logits: bool = False
) -> dict[str, Any]:
    """A request to `/classify` with the token ids of whole prompts."""
    return _with_common({"input": [list(ids) for ids in prompts]}, model, logits)


def tokenize_body(model: str | None, text: str) -> dict[str, Any]:
    """A request to `/tokenize` for the tokens of `text` and nothing else."""
    body = {"prompt": text, "add_special_tokens": False, "return_token_strs": True}
    return _with_common(body, model, False)


def _with_common(body: dict[str, Any], model: str | None, logits: bool) -> dict[str, Any]:
    if model is not None:
        body["model"] = model
    if logits:
        body["use_activation"] = False
    return body


def read_rerank(reply: Any, count: int, *, logits: bool = False) -> Answer:
    """The scores of a rerank reply, in the order of the request.

    Understood are vLLM's and Cohere's `results` with `relevance_score`, Jina's and Voyage's
    `data`, and the bare lists with `score` of SGLang and TEI. Echoed texts are not looked at.

    Args:
        reply: the parsed JSON.
        count: how many documents were sent.
        logits: whether numbers outside [0, 1] are fine.

    Raises:
        ReplyError: another shape, or an index or score that is missing, doubled or wrong.
    """
    items = reply
    if isinstance(reply, Mapping):
        items = reply.get("results", reply.get("data"))
    if not isinstance(items, list):
        raise ReplyError("The reply has no list of results" + _told(reply))
    values: dict[int, float] = {}
    for item in items:
        score = _field(item, "relevance_score", "score")
        _keep(values, _index(item, count), _number(score, logits), count)
    return Answer(_complete(values, count), _tokens(reply), _model(reply))


def read_classify(reply: Any, count: int, *, logits: bool = False) -> Answer:
    """The scores of a classify reply, in the order of the request.

    Raises:
        ReplyError: another shape, more than one class, or a wrong index or score.
    """
    items = reply.get("data") if isinstance(reply, Mapping) else None
    if not isinstance(items, list):
        raise ReplyError("The reply has no list of classifications" + _told(reply))
    values: dict[int, float] = {}
    for item in items:
        probs = _field(item, "probs")
        if not isinstance(probs, list) or len(probs) != 1:
            raise ReplyError(
                f"The model has {len(probs) if isinstance(probs, list) else 'no'} classes where a "
                "Qwen3 reranker has one"
            )
        _keep(values, _index(item, count), _number(probs[0], logits), count)
    return Answer(_complete(values, count), _tokens(reply), _model(reply))


def read_tokenize(reply: Any) -> tuple[tuple[int, ...], tuple[str, ...] | None, int | None]:
    """Token ids, the tokens' strings if they were sent, and the model's maximum if it was.

    Raises:
        ReplyError: there are no ids.
    """
    ids = reply.get("tokens") if isinstance(reply, Mapping) else None
    if not isinstance(ids, list) or not all(_is_int(one) and one >= 0 for one in ids):
        raise ReplyError("The reply has no list of token ids" + _told(reply))
    strings = reply.get("token_strs")
    if not isinstance(strings, list) or not all(isinstance(one, str) for one in strings):
        strings = None
    if strings is not None and len(strings) != len(ids):
        strings = None
    return tuple(ids), None if strings is None else tuple(strings), _length(reply)


def read_models(reply: Any) -> list[ServedModel]:
    """The base models that a server lists; adapters on top of one are left out.

    Raises:
        ReplyError: the reply is no list of models.
    """
    items = reply.get("data") if isinstance(reply, Mapping) else None
    if not isinstance(items, list):
        raise ReplyError("The reply has no list of models" + _told(reply))
    models = []
    for item in items:
        if isinstance(item, Mapping) and isinstance(item.get("id"), str) and not item.get("parent"):
            root = item.get("root")
            name = item["id"]
            models.append(ServedModel(name, root if isinstance(root, str) else name, _length(item)))
    return models


def _told(reply: Any) -> str:
    message = error_message(reply)
    return f"; the server says: {message}" if message else ""


def _field(item: Any, *names: str) -> Any:
    if not isinstance(item, Mapping):
        raise ReplyError(f"An entry of the reply is no object but {type(item).__name__}")
    return next((item[name] for name in names if name in item), None)


def _index(item: Any, count: int) -> int:
    index = _field(item, "index")
    if not _is_int(index) or not 0 <= index < count:
        raise ReplyError(f"The reply has the index {_named(index)} for {count} inputs")
    return int(index)


def _number(value: Any, logits: bool) -> float:
    if not is_finite(value) or not (logits or 0 <= value <= 1):
        what = "finite number" if logits else "probability"
        raise ReplyError(f"The reply's score {_named(value)} is no {what}")
    return float(value)


def _keep(values: dict[int, float], index: int, value: float, count: int) -> None:
    if index in values:
        raise ReplyError(f"The reply has index {index} twice, for {count} inputs")
    values[index] = value


def _complete(values: dict[int, float], count: int) -> tuple[float, ...]:
    if len(values) != count:
        missing = next(at for at in range(count) if at not in values)
        raise ReplyError(f"The reply has {len(values)} of {count} scores; {missing} is missing")
    return tuple(values[at] for at in range(count))


def _tokens(reply: Any) -> int | None:
    usage = reply.get("usage") if isinstance(reply, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    found = usage.get("total_tokens", usage.get("prompt_tokens"))
    return found if _is_int(found) and found > 0 else None


def _length(item: Mapping[str, Any]) -> int | None:
    longest: Any = item.get("max_model_len")
    return longest if _is_int(longest) and longest > 0 else None


def _model(reply: Any) -> str | None:
    name = reply.get("model") if isinstance(reply, Mapping) else None
    return name if isinstance(name, str) and name else None


def _named(value: Any) -> str:
    """A value of a reply as an error shows it: a text only by its type, it may echo anything."""
    if value is None or isinstance(value, bool | int | float):
        text = printed(value)
        return text if len(text) <= _LONGEST_NUMBER else "a very long number"
    return f"of type {type(value).__name__}"


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
