"""llama.cpp's server with --rerank; the template is in the GGUF, unless `template` is "none"."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_ascend_retrievers.core.ranking import sigmoid
from support.dialects.base import DialectFake
from support.rerank_answers import Json, RefusalError, tokens_of


def coded_error(status: int, message: str, kind: str, **more: int) -> RefusalError:
    """An error in llama.cpp's form."""
    return RefusalError(
        status, {"error": {"code": status, "message": message, "type": kind} | more}
    )


class LlamacppFake(DialectFake):
    """`Setup.max_bytes` stands for --ubatch-size, in tokens of a pair that cannot be split."""

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        reranks = dict.fromkeys(
            ("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"), self.rerank
        )
        own = {"/v1/models": self.models, "/props": self.props, "/tokenize": self.tokenize}
        return {**own, **reranks}

    def key_refusal(self) -> RefusalError:
        """How it refuses a key."""
        return coded_error(401, "Invalid API Key", "authentication_error")

    def models(self, body: Json) -> Json:
        """The reply of /v1/models."""
        card = {"id": self.setup.model, "object": "model", "owned_by": "llamacpp"}
        return {"object": "list", "data": [card | {"meta": {"n_ctx_train": 40960}}]}

    def props(self, body: Json) -> Json:
        """The reply of /props."""
        return {"default_generation_settings": {"n_ctx": self.setup.max_model_len}}

    def tokenize(self, body: Json) -> Json:
        """The reply of /tokenize: no tokens for a body without `content`."""
        return {"tokens": list(tokens_of(body.get("content", "")))}

    def rerank(self, body: Json) -> Json:
        """The reply of all four routes."""
        scored = self.ranked(body["query"], body["documents"])
        for document in scored:
            count = len(document.ids)
            if self.setup.max_bytes is not None and count > self.setup.max_bytes:
                raise coded_error(
                    500,
                    f"input ({count} tokens) is too large to process. increase the physical batch "
                    f"size (current batch size: {self.setup.max_bytes})",
                    "server_error",
                )
            if count > self.setup.max_model_len:
                raise coded_error(
                    400,
                    f"request ({count} tokens) exceeds the available context size "
                    f"({self.setup.max_model_len} tokens), try increasing it",
                    "exceed_context_size_error",
                    n_prompt_tokens=count,
                    n_ctx=self.setup.max_model_len,
                )
        total = sum(len(document.ids) for document in scored)
        return {
            "model": body.get("model", self.setup.model),
            "object": "list",
            "usage": {"prompt_tokens": total, "total_tokens": total},
            "results": [
                {"index": document.index, "relevance_score": sigmoid(document.logit)}
                for document in scored
            ],
        }
