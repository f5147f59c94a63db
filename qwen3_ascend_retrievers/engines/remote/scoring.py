"""Scores the passages of one plan on one server: batches, splitting, truncation, merging."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Final

from ...core.agreement import kind_of, look_like_probabilities
from ...core.plan import Plan, Query
from ...core.prompt import DEFAULT_INSTRUCTION, document_part
from ...core.ranking import PassageScore, Score, Unscored
from ...core.tokens import Tokens, estimate
from ...errors import EngineError, ReplyError, StatusError, TemplateMismatchError, TooLongError
from ..base import Call
from .batches import RequestBatch, batches_of
from .config import MAX_TOKENS, RemoteConfig
from .http.concurrency import run_concurrently
from .http.failures import RequestFailure, with_advice
from .http.retrying import ApiRequest, RetryingClient
from .limits import LearnedLimits
from .protocol.dialects.base import least
from .protocol.rerank_api import ScoreReply
from .protocol.template_owner import NO_PLACE_FOR_INSTRUCTION, counts_differ
from .replicas import ServerProfile
from .requests import classify_request, passages_request

Encode = Callable[[Sequence[str]], Awaitable[Sequence[Tokens]]]
# From whether logits are requested to the request.
BuildRequest = Callable[[bool], ApiRequest]
# A document that no server has a reason to refuse.
_HARMLESS_DOCUMENT: Final = "a"
_FEWER_DOCUMENTS: Final = "Lower batch_size=... in RemoteEngine."
# Tokens are not spread evenly over a text.
_CAUTION: Final = 0.9
# Refusals of a whole request that its parts may not get.
_SPLIT_KINDS: Final = ("too_long", "too_many", "busy", "document")


class ServerChanged(Exception):  # noqa: N818 - internal: the server differs from its profile
    """A reply's token count or model contradicts the handshake; `error` says how."""

    def __init__(self, error: ReplyError | TemplateMismatchError) -> None:
        super().__init__(str(error))
        self.error = error


class Scoring:
    """One ranking on one server.

    Args:
        client: asks the server.
        profile: the handshake's result.
        config: the engine's settings.
        encode: encodes texts whose token ids are needed and not in the plan.
        limits: what the server was found to take; more is learnt here.
    """

    def __init__(
        self,
        client: RetryingClient,
        profile: ServerProfile,
        config: RemoteConfig,
        encode: Encode,
        limits: LearnedLimits,
    ) -> None:
        self._client = client
        self._profile = profile
        self._config = config
        self._encode = encode
        self._limits = limits

    async def run(self, plan: Plan, call: Call) -> list[PassageScore]:
        """One score for each passage, in order; Unscored where the server refuses only its text.

        Raises:
            RequestFailure: a request failed for good.
            StatusError: the server refuses every one of the texts.
            TooLongError: a document does not fit the server even after truncating it further.
            TemplateMismatchError: a custom instruction could not take effect.
            ServerChanged: the server differs from its profile.
            RerankCancelled: the caller wanted to stop.
        """
        scores: dict[int, list[PassageScore]] = {}

        async def job(batch: RequestBatch) -> None:
            scores[batch.start] = await self._score_batch(batch, call)

        # Lazily: the loop that all callers share is never busy with the whole of a long call.
        await run_concurrently(partial(job, batch) for batch in self._batches(plan))
        ordered = [score for start in sorted(scores) for score in scores[start]]
        unscored = [score for score in ordered if isinstance(score, Unscored)]
        if unscored and len(unscored) == len(ordered):
            raise unscored[0].error
        return ordered

    def _batches(self, plan: Plan) -> Iterator[RequestBatch]:
        batch_size, limits = self._config.batch_size, self._limits
        max_count = least(batch_size, self._profile.dialect.max_documents, limits.documents)
        max_tokens = least(MAX_TOKENS, limits.tokens)
        return batches_of(
            plan, max_count=max_count or batch_size, max_tokens=max_tokens or MAX_TOKENS
        )

    async def _score_batch(
        self, batch: RequestBatch, call: Call, *, isolating: bool = False
    ) -> list[PassageScore]:
        """Scores of one request's documents; `isolating` once one of them is refused for sure."""
        call.check()
        try:
            scores = await self._request_scores(batch)
        except RequestFailure as failure:
            if failure.kind == "document" and not isolating:
                await self._check_request(batch, failure)
                isolating = True
            if len(batch) > 1 and failure.kind in _SPLIT_KINDS:
                return await self._score_parts(batch, call, failure, isolating=isolating)
            if failure.kind == "too_many":
                raise with_advice(failure, _FEWER_DOCUMENTS) from failure
            if failure.kind == "document":
                scores = [await self._score_refused(batch)]
            elif failure.kind == "too_long":
                return [await self._score_shortened(batch, call, failure)]
            else:
                raise
        call.advance(len(batch))
        return scores

    async def _score_parts(
        self,
        batch: RequestBatch,
        call: Call,
        failure: RequestFailure,
        *,
        isolating: bool,
    ) -> list[PassageScore]:
        """The scores of a request that was refused as a whole, in parts; its limit is learnt."""
        size = len(batch) // 2
        if failure.kind == "too_many" and failure.most is not None:
            size = min(max(failure.most, 1), len(batch) - 1)
        scores: list[PassageScore] = []
        for part in batch.parts(size):
            scores += await self._score_batch(part, call, isolating=isolating)
        if failure.kind == "too_many":
            self._limits.learn("documents", size)
        whole = all(isinstance(score, Score) and score.kept is None for score in scores)
        if failure.kind == "too_long" and whole:
            self._limits.learn("tokens", sum(batch.sizes()) * size // len(batch))
        return scores

    async def _check_request(self, batch: RequestBatch, failure: RequestFailure) -> None:
        """Raise `failure` unless the server accepts the same request with a harmless document.

        So a request that is wrong as a whole costs one more, and not two for each document.
        """
        try:
            await self._request_scores(batch.with_text(_HARMLESS_DOCUMENT))
        except RequestFailure:
            raise failure from failure.__cause__

    async def _score_refused(self, batch: RequestBatch) -> PassageScore:
        """The score of a refused document, by token ids if they can be sent; else Unscored."""
        mode = self._profile.mode
        by_ids = mode.fallback and self._config.requested.protocol == "auto"
        try:
            (score,) = await self._request_scores(batch, by_ids=by_ids)
        except RequestFailure as failure:
            if failure.kind != "document":
                raise
            index = batch.plan.input_of(batch.start)
            return Unscored(_refused_document(index, failure.error))
        return score

    async def _score_shortened(
        self, batch: RequestBatch, call: Call, failure: RequestFailure
    ) -> PassageScore:
        """The score of a document that is too long for the server, cut to half of it.

        If that is refused too, to what fits the limit that the refusal names, if it names one.
        """
        if failure.most is not None:
            self._limits.learn("prompt_tokens", failure.most)
        text = batch.plan.passages[batch.start].text
        length = len(text) // 2
        if batch.kept is not None:
            fitting = int(len(text) * _share_that_fits(text, batch.query, failure.most))
            length = fitting if batch.kept == length > fitting else 0
        if length == 0:
            index = batch.plan.input_of(batch.start)
            raise TooLongError(
                f"documents[{index}] does not fit the server, even when cut. Set max_length to "
                f"the server's --max-model-len, or shorten it or the query. {failure}",
                index=index,
            ) from failure.error
        (score,) = await self._score_batch(batch.with_text(text[:length]), call)
        return score

    async def _request_scores(
        self, batch: RequestBatch, *, by_ids: bool = False
    ) -> list[PassageScore]:
        by_ids = by_ids or self._needs_ids(batch)
        build = await self._classify(batch) if by_ids else self._rerank(batch)
        logits = self._profile.mode.logits or by_ids
        reply = await self._send(build(logits))
        self._check_token_count(batch, reply)
        if logits and look_like_probabilities(reply.values):
            probabilities = await self._send(build(False))
            kind = kind_of(reply.values, probabilities.values)
            if kind == "neither":
                raise ServerChanged(
                    ReplyError("The server's logits and probabilities do not match.")
                )
            logits = kind == "logits"
            reply = reply if logits else probabilities
        are_logits = logits or (not by_ids and self._profile.mode.plain == "logit")
        if are_logits:
            return [Score.of_logit(value, batch.kept) for value in reply.values]
        return [Score(value, None, batch.kept) for value in reply.values]

    async def _send(self, request: ApiRequest) -> ScoreReply:
        reply: ScoreReply = await self._client.ask(request)
        return reply

    def _needs_ids(self, batch: RequestBatch) -> bool:
        """Whether these must be sent to `/classify`.

        Raises:
            TemplateMismatchError: the instruction would be ignored, and there is no other route.
        """
        mode = self._profile.mode
        if mode.route == "classify":
            return True
        is_default = batch.query.instruction == DEFAULT_INSTRUCTION
        if mode.template == "none" and not is_default:
            raise TemplateMismatchError(NO_PLACE_FOR_INSTRUCTION)
        if mode.instructions or is_default:
            return False
        if mode.fallback and self._config.requested.protocol == "auto":
            return True
        if mode.instructions is None:
            return False
        raise TemplateMismatchError(self._profile.dialect.ignored_instruction)

    def _rerank(self, batch: RequestBatch) -> BuildRequest:
        return lambda logits: passages_request(self._profile, batch, logits=logits)

    async def _classify(self, batch: RequestBatch) -> BuildRequest:
        query = batch.query
        texts = [passage.part for passage in batch.passages if passage.ids is None]
        if not query.ids:
            texts.insert(0, query.part)
        encoded = await self._encode(texts) if texts else ()
        ids = {text: tokens.ids for text, tokens in zip(texts, encoded, strict=True)}
        first = query.ids or ids[query.part]
        prompts = [first + (passage.ids or ids[passage.part]) for passage in batch.passages]
        return lambda logits: classify_request(self._profile.model, prompts, logits=logits)

    def _check_token_count(self, batch: RequestBatch, reply: ScoreReply) -> None:
        """Raise ServerChanged if the reply contradicts the handshake."""
        exact = self._profile.mode.template != "none"
        expected = batch.tokens()
        if exact and counts_differ(expected, reply.tokens):
            raise ServerChanged(
                TemplateMismatchError(
                    f"The server counts {reply.tokens} tokens where the exact prompts have "
                    f"{sum(count or 0 for count in expected)}. Check its --chat-template."
                )
            )


def _share_that_fits(text: str, query: Query, most: int | None) -> float:
    """How much of a document fits, where a prompt may have `most` tokens; 0 if that is unknown."""
    if most is None:
        return 0.0
    texts = [text, query.part + document_part("")]
    tokens, template = (len(tokens.ids) for tokens in estimate(texts))
    return _CAUTION * max(0.0, (most - template) / max(1, tokens))


def _refused_document(index: int, error: EngineError) -> StatusError:
    return StatusError(
        f"documents[{index}] is refused by the server, which takes others: {error} Change the "
        "text, or leave the document out.",
        status=getattr(error, "status", None),
        request_id=getattr(error, "request_id", None),
    )
