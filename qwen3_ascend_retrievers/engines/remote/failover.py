"""Which replica a call runs on: picks one, and the next one when it fails.

The whole of a call runs on one server, so that no ranking mixes two of them. verification.py checks
which server answers there, scoring.py scores a plan on it, and http/retrying.py sends and retries
one request.
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

from ..._util.locks import fork_safe_lock
from ...core.plan import Plan
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
from .profile_facts import facts_of
from .replicas import NO_LOAD, Load, Replica, Replicas, ServerProfile
from .scoring import Encode, Scoring, ServerChanged
from .served_models import with_listed_names
from .tokenization import LocalTokenizer, cached_server_tokens
from .verification import ServerVerifier, is_replica_failure

Result = TypeVar("Result")
# Of the loop in which sync calls, and async calls without a client of their own, meet.
THREAD_NAME: Final = "qwen3-rerank-http"
ReplicaTask = Callable[[Replica, RetryingClient, ServerProfile], Awaitable[Result]]
# Failures that neither waiting nor a smaller request can change.
_FINAL_KINDS: Final = ("final", "document", "wrong_key")


@dataclass(frozen=True, slots=True)
class OwnClients:
    """The caller's own http clients, if any."""

    sync: httpx.Client | None
    asynchronous: httpx.AsyncClient | None

    @classmethod
    def checked(cls, sync: Any, asynchronous: Any) -> Self:
        """Both clients, once their types are checked.

        Raises:
            InvalidInputError: one is of another type.
        """
        if sync is not None and not isinstance(sync, httpx.Client):
            raise InvalidInputError("http_client must be an httpx.Client.")
        if asynchronous is not None and not isinstance(asynchronous, httpx.AsyncClient):
            raise InvalidInputError("async_http_client must be an httpx.AsyncClient.")
        return cls(sync, asynchronous)

    @property
    def has_any(self) -> bool:
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
        self._replicas = Replicas(config.addresses, config.cooldown, config.balance, config.timeout)
        name, revision = config.tokenizer, config.tokenizer_revision
        self._local = LocalTokenizer(name, revision) if name else None
        self._verifier = ServerVerifier(config, self._replicas, self._local, self._transport)
        self._lock = fork_safe_lock()
        self._transports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Transport] = (
            weakref.WeakKeyDictionary()
        )

    def cached_facts(self) -> EngineFacts | None:
        """The result of `facts`, if that needs no request."""
        replica, _ = self._replicas.next(frozenset())
        profile = replica.profile
        return None if profile is None else facts_of(profile, replica.limits, self._config)

    async def facts(self) -> EngineFacts:
        """The server's model, and how texts are counted."""

        async def task(replica: Replica, _: RetryingClient, profile: ServerProfile) -> EngineFacts:
            return facts_of(profile, replica.limits, self._config)

        return await self._on_a_replica(Deadline.starting(self._config.deadline), task)

    async def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens by the local tokenizer, else by the server."""
        if self._local is not None:
            return await self._local.encode(texts)

        async def task(
            replica: Replica, client: RetryingClient, profile: ServerProfile
        ) -> list[Tokens]:
            return await _server_tokens(replica, client, profile, texts)

        return await self._on_a_replica(Deadline.starting(self._config.deadline), task)

    async def score(self, plan: Plan, call: Call) -> list[PassageScore]:
        """One score for each of the plan's passages."""

        async def task(
            replica: Replica, client: RetryingClient, profile: ServerProfile
        ) -> list[PassageScore]:
            encode = self._encoder(replica, client, profile)
            scoring = Scoring(client, profile, self._config, encode, replica.limits)
            return await scoring.run(plan, call)

        scores: list[PassageScore] = []
        load = Load(len(plan.passages), plan.queries[0].part if plan.queries else "")

        async def job() -> None:
            deadline = Deadline.starting(self._config.deadline, call.started)
            await self._transport().begin_call()
            scores.extend(await self._on_a_replica(deadline, task, load))

        await run_concurrently([job], call.check if call.cancel is not None else None)
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

    async def _on_a_replica(
        self, deadline: Deadline, task: ReplicaTask[Result], load: Load = NO_LOAD
    ) -> Result:
        """The result of `task` on the first replica that does not fail.

        Raises:
            EngineError: the last replica's failure.
        """
        failed: set[str] = set()
        has_changed = False
        while True:
            with self._replicas.use(failed, load) as (replica, has_alternative):
                earlier_failure, profile = replica.failure, None
                client = self._client(replica, deadline, has_alternative)
                try:
                    profile = await self._verifier.profile_of(
                        replica, deadline, has_alternative=has_alternative
                    )
                    result = await task(replica, client, profile)
                    await self._verifier.confirm(replica, client, profile, deadline)
                except ServerChanged as change:
                    if replica.profile is profile:
                        replica.forget_profile()
                    if has_changed:
                        raise change.error from change
                    has_changed = True
                except RequestFailure as failure:
                    is_stale = profile is not None and self._is_stale(client, failure)
                    if is_stale or _may_have_changed(failure):
                        replica.forget_profile()
                    if is_stale and not has_changed:
                        has_changed = True
                    elif has_alternative and is_replica_failure(failure.error):
                        failed.add(replica.root)
                        self._replicas.cool_down(replica, failure)
                    else:
                        failure = await with_listed_names(client, self._config, failure)
                        raise failure.error from failure.__cause__
                else:
                    if replica.failure is earlier_failure:
                        replica.failure = None
                    return result

    def _is_stale(self, client: RetryingClient, failure: RequestFailure) -> bool:
        """Whether the server may be another one, which the profile does not fit."""
        if failure.kind == "unknown_model":
            # The name is the handshake's, not the caller's.
            return self._config.model is None
        is_new = not client.is_proven()
        return is_new and failure.kind in _FINAL_KINDS and isinstance(failure.error, StatusError)

    def _client(
        self, replica: Replica, deadline: Deadline, has_alternative: bool
    ) -> RetryingClient:
        return RetryingClient(
            self._transport(), self._config, replica, deadline, has_alternative=has_alternative
        )

    def _transport(self) -> Transport:
        """The transport of the running loop.

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
    return await cached_server_tokens(
        replica.token_cache, client, profile.dialect, profile.model, texts
    )


def _may_have_changed(failure: RequestFailure) -> bool:
    """Whether the server may be another one by now, so that a new handshake is needed."""
    lost = isinstance(failure.error, ConnectionFailedError) or failure.is_gateway()
    not_found = isinstance(failure.error, StatusError) and failure.error.status == 404
    return lost or not_found or failure.kind == "unknown_model"
