"""Scores the passages of one plan on one server: portions, splitting, cutting harder, merging."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from ...core.agreement import kind_of, look_like_probabilities
from ...core.batching import portions
from ...core.plan import Plan
from ...core.prompt import DEFAULT_INSTRUCTION
from ...core.ranking import PassageScore, Score, Unscored
from ...core.tokens import Tokens, estimate
from ...errors import EngineError, ReplyError, StatusError, TemplateMismatchError, TooLongError
from ..base import Call
from .config import MAX_TOKENS, RemoteConfig
from .http.concurrency import run_concurrently
from .http.failures import RequestFailure
from .http.retrying import RetryingClient
from .protocol.rerank_api import Answer
from .protocol.template_owner import IGNORED_INSTRUCTION, counts_differ
from .replicas import ServerProfile
from .requests import Make, Part, classify_question, rerank_question

Encode = Callable[[Sequence[str]], Awaitable[Sequence[Tokens]]]
# A document that no server has a reason to refuse.
_ORDINARY: Final = "a"


class ServerChanged(Exception):  # noqa: N818 - internal: the server is no longer as the canaries found it
    """A reply's token count or model contradicts the first contact; `error` says how."""

    def __init__(self, error: ReplyError | TemplateMismatchError) -> None:
        super().__init__(str(error))
        self.error = error


class Scoring:
    """One ranking on one server.

    Args:
        client: asks the server.
        profile: how it is talked to.
        config: the engine's settings.
        encode: makes token ids where the plan has none and they are needed.
    """

    def __init__(
        self, client: RetryingClient, profile: ServerProfile, config: RemoteConfig, encode: Encode
    ) -> None:
        self._client = client
        self._contact = profile
        self._config = config
        self._encode = encode

    async def run(self, plan: Plan, call: Call) -> list[PassageScore]:
        """One score for each passage, in order; Unscored where the server refuses only its text.

        Raises:
            RequestFailure: a request failed for good.
            StatusError: the server refuses every one of the texts.
            TooLongError: a document does not fit the server even after cutting it harder.
            TemplateMismatchError: a custom instruction could not take effect.
            ServerChanged: the server is not what it was.
            RerankCancelled: the caller wanted to stop.
        """
        scores: dict[int, PassageScore] = {}

        async def job(positions: Sequence[int]) -> None:
            parts = [Part(at, plan.passages[at]) for at in positions]
            for part, score in zip(parts, await self._portion(plan, parts, call), strict=True):
                scores[part.at] = score

        jobs = [_bound(job, positions) for positions in self._portions(plan)]
        await run_concurrently(jobs)
        ordered = [scores[at] for at in range(len(plan.passages))]
        failure = [score for score in ordered if isinstance(score, Unscored)]
        if failure and len(failure) == len(ordered):
            raise failure[0].error
        return ordered

    def _portions(self, plan: Plan) -> list[list[int]]:
        """Positions that go into one request each: of one query, within both limits."""
        groups: dict[int, list[int]] = {}
        for at, passage in enumerate(plan.passages):
            groups.setdefault(passage.query, []).append(at)
        made = []
        for group in groups.values():
            lengths = [_length(plan, at) for at in group]
            for chosen in portions(
                lengths, max_count=self._config.batch_size, max_tokens=MAX_TOKENS
            ):
                made.append([group[one] for one in chosen])
        return made

    async def _portion(
        self, plan: Plan, parts: list[Part], call: Call, *, isolating: bool = False
    ) -> list[PassageScore]:
        """Scores of one request's documents; `isolating` once it is known that one is refused."""
        call.check()
        try:
            scores = await self._ask(plan, parts)
        except RequestFailure as failure:
            if failure.kind == "document" and not isolating:
                await self._check_request(plan, parts[0], failure)
                isolating = True
            if len(parts) > 1 and failure.kind in ("too_long", "busy", "document"):
                middle = len(parts) // 2
                halves = (parts[:middle], parts[middle:])
                first, second = [
                    await self._portion(plan, half, call, isolating=isolating) for half in halves
                ]
                return first + second
            if failure.kind == "document":
                scores = [await self._alone(plan, parts[0])]
            elif failure.kind == "too_long":
                return [await self._cut_harder(plan, parts[0], call, failure)]
            else:
                raise
        call.done(len(parts))
        return scores

    async def _check_request(self, plan: Plan, part: Part, failure: RequestFailure) -> None:
        """Raise `failure` unless the server takes the same request with an ordinary document.

        So a request that is wrong as a whole costs one more, and not two for each document.
        """
        ordinary = replace(part.passage, text=_ORDINARY, ids=None)
        try:
            await self._ask(plan, [Part(part.at, ordinary, len(_ORDINARY))])
        except RequestFailure:
            raise failure from failure.__cause__

    async def _alone(self, plan: Plan, part: Part) -> PassageScore:
        """The score of a document that was refused, by token ids if they can be sent; else why."""
        mode = self._contact.mode
        by_ids = mode.fallback and self._config.requested.protocol == "auto"
        try:
            (score,) = await self._ask(plan, [part], by_ids=by_ids)
        except RequestFailure as failure:
            if failure.kind != "document":
                raise
            return Unscored(_refused_document(plan.input_of(part.at), failure.error))
        return score

    async def _cut_harder(
        self, plan: Plan, part: Part, call: Call, failure: RequestFailure
    ) -> PassageScore:
        """The score of half a document that the server found too long, if half of it fits."""
        kept = len(part.passage.text) // 2
        if part.kept is not None or kept == 0:
            index = plan.input_of(part.at)
            raise TooLongError(
                f"documents[{index}] does not fit the server, even cut to half. Set max_length to "
                f"the server's --max-model-len, or shorten it. {failure}",
                index=index,
            ) from failure.error
        shorter = replace(part.passage, text=part.passage.text[:kept], ids=None)
        (score,) = await self._portion(plan, [Part(part.at, shorter, kept)], call)
        return score

    async def _ask(
        self, plan: Plan, parts: Sequence[Part], *, by_ids: bool = False
    ) -> list[PassageScore]:
        by_ids = by_ids or self._by_ids(plan, parts)
        if by_ids:
            make = await self._classify(plan, parts)
        else:
            make = rerank_question(self._contact, plan, parts)
        logits = self._contact.mode.logits or by_ids
        answer = await self._answer(make, logits)
        self._check(plan, parts, answer)
        if logits and look_like_probabilities(answer.values):
            again = await self._answer(make, False)
            kind = kind_of(answer.values, again.values)
            if kind == "neither":
                raise ServerChanged(
                    ReplyError("The server's logits and probabilities do not match.")
                )
            logits = kind == "logits"
            answer = answer if logits else again
        made = Score.of_logit if logits else Score
        return [
            replace(made(value), kept=part.kept)
            for part, value in zip(parts, answer.values, strict=True)
        ]

    async def _answer(self, make: Make, logits: bool) -> Answer:
        answer: Answer = await self._client.ask(make(logits))
        return answer

    def _by_ids(self, plan: Plan, parts: Sequence[Part]) -> bool:
        """Whether these go to `/classify`.

        Raises:
            TemplateMismatchError: the instruction would be ignored, and there is no other route.
        """
        mode = self._contact.mode
        if mode.route == "classify":
            return True
        instruction = plan.queries[parts[0].passage.query].instruction
        if mode.instructions or instruction == DEFAULT_INSTRUCTION:
            return False
        if mode.fallback and self._config.requested.protocol == "auto":
            return True
        raise TemplateMismatchError(IGNORED_INSTRUCTION)

    async def _classify(self, plan: Plan, parts: Sequence[Part]) -> Make:
        query = plan.queries[parts[0].passage.query]
        missing = [one.passage.part for one in parts if one.passage.ids is None]
        wanted = missing if query.ids else [query.part, *missing]
        made = {
            text: one.ids
            for text, one in zip(wanted, await self._encode(wanted) if wanted else (), strict=True)
        }
        first = query.ids or made[query.part]
        prompts = [first + (one.passage.ids or made[one.passage.part]) for one in parts]
        return classify_question(self._contact, prompts)

    def _check(self, plan: Plan, parts: Sequence[Part], answer: Answer) -> None:
        """Raise ServerChanged if the reply contradicts the first contact."""
        exact = self._contact.mode.template != "none"
        expected = [plan.tokens(one.at) if one.kept is None else None for one in parts]
        if exact and counts_differ(expected, answer.tokens):
            raise ServerChanged(
                TemplateMismatchError(
                    f"The server counts {answer.tokens} tokens where the exact prompts have "
                    f"{sum(one or 0 for one in expected)}. Check its --chat-template."
                )
            )


def _refused_document(index: int, error: EngineError) -> StatusError:
    return StatusError(
        f"documents[{index}] is refused by the server, which takes others: {error} Change the "
        "text, or leave the document out.",
        status=getattr(error, "status", None),
        request_id=getattr(error, "request_id", None),
    )


def _length(plan: Plan, at: int) -> int:
    tokens = plan.tokens(at)
    if tokens is not None:
        return tokens
    passage = plan.passages[at]
    (made,) = estimate([plan.queries[passage.query].part[:1000] + passage.part])
    return len(made.ids)


def _bound(job: Callable[[Any], Awaitable[None]], argument: Any) -> Callable[[], Awaitable[None]]:
    return lambda: job(argument)
