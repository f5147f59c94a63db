"""Scores the passages of one plan on one server: batches, splitting, truncation, merging."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from typing import Final

from ...core.agreement import kind_of, look_like_probabilities
from ...core.batching import portions
from ...core.plan import Plan
from ...core.prompt import DEFAULT_INSTRUCTION, document_part, utf8_length
from ...core.ranking import PassageScore, Score, Unscored
from ...core.tokens import Tokens, estimate
from ...errors import EngineError, ReplyError, StatusError, TemplateMismatchError, TooLongError
from ..base import Call
from .config import MAX_TOKENS, RemoteConfig
from .http.concurrency import run_concurrently
from .http.failures import RequestFailure, with_advice
from .http.retrying import ApiRequest, RetryingClient
from .limits import LearnedLimits
from .protocol.dialects.base import least
from .protocol.rerank_api import ScoreReply
from .protocol.template_owner import NO_PLACE_FOR_INSTRUCTION, counts_differ
from .replicas import ServerProfile
from .requests import SentPassage, classify_request, passages_request

Encode = Callable[[Sequence[str]], Awaitable[Sequence[Tokens]]]
# From whether logits are requested to the request.
BuildRequest = Callable[[bool], ApiRequest]
# A document that no server has a reason to refuse.
_HARMLESS_DOCUMENT: Final = "a"
_FEWER_DOCUMENTS: Final = "Lower batch_size=... in RemoteEngine."
# Chinese has about three, English more.
_BYTES_PER_TOKEN: Final = 3
# Tokens are not spread evenly over a text.
_CAUTION: Final = 0.9
# Of one call, so that a long one fills neither the server nor the turns of others.
_REQUESTS_AT_ONCE: Final = 8
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
        batches = self._batches(plan)
        scores: dict[int, PassageScore] = {}

        async def score_all(batch: list[SentPassage] | None) -> None:
            # Each request is sized and written when the one before it is over: the loop that all
            # callers share is never busy with a whole call.
            while batch is not None:
                batch_scores = await self._score_batch(plan, batch, call)
                scores.update(zip((sent.position for sent in batch), batch_scores, strict=True))
                batch = next(batches, None)

        first_batches = islice(batches, _REQUESTS_AT_ONCE)
        await run_concurrently([partial(score_all, batch) for batch in first_batches])
        ordered = [scores[position] for position in range(len(plan.passages))]
        unscored = [score for score in ordered if isinstance(score, Unscored)]
        if unscored and len(unscored) == len(ordered):
            raise unscored[0].error
        return ordered

    def _batches(self, plan: Plan) -> Iterator[list[SentPassage]]:
        """The passages of one request each: of one query, within both limits."""
        max_tokens = least(MAX_TOKENS, self._limits.tokens) or MAX_TOKENS
        for _, group in groupby(enumerate(plan.passages), key=lambda at: at[1].query):
            sent = [SentPassage(position, passage) for position, passage in group]
            sizes = _request_sizes(plan, sent)
            for portion in portions(sizes, max_count=self._max_documents(), max_tokens=max_tokens):
                yield sent[portion[0] : portion[-1] + 1]

    def _max_documents(self) -> int:
        batch_size = self._config.batch_size
        dialect_limit = self._profile.dialect.max_documents
        return least(batch_size, dialect_limit, self._limits.documents) or batch_size

    async def _score_batch(
        self, plan: Plan, batch: list[SentPassage], call: Call, *, isolating: bool = False
    ) -> list[PassageScore]:
        """Scores of one request's documents; `isolating` once one of them is refused for sure."""
        call.check()
        try:
            scores = await self._request_scores(plan, batch)
        except RequestFailure as failure:
            if failure.kind == "document" and not isolating:
                await self._check_request(plan, batch[0], failure)
                isolating = True
            if len(batch) > 1 and failure.kind in _SPLIT_KINDS:
                return await self._score_parts(plan, batch, call, failure, isolating=isolating)
            if failure.kind == "too_many":
                raise with_advice(failure, _FEWER_DOCUMENTS) from failure
            if failure.kind == "document":
                scores = [await self._score_refused(plan, batch[0])]
            elif failure.kind == "too_long":
                return [await self._score_shortened(plan, batch[0], call, failure)]
            else:
                raise
        call.advance(len(batch))
        return scores

    async def _score_parts(
        self,
        plan: Plan,
        batch: list[SentPassage],
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
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            scores += await self._score_batch(plan, part, call, isolating=isolating)
        if failure.kind == "too_many":
            self._limits.learn("documents", size)
        whole = all(isinstance(score, Score) and score.kept is None for score in scores)
        if failure.kind == "too_long" and whole:
            tokens = sum(_request_sizes(plan, batch))
            self._limits.learn("tokens", tokens * size // len(batch))
        return scores

    async def _check_request(self, plan: Plan, sent: SentPassage, failure: RequestFailure) -> None:
        """Raise `failure` unless the server accepts the same request with a harmless document.

        So a request that is wrong as a whole costs one more, and not two for each document.
        """
        harmless = replace(sent.passage, text=_HARMLESS_DOCUMENT, ids=None)
        document = SentPassage(sent.position, harmless, len(_HARMLESS_DOCUMENT))
        try:
            await self._request_scores(plan, [document])
        except RequestFailure:
            raise failure from failure.__cause__

    async def _score_refused(self, plan: Plan, sent: SentPassage) -> PassageScore:
        """The score of a refused document, by token ids if they can be sent; else Unscored."""
        mode = self._profile.mode
        by_ids = mode.fallback and self._config.requested.protocol == "auto"
        try:
            (score,) = await self._request_scores(plan, [sent], by_ids=by_ids)
        except RequestFailure as failure:
            if failure.kind != "document":
                raise
            return Unscored(_refused_document(plan.input_of(sent.position), failure.error))
        return score

    async def _score_shortened(
        self, plan: Plan, sent: SentPassage, call: Call, failure: RequestFailure
    ) -> PassageScore:
        """The score of a document that is too long for the server, cut to half of it.

        If that is refused too, to what fits the limit that the refusal names, if it names one.
        """
        if failure.most is not None:
            self._limits.learn("prompt_tokens", failure.most)
        text = plan.passages[sent.position].text
        length = len(text) // 2
        if sent.kept is not None:
            fitting = int(len(text) * _share_that_fits(plan, sent.position, failure.most))
            length = fitting if sent.kept == length > fitting else 0
        if length == 0:
            index = plan.input_of(sent.position)
            raise TooLongError(
                f"documents[{index}] does not fit the server, even when cut. Set max_length to "
                f"the server's --max-model-len, or shorten it or the query. {failure}",
                index=index,
            ) from failure.error
        shorter = replace(sent.passage, text=text[:length], ids=None)
        document = SentPassage(sent.position, shorter, length)
        (score,) = await self._score_batch(plan, [document], call)
        return score

    async def _request_scores(
        self, plan: Plan, batch: Sequence[SentPassage], *, by_ids: bool = False
    ) -> list[PassageScore]:
        by_ids = by_ids or self._needs_ids(plan, batch)
        build = await self._classify(plan, batch) if by_ids else self._rerank(plan, batch)
        logits = self._profile.mode.logits or by_ids
        reply = await self._send(build(logits))
        self._check_token_count(plan, batch, reply)
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
        return [
            Score.of_logit(value, sent.kept) if are_logits else Score(value, None, sent.kept)
            for sent, value in zip(batch, reply.values, strict=True)
        ]

    async def _send(self, request: ApiRequest) -> ScoreReply:
        reply: ScoreReply = await self._client.ask(request)
        return reply

    def _needs_ids(self, plan: Plan, batch: Sequence[SentPassage]) -> bool:
        """Whether these must be sent to `/classify`.

        Raises:
            TemplateMismatchError: the instruction would be ignored, and there is no other route.
        """
        mode = self._profile.mode
        if mode.route == "classify":
            return True
        is_default = plan.queries[batch[0].passage.query].instruction == DEFAULT_INSTRUCTION
        if mode.template == "none" and not is_default:
            raise TemplateMismatchError(NO_PLACE_FOR_INSTRUCTION)
        if mode.instructions or is_default:
            return False
        if mode.fallback and self._config.requested.protocol == "auto":
            return True
        if mode.instructions is None:
            return False
        raise TemplateMismatchError(self._profile.dialect.ignored_instruction)

    def _rerank(self, plan: Plan, batch: Sequence[SentPassage]) -> BuildRequest:
        return lambda logits: passages_request(self._profile, plan, batch, logits=logits)

    async def _classify(self, plan: Plan, batch: Sequence[SentPassage]) -> BuildRequest:
        query = plan.queries[batch[0].passage.query]
        texts = [sent.passage.part for sent in batch if sent.passage.ids is None]
        if not query.ids:
            texts.insert(0, query.part)
        encoded = await self._encode(texts) if texts else ()
        ids = {text: tokens.ids for text, tokens in zip(texts, encoded, strict=True)}
        first = query.ids or ids[query.part]
        prompts = [first + (sent.passage.ids or ids[sent.passage.part]) for sent in batch]
        return lambda logits: classify_request(self._profile.model, prompts, logits=logits)

    def _check_token_count(
        self, plan: Plan, batch: Sequence[SentPassage], reply: ScoreReply
    ) -> None:
        """Raise ServerChanged if the reply contradicts the handshake."""
        if plan.queries[batch[0].passage.query].ids is None:
            return
        exact = self._profile.mode.template != "none"
        expected = [plan.tokens(sent.position) if sent.kept is None else None for sent in batch]
        if exact and counts_differ(expected, reply.tokens):
            raise ServerChanged(
                TemplateMismatchError(
                    f"The server counts {reply.tokens} tokens where the exact prompts have "
                    f"{sum(count or 0 for count in expected)}. Check its --chat-template."
                )
            )


def _share_that_fits(plan: Plan, position: int, most: int | None) -> float:
    """How much of a document fits, where a prompt may have `most` tokens; 0 if that is unknown."""
    if most is None:
        return 0.0
    passage = plan.passages[position]
    texts = [passage.text, plan.queries[passage.query].part + document_part("")]
    tokens, template = (len(tokens.ids) for tokens in estimate(texts))
    return _CAUTION * max(0.0, (most - template) / max(1, tokens))


def _refused_document(index: int, error: EngineError) -> StatusError:
    return StatusError(
        f"documents[{index}] is refused by the server, which takes others: {error} Change the "
        "text, or leave the document out.",
        status=getattr(error, "status", None),
        request_id=getattr(error, "request_id", None),
    )


def _request_sizes(plan: Plan, batch: Sequence[SentPassage]) -> Iterator[int]:
    """About how many tokens the prompts of one query have, to size requests.

    Where they were not counted, by their bytes: to tell 65,000 tokens from 66,000 is worth no
    millisecond of the loop that all callers share.
    """
    query = plan.queries[batch[0].passage.query]
    template_bytes = utf8_length(query.part) + utf8_length(document_part(""))
    for sent in batch:
        passage = sent.passage
        if query.ids is None or passage.ids is None:
            yield (template_bytes + utf8_length(passage.text)) // _BYTES_PER_TOKEN
        else:
            yield len(query.ids) + len(passage.ids)
