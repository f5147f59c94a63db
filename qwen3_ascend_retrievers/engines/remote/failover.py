"""A call's way to its server: picks one, moves on when it fails.

The whole of a call runs on one server, so that no ranking mixes two of them. Who that server is,
is contacts.py's part; how a plan is scored there scoring.py's; how one request is sent and retried
exchange.py's.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx
from typing_extensions import Self

from ..._util.locks import Lock
from ...core.plan import Counting, Plan
from ...core.ranking import PassageScore
from ...core.tokens import Tokens
from ...errors import ConnectionFailedError, InvalidInputError, StatusError
from ..base import Call, EngineFacts
from .config import RemoteConfig
from .http.concurrency import run_concurrently
from .http.deadline import Deadline
from .http.failures import RequestFailure
from .http.retrying import RetryingClient
from .http.transport import Transport
from .replicas import Replica, Replicas, ServerProfile
from .scoring import Encode, Scoring, ServerChanged
from .served_models import named_models
from .tokenization import LocalTokenizer, server_tokens
from .verification import ServerVerifier, is_failure

Result = TypeVar("Result")
# Of the loop in which sync calls, and async calls without a client of their own, meet.
THREAD_NAME: Final = "qwen3-rerank-http"
Work = Callable[[Replica, RetryingClient, ServerProfile], Awaitable[Result]]
# Refusals that waiting or asking for less does not change.
_FINAL: Final = ("final", "document")
_COUNTING: Final[dict[str, Counting]] = {
    "local": "always",
    "server": "when_needed",
    "none": "never",
}


@dataclass(frozen=True, slots=True)
class OwnClients:
    """The caller's own http clients, if any."""

    sync: httpx.Client | None
    asynchronous: httpx.AsyncClient | None

    @classmethod
    def checked(cls, sync: Any, asynchronous: Any) -> Self:
        """Both as given.

        Raises:
            InvalidInputError: one is of another type.
        """
        if sync is not None and not isinstance(sync, httpx.Client):
            raise InvalidInputError("http_client must be an httpx.Client.")
        if asynchronous is not None and not isinstance(asynchronous, httpx.AsyncClient):
            raise InvalidInputError("async_http_client must be an httpx.AsyncClient.")
        return cls(sync, asynchronous)

    @property
    def given(self) -> bool:
        """Whether there is one."""
        return self.sync is not None or self.asynchronous is not None


class Failover:
    """The replicas behind one engine. Its coroutines run in any event loop.

    Args:
        config: the engine's settings.
        clients: the caller's http clients.
    """

    def __init__(self, config: RemoteConfig, clients: OwnClients) -> None:
        self._config = config
        self._clients = clients
        self._replicas = Replicas(config.roots, config.cooldown)
        name, revision = config.tokenizer, config.tokenizer_revision
        self._local = LocalTokenizer(name, revision) if name else None
        self._verifier = ServerVerifier(config, self._replicas, self._local, self._transport)
        self._lock = Lock()
        self._transports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Transport] = (
            weakref.WeakKeyDictionary()
        )

    def known_facts(self) -> EngineFacts | None:
        """What `facts` would say, if that needs no request."""
        profile = self._replicas.pick(frozenset())[0].profile
        return None if profile is None else _facts(profile)

    async def facts(self) -> EngineFacts:
        """What the server says of its model, and how texts are counted."""

        async def work(_: Replica, __: RetryingClient, profile: ServerProfile) -> ServerProfile:
            return profile

        return _facts(await self._somewhere(Deadline.starting(self._config.deadline), work))

    async def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens by the local tokenizer, else by the server."""
        if self._local is not None:
            return await self._local.encode(texts)

        async def work(
            replica: Replica, client: RetryingClient, profile: ServerProfile
        ) -> list[Tokens]:
            return await _server_tokens(replica, client, profile, texts)

        return await self._somewhere(Deadline.starting(self._config.deadline), work)

    async def score(self, plan: Plan, call: Call) -> list[PassageScore]:
        """One score for each of the plan's passages."""

        async def work(
            replica: Replica, client: RetryingClient, profile: ServerProfile
        ) -> list[PassageScore]:
            encode = self._encoder(replica, client, profile)
            return await Scoring(client, profile, self._config, encode).run(plan, call)

        scores: list[PassageScore] = []

        async def job() -> None:
            deadline = Deadline.starting(self._config.deadline, call.started)
            scores.extend(await self._somewhere(deadline, work))

        await run_concurrently([job], call.check if call.wish is not None else None)
        return scores

    async def leave(self) -> None:
        """Close the connections that live in this loop."""
        with self._lock:
            transport = self._transports.pop(asyncio.get_running_loop(), None)
        if transport is not None:
            await transport.aclose()

    def _encoder(self, replica: Replica, client: RetryingClient, profile: ServerProfile) -> Encode:
        async def encode(texts: Sequence[str]) -> Sequence[Tokens]:
            if self._local is not None:
                return await self._local.encode(texts)
            return await _server_tokens(replica, client, profile, texts)

        return encode

    async def _somewhere(self, deadline: Deadline, work: Work[Result]) -> Result:
        """The result of `work` on the first server that does not fail.

        Raises:
            EngineError: what the last server's failure was.
        """
        failed: set[str] = set()
        changed = False
        while True:
            replica, others = self._replicas.pick(failed)
            earlier_failure, profile = replica.failure, None
            client = RetryingClient(
                self._transport(), self._config, replica, deadline, others=others
            )
            try:
                profile = await self._verifier.known(replica, deadline, others=others)
                result = await work(replica, client, profile)
                await self._verifier.confirm(replica, client, profile, deadline)
            except ServerChanged as change:
                if replica.profile is profile:
                    replica.forget()
                if changed:
                    raise change.error from change
                changed = True
            except RequestFailure as failure:
                stale = profile is not None and self._is_stale(client, failure)
                if stale or _may_have_changed(failure):
                    replica.forget()
                if stale and not changed:
                    changed = True
                elif others and is_failure(failure.error):
                    failed.add(replica.root)
                    self._replicas.cool_down(replica, failure)
                else:
                    failure = await named_models(client, self._config, failure)
                    raise failure.error from failure.__cause__
            else:
                if replica.failure is earlier_failure:
                    replica.failure = None
                return result

    def _is_stale(self, client: RetryingClient, failure: RequestFailure) -> bool:
        """Whether the server may only dislike how its predecessor was talked to."""
        if failure.kind == "unknown_model":
            # The name that it had before is not the caller's wish.
            return self._config.model is None
        is_new = not client.is_proven()
        return is_new and failure.kind in _FINAL and isinstance(failure.error, StatusError)

    def _transport(self) -> Transport:
        """The way out of this loop.

        The caller's async client is only met in the caller's loops, the sync one in the engine's.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            transport = self._transports.get(loop)
            if transport is None:
                is_own_loop = threading.current_thread().name == THREAD_NAME
                client = self._clients.sync if is_own_loop else self._clients.asynchronous
                transport = self._transports[loop] = Transport(self._config, client)
            return transport


async def _server_tokens(
    replica: Replica, client: RetryingClient, profile: ServerProfile, texts: Sequence[str]
) -> list[Tokens]:
    """Tokens by the server's `/tokenize`; those it made before are remembered."""
    known = replica.known
    found = {text: tokens for text in texts if (tokens := known.get(text)) is not None}
    missing = [text for text in dict.fromkeys(texts) if text not in found]
    made = await server_tokens(client, profile.model, missing)
    for text, tokens in zip(missing, made, strict=True):
        found[text] = tokens
        replica.remember(text, tokens)
    return [found[text] for text in texts]


def _facts(profile: ServerProfile) -> EngineFacts:
    # Token ids that are sent must be made of every text.
    counting = "always" if profile.mode.route == "classify" else _COUNTING[profile.tokens]
    return EngineFacts(
        model=profile.shown or "unknown",
        max_length=profile.max_length,
        counting=counting,
        template_verified=profile.mode.verified,
        templated=profile.mode.template != "none",
    )


def _may_have_changed(failure: RequestFailure) -> bool:
    """Whether the server may be another one by now, so that first contact must be made anew."""
    lost = isinstance(failure.error, ConnectionFailedError) or failure.is_gateway()
    missing = isinstance(failure.error, StatusError) and failure.error.status == 404
    return lost or missing or failure.kind == "unknown_model"
