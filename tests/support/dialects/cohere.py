"""LiteLLM's proxy in front of vLLM, and the servers and vendors that differ in a few parameters."""

from __future__ import annotations

from collections.abc import Callable

from qwen3_ascend_retrievers.core.ranking import sigmoid
from support.dialects.base import DialectFake, Scored
from support.rerank_answers import Json, RefusalError


def litellm_error(status: int, message: str) -> RefusalError:
    """An error in LiteLLM's form: the code is a str, and what was behind it is quoted."""
    return RefusalError(
        status, {"error": {"message": message, "type": None, "param": None, "code": str(status)}}
    )


class CohereFake(DialectFake):
    """LiteLLM: counts in `meta`; `instruction` is passed on, other fields are dropped."""

    instruction_field: str | None = "instruction"

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        reranks = dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), self.rerank)
        return {"/v1/models": self.models, **reranks}

    def key_refusal(self) -> RefusalError:
        """How it refuses a key."""
        return litellm_error(401, "Authentication Error, No api key passed in.")

    def models(self, body: Json) -> Json:
        """The reply of /v1/models."""
        card = {"id": self.setup.model, "object": "model", "created": 1677610602}
        return {"object": "list", "data": [card | {"owned_by": "openai"}]}

    def rerank(self, body: Json) -> Json:
        """The reply of a rerank route."""
        self.check(body)
        instruction = body.get(self.instruction_field) if self.instruction_field else None
        scored = self.ranked(body["query"], body["documents"], instruction)
        self.check_lengths(scored)
        results = [
            {"index": document.index, "relevance_score": sigmoid(document.logit)}
            for document in scored
        ]
        return {"id": "rerank-1", "results": results[: body.get("top_n", 1)], **self.counts(scored)}

    def check(self, body: Json) -> None:
        """Refuse a model that it does not have."""
        if body.get("model") != self.setup.model:
            raise litellm_error(
                400,
                f"400: {{'error': '/rerank: Invalid model name passed in "
                f"model={body.get('model')}. Call `/v1/models` to view available models'}}",
            )

    def check_lengths(self, scored: list[Scored]) -> None:
        """Refuse prompts that are too long for the server behind it."""
        for document in scored:
            if len(document.ids) > self.setup.max_model_len:
                raise litellm_error(
                    400,
                    "litellm.ContextWindowExceededError: Hosted_vllmException - This model's "
                    f"maximum context length is {self.setup.max_model_len} tokens. However, your "
                    f"prompt contains {len(document.ids)} input tokens.",
                )

    def counts(self, scored: list[Scored]) -> Json:
        """The part of a reply that counts tokens."""
        total = sum(len(document.ids) for document in scored)
        counts = {"billed_units": {"total_tokens": total}, "tokens": {"input_tokens": total}}
        return {"meta": counts} if self.setup.counts else {}


class GpustackFake(CohereFake):
    """GPUStack in front of vLLM: its counts are vLLM's."""

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        return {"/v1/models": self.models, "/v1/rerank": self.rerank}

    def models(self, body: Json) -> Json:
        """The reply of /v1/models."""
        card = {"id": self.setup.model, "object": "model", "owned_by": "gpustack"}
        return {"object": "list", "data": [card]}

    def check(self, body: Json) -> None:
        """Refuse a model that it does not have."""
        if body.get("model") != self.setup.model:
            error = {"message": "Model not found", "code": 404, "type": "NotFound"}
            raise RefusalError(404, {"error": error})

    def counts(self, scored: list[Scored]) -> Json:
        """The part of a reply that counts tokens."""
        return {"usage": {"total_tokens": sum(len(document.ids) for document in scored)}}


class InfinityFake(CohereFake):
    """Infinity: white space is cut off, and `usage` counts characters."""

    instruction_field = None

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        return {"/v1/models": self.models, "/rerank": self.rerank}

    def models(self, body: Json) -> Json:
        """The reply of /models."""
        card = {"id": self.setup.model, "object": "model", "owned_by": "infinity"}
        return {"object": "list", "data": [card | {"capabilities": ["rerank"]}]}

    def prompt(self, query: str, text: str, instruction: str | None = None) -> str:
        """What the model is asked."""
        return query.strip() + text.strip()

    def counts(self, scored: list[Scored]) -> Json:
        """The part of a reply that counts characters."""
        total = sum(len(document.text) for document in scored)
        return {"usage": {"prompt_tokens": total, "total_tokens": total}}


class XinferenceFake(CohereFake):
    """Xinference's sentence_transformers engine: its own template, nothing is counted."""

    instruction_field = None

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        return {"/v1/models": self.models, "/v1/rerank": self.rerank}

    def models(self, body: Json) -> Json:
        """The reply of /v1/models."""
        card = {"id": self.setup.model, "object": "model", "owned_by": "xinference"}
        return {"object": "list", "data": [card | {"model_type": "rerank"}]}

    def check(self, body: Json) -> None:
        """Refuse a model that it does not have."""
        if body.get("model") != self.setup.model:
            raise RefusalError(
                404, {"detail": f"Model not found in the model list, uid: {body.get('model')}"}
            )

    def counts(self, scored: list[Scored]) -> Json:
        """The part of a reply that counts nothing."""
        nothing = dict.fromkeys(("api_version", "billed_units", "tokens", "warnings"))
        return {"meta": nothing}


class DashscopeFake(CohereFake):
    """DashScope: another path and field, blank texts fail the request, paid texts are counted."""

    instruction_field = "instruct"

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        return {"/compatible-api/v1/reranks": self.rerank}

    def key_refusal(self) -> RefusalError:
        """How it refuses a key."""
        body = {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "1"}
        return RefusalError(401, body)

    def check(self, body: Json) -> None:
        """Refuse a wrong model, too many texts, a blank one."""
        if body.get("model") != self.setup.model:
            raise self._invalid(404, "Model not exist.", "ModelNotFound")
        most = self.setup.max_documents or 500
        if len(body["documents"]) > most:
            raise self._invalid(
                400,
                "<400> InternalError.Algo.InvalidParameter: Value error, batch size of documents "
                f"is invalid, it should not be empty or larger than {most}.: input.documents",
            )
        if not all(text.strip() for text in body["documents"]):
            raise self._invalid(
                400,
                "<400> InternalError.Algo.InvalidParameter: Value error, text input should not be "
                "empty.: input.documents",
            )

    def counts(self, scored: list[Scored]) -> Json:
        """The part of a reply that counts what is paid for."""
        return {"usage": {"total_tokens": sum(len(document.text) for document in scored)}}

    def _invalid(self, status: int, message: str, code: str = "InvalidParameter") -> RefusalError:
        return RefusalError(status, {"code": code, "message": message, "request_id": "1"})


class SiliconflowFake(CohereFake):
    """SiliconFlow: some errors are bare strings, counts are in `tokens`."""

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        return {"/v1/rerank": self.rerank}

    def key_refusal(self) -> RefusalError:
        """How it refuses a key."""
        return RefusalError(401, b'"Invalid token"')

    def check(self, body: Json) -> None:
        """Refuse a wrong model and too many texts."""
        if body.get("model") != self.setup.model:
            raise self._numbered(400, 20012, "Model does not exist. Please check it carefully.")
        most = self.setup.max_documents or 64
        if len(body["documents"]) > most:
            count = len(body["documents"])
            raise self._numbered(
                413, 20042, f"input batch size {count} > maximum allowed batch size {most}"
            )

    def check_lengths(self, scored: list[Scored]) -> None:
        """Refuse prompts that are too long."""
        for document in scored:
            if len(document.ids) >= self.setup.max_model_len:
                raise self._numbered(
                    400,
                    20015,
                    f"length of prompt_tokens ({len(document.ids)}) must be less than max_seq_len "
                    f"({self.setup.max_model_len}).",
                )

    def counts(self, scored: list[Scored]) -> Json:
        """The part of a reply that counts."""
        total = sum(len(document.ids) for document in scored)
        return {"tokens": {"input_tokens": total, "output_tokens": 0}}

    def _numbered(self, status: int, code: int, message: str) -> RefusalError:
        return RefusalError(status, {"code": code, "message": message, "data": None})
