"""SGLang 0.5.23: `Setup.template` "exact" generates "yes" or "no", "none" is a classifier."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_ascend_retrievers.core.ranking import sigmoid
from support.dialects.base import DialectFake
from support.rerank_answers import Json, RefusalError, tokens_of


def flat_error(status: int, message: str, code: int = 400) -> RefusalError:
    """An error in SGLang's form."""
    body = {"object": "error", "message": message, "type": "BadRequestError", "param": None}
    return RefusalError(status, body | {"code": code})


class SglangFake(DialectFake):
    """`Setup.max_documents` is the queue's size."""

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        return {
            "/v1/models": self.models,
            "/model_info": self.model_info,
            "/tokenize": self.tokenize,
            "/v1/rerank": self.rerank,
        }

    def models(self, body: Json) -> Json:
        """The reply of /v1/models."""
        card = {"id": self.setup.model, "object": "model", "owned_by": "sglang", "parent": None}
        card |= {"root": "/models/tiny", "max_model_len": self.setup.max_model_len}
        return {"object": "list", "data": [card]}

    def model_info(self, body: Json) -> Json:
        """The reply of /model_info."""
        return {"model_path": "/models/tiny", "is_generation": self.setup.template != "none"}

    def tokenize(self, body: Json) -> Json:
        """The reply of /tokenize."""
        ids = list(tokens_of(body["prompt"]))
        # The tokenizer's own maximum, not the server's.
        return {"tokens": ids, "count": len(ids), "max_model_len": 131072}

    def rerank(self, body: Json) -> Json:
        """The reply of /v1/rerank."""
        for document in body["documents"]:
            if not document.strip():
                raise flat_error(400, "Each document must be a non-empty string")
        most = self.setup.max_documents
        if most is not None and len(body["documents"]) > most:
            raise flat_error(400, "503: The request queue is full.")
        scored = self.ranked(body["query"], body["documents"], body.get("instruct"))
        for document in scored:
            if len(document.ids) >= self.setup.max_model_len:
                raise flat_error(
                    400,
                    f"The input ({len(document.ids)} tokens) is longer than the model's context "
                    f"length ({self.setup.max_model_len} tokens).",
                )
        generates = self.setup.template != "none"
        return [
            {
                "score": sigmoid(document.logit) if generates else document.logit,
                "index": document.index,
                "meta_info": None,
            }
            for document in scored
        ]
