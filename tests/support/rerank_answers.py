"""The replies of a rerank server: like vLLM, started right or wrong. No sockets here.

How it was started, and what it scores with, is a `Setup`: by default a hash of the token ids, so
that two prompts score alike if and only if their tokens are the same; `words_in_common`; or a
test's own function, such as the bundled model.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tokenizers

from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from qwen3_ascend_retrievers.core.ranking import sigmoid
from qwen3_ascend_retrievers.models.files import TINY_FOLDER as TINY

Json = Any
# In lower case, as the bundled model's tokenizer returns it.
_PROMPT = re.compile(r"<query>: (.*?)\n<document>: (.*?)<\|im_end\|>", re.DOTALL)


@lru_cache(maxsize=4)
def tokenizer_of(folder: Path = TINY) -> tokenizers.Tokenizer:
    """The tokenizer of a model's folder."""
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@lru_cache(maxsize=100_000)
def tokens_of(text: str, folder: Path = TINY) -> tuple[int, ...]:
    """The tokens of a text, none added."""
    return tuple(tokenizer_of(folder).encode(text, add_special_tokens=False).ids)


def hash_logit(ids: Sequence[int]) -> float:
    """A logit from -6 to 6 that any change of the tokens changes."""
    digest = hashlib.sha256(",".join(map(str, ids)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48 * 12 - 6


def right_logit(query: str, document: str, instruction: str = DEFAULT_INSTRUCTION) -> float:
    """The hash of the exact prompt of clean texts."""
    return hash_logit(tokens_of(query_part(instruction, query) + document_part(document)))


def words_in_common(ids: Sequence[int]) -> float:
    """-4 to 4 by the share of the query's words that the document has; -4 for other texts."""
    match = _PROMPT.search(tokenizer_of().decode(list(ids), skip_special_tokens=False))
    if match is None:
        return -4.0
    query, document = (set(re.findall(r"\w+", text)) for text in match.groups())
    return 8 * len(query & document) / max(1, len(query)) - 4


@dataclass(kw_only=True)
class Setup:
    """How the server was started.

    Attributes:
        template: "none"; "exact"; "official", which lost a newline; "foreign", another prompt.
        overrides: False compares embeddings, as without --hf-overrides.
        heeds_instruction: False drops `instruction`, as vLLM before 0.23.
        knows_activation: False ignores `use_activation`, as vLLM before 0.11.2.
        counts: False leaves out `usage`.
        max_documents: more in one request are refused with 503, as by --max-num-queued-reqs.
        aliases: further names, as after --served-model-name; replies call it by the first.
        echo: what a gateway calls the model in replies, which takes whatever name it is asked for.
        shape: "vllm", "sglang", "jina" or "tei".
        refuses: which documents, as they arrive, are refused with 422.
        folder: of the model whose tokenizer the server has.
        scorer: from token ids to a logit.
    """

    template: str = "none"
    overrides: bool = True
    heeds_instruction: bool = True
    knows_activation: bool = True
    counts: bool = True
    api_key: str | None = None
    model: str = "tiny"
    aliases: tuple[str, ...] = ()
    echo: Callable[[], str] | None = None
    lists_models: bool = True
    max_model_len: int = 8192
    has_tokenize: bool = True
    has_classify: bool = True
    max_documents: int | None = None
    max_bytes: int | None = None
    shape: str = "vllm"
    refuses: Callable[[str], bool] = lambda text: False
    folder: Path = TINY
    scorer: Callable[[Sequence[int]], float] = hash_logit


def rerank_only_setup() -> Setup:
    """A server with no more routes than it needs, which ranks by words in common."""
    return Setup(
        model="words",
        max_model_len=4096,
        has_tokenize=False,
        has_classify=False,
        scorer=words_in_common,
    )


class RefusalError(Exception):
    """A reply with an error status."""

    def __init__(self, status: int, body: Json, **headers: str) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


def vllm_error(status: int, message: str) -> RefusalError:
    """An error in vLLM's form."""
    inner = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return RefusalError(status, {"error": inner})


@dataclass
class RerankAnswers:
    """The replies of a server that was started as `setup` says."""

    setup: Setup

    def routed(self, path: str, headers: dict[str, str], body: Json, size: int) -> Json:
        """The reply to a request whose body has `size` bytes."""
        setup = self.setup
        key = headers.get("authorization")
        guarded = setup.api_key is not None and path.startswith("/v1")
        if guarded and key != f"Bearer {setup.api_key}":
            raise RefusalError(401, {"error": "Unauthorized"})
        if setup.max_bytes is not None and size > setup.max_bytes:
            raise RefusalError(413, {"detail": "Request Entity Too Large"})
        routes: dict[str, tuple[bool, Callable[[Json], Json]]] = {
            "/v1/models": (setup.lists_models, self.models),
            **dict.fromkeys(("/v1/rerank", "/v2/rerank", "/rerank"), (True, self.rerank)),
            "/classify": (setup.has_classify and setup.overrides, self.classify),
            "/tokenize": (setup.has_tokenize, self.tokenize),
        }
        is_served, route = routes.get(path, (False, self.models))
        if not is_served:
            raise RefusalError(404, {"detail": "Not Found"})
        model = body and body.get("model")
        if setup.echo is None and model not in (None, setup.model, *setup.aliases):
            raise vllm_error(404, f"The model `{model}` does not exist.")
        return route(body)

    def headers_of(self, body: Json) -> dict[str, str]:
        """Further headers of a reply."""
        return {}

    def models(self, body: Json) -> Json:
        """The reply of /v1/models."""
        setup = self.setup
        card: Json = {"root": "/models/tiny", "parent": None, "owned_by": "vllm"}
        card["max_model_len"] = setup.max_model_len
        names = (setup.model, *setup.aliases)
        return {"object": "list", "data": [{"id": name} | card for name in names]}

    def tokenize(self, body: Json) -> Json:
        """The reply of /tokenize."""
        ids = tokens_of(body["prompt"], self.setup.folder)
        reply: Json = {"count": len(ids), "tokens": list(ids)}
        if body.get("return_token_strs"):
            to_text = tokenizer_of(self.setup.folder).id_to_token
            reply["token_strs"] = [to_text(token) for token in ids]
        return reply | {"max_model_len": self.setup.max_model_len}

    def classify(self, body: Json) -> Json:
        """The reply of /classify."""
        values = [self._value(ids, body) for ids in body["input"]]
        results = [{"index": at, "probs": [v], "num_classes": 1} for at, v in enumerate(values)]
        return {"data": results, "model": self._model_name()} | self._usage(body["input"])

    def rerank(self, body: Json) -> Json:
        """The reply of /v1/rerank."""
        setup = self.setup
        if body.get("top_n", 0) is None:
            raise vllm_error(400, "Input should be a valid integer")
        documents = body["documents"]
        if any(map(setup.refuses, documents)):
            raise RefusalError(422, {"detail": [{"msg": "documents must not hold this text"}]})
        if not setup.overrides:
            return self._cosines(body["query"], documents)
        prompts = [tokens_of(self._prompt(body, text), setup.folder) for text in documents]
        values = [self._value(ids, body) for ids in prompts]
        order = sorted(range(len(values)), key=lambda at: -values[at])
        return self._shaped([(at, documents[at], values[at]) for at in order], prompts)

    def _shaped(self, ranked: list[tuple[int, str, float]], prompts: Json) -> Json:
        setup = self.setup
        if setup.shape == "sglang":
            return [{"score": v, "document": text, "index": at} for at, text, v in ranked]
        if setup.shape == "tei":
            return [{"index": at, "score": v} for at, _, v in ranked]
        results = [
            {"index": at, "document": {"text": text}, "relevance_score": v}
            for at, text, v in ranked
        ]
        if setup.shape == "jina":
            reply = {"object": "list", "model": self._model_name(), "data": results}
        else:
            reply = {"id": "rerank-1", "model": self._model_name(), "results": results}
        return reply | self._usage(prompts)

    def _prompt(self, body: Json, document: str) -> str:
        setup = self.setup
        instruction = body.get("instruction") if setup.heeds_instruction else None
        query = query_part(instruction or DEFAULT_INSTRUCTION, body["query"])
        if setup.template == "none":
            return str(body["query"] + document)
        if setup.template == "foreign":
            return f"<|im_start|>user\n{body['query']}\n{document}<|im_end|>\n"
        whole = query + document_part(document)
        return whole if setup.template == "exact" else whole[:-1]

    def _value(self, ids: Sequence[int], body: Json) -> float:
        setup = self.setup
        if len(ids) > setup.max_model_len:
            raise vllm_error(
                400,
                f"This model's maximum context length is {setup.max_model_len} tokens. However, "
                f"your prompt contains {len(ids)} input tokens.",
            )
        count = len(body.get("documents", body.get("input", [])))
        if setup.max_documents is not None and count > setup.max_documents:
            raise vllm_error(503, "The engine is currently busy and cannot accept new requests.")
        logit = setup.scorer(ids)
        plain = setup.knows_activation and body.get("use_activation") is False
        return logit if plain else sigmoid(logit)

    def _cosines(self, query: str, documents: Sequence[str]) -> Json:
        values = [cosine(tokens_of(query), tokens_of(text)) for text in documents]
        results = [{"index": at, "relevance_score": v} for at, v in enumerate(values)]
        prompts = [tokens_of(query), *map(tokens_of, documents)]
        return {"model": self._model_name(), "results": results} | self._usage(prompts)

    def _model_name(self) -> str:
        return self.setup.echo() if self.setup.echo else self.setup.model

    def _usage(self, prompts: Sequence[Sequence[int]]) -> Json:
        total = sum(map(len, prompts))
        return {"usage": {"total_tokens": total}} if self.setup.counts else {}


def cosine(query: Sequence[int], document: Sequence[int]) -> float:
    """Of bags of tokens."""
    shared = sum(query.count(token) * document.count(token) for token in set(query))
    lengths = [sum(ids.count(token) ** 2 for token in set(ids)) for ids in (query, document)]
    return shared / math.sqrt(max(1, lengths[0] * lengths[1]))
