"""Text Embeddings Inference 1.9; with `Setup.template` "exact" as mis-tei with DEFAULT_PROMPT."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_ascend_retrievers.core.ranking import sigmoid
from support.dialects.base import DialectFake
from support.rerank_answers import Json, RefusalError, tokens_of


def typed_error(status: int, message: str, kind: str = "Validation") -> RefusalError:
    """An error in TEI's form."""
    return RefusalError(status, {"error": message, "error_type": kind})


class TeiFake(DialectFake):
    """`Setup.max_documents` is --max-client-batch-size, 32 by default."""

    model_type = "reranker"
    _tokens = 0

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        return {"/info": self.info, "/tokenize": self.tokenize, "/rerank": self.rerank}

    def key_refusal(self) -> RefusalError:
        """How it refuses a key: with an empty body."""
        return RefusalError(401, b"")

    def headers_of(self, body: Json) -> dict[str, str]:
        """The counts of the last reply."""
        counts = {"x-compute-tokens": str(self._tokens), "x-compute-type": "gpu+optimized"}
        return counts if body and "texts" in body and self.setup.counts else {}

    def info(self, body: Json) -> Json:
        """The reply of /info."""
        return {
            "model_id": "/models/tiny",
            "model_type": {self.model_type: {"id2label": {"0": "LABEL_0"}}},
            "max_input_length": self.setup.max_model_len,
            "max_client_batch_size": self.setup.max_documents or 32,
            "auto_truncate": True,
            "version": "1.9.3",
        }

    def tokenize(self, body: Json) -> Json:
        """The reply of /tokenize."""
        return [
            [{"id": token, "text": "?", "special": False} for token in tokens_of(body["inputs"])]
        ]

    def rerank(self, body: Json) -> Json:
        """The reply of /rerank."""
        most = self.setup.max_documents or 32
        if len(body["texts"]) > most:
            raise typed_error(
                422, f"batch size {len(body['texts'])} > maximum allowed batch size {most}"
            )
        scored = self.ranked(body["query"], body["texts"])
        for document in scored:
            if len(document.ids) > self.setup.max_model_len and body.get("truncate") is False:
                raise typed_error(
                    422,
                    f"Input validation error: `inputs` must have less than "
                    f"{self.setup.max_model_len} tokens. Given: {len(document.ids)}",
                )
        self._tokens = sum(len(document.ids) for document in scored)
        is_raw = body.get("raw_scores", False)
        return [
            {
                "index": document.index,
                "score": document.logit if is_raw else sigmoid(document.logit),
            }
            for document in scored
        ]
