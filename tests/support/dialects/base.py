"""What the fakes of all dialects share: the prompt, its tokens, and its score. No sockets here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from support.rerank_answers import Json, RefusalError, RerankAnswers, tokens_of

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Scored:
    """One document with its prompt's tokens and its logit."""

    index: int
    text: str
    ids: Ids
    logit: float


class DialectFake(RerankAnswers):
    """A server of another family, started as a `Setup` says."""

    def routed(self, path: str, headers: dict[str, str], body: Json, size: int) -> Json:
        """The reply to a request."""
        route = self.routes().get(path)
        self.check_key(path, headers)
        if route is None:
            raise RefusalError(404, {"detail": "Not Found"})
        return route(body)

    def routes(self) -> dict[str, Callable[[Json], Json]]:
        """Path -> reply."""
        raise NotImplementedError

    def check_key(self, path: str, headers: dict[str, str]) -> None:
        """Refuse a request without the right key."""
        key = self.setup.api_key
        if key is not None and headers.get("authorization") != f"Bearer {key}":
            raise self.key_refusal()

    def key_refusal(self) -> RefusalError:
        """How it refuses a key."""
        return RefusalError(401, {"error": "Unauthorized"})

    def ranked(
        self, query: str, texts: Sequence[str], instruction: str | None = None
    ) -> list[Scored]:
        """The documents, best first."""
        prompts = [tokens_of(self.prompt(query, text, instruction)) for text in texts]
        scored = [
            Scored(at, text, ids, self.setup.scorer(ids))
            for at, (text, ids) in enumerate(zip(texts, prompts, strict=True))
        ]
        return sorted(scored, key=lambda document: -document.logit)

    def prompt(self, query: str, text: str, instruction: str | None = None) -> str:
        """What the model is asked: as the client sent it, or with the server's own template."""
        if self.setup.template == "none":
            return query + text
        return query_part(instruction or DEFAULT_INSTRUCTION, query) + document_part(text)
