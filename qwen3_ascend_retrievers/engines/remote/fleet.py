"""A call's way to its server: picks one, makes the first contact, moves on when it fails.

The whole of a call runs on one server, so that no ranking mixes two of them. How a plan is scored
there is scoring.py's part, how one request is sent and retried exchange.py's.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import anyio
import httpx
from typing_extensions import Self

from ...core.plan import Counting, Plan
from ...core.ranking import PassageScore
from ...core.tokens import Tokens
from ...errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    EngineClosedError,
    EngineError,
    InvalidInputError,
    ReplyError,
    StatusError,
)
from ...locks import Lock
from ..base import Call, EngineFacts
from .budget import Budget
from .counting import LocalTokens, server_tokens
from .endpoints import Contact, Endpoint, Endpoints
from .exchange import Exchange
from .options import Options
from .portal import PORTAL_THREAD
from .probe import make_contact
from .refusal import RETRIED, Refused
from .scoring import Drift, Encode, Scoring
from .wire import Wire

Result = TypeVar("Result")
Work = Callable[[Endpoint, Exchange, Contact], Awaitable[Result]]
_COUNTING: Final[dict[str, Counting]] = {
    "local": "always",
    "server": "in_doubt",
    "none": "never",
}


@dataclass(frozen=True, slots=True)
class Clients:
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


class Fleet:
    """The replicas behind one engine. Its coroutines run in any event loop.

    Args:
        options: the engine's settings.
        clients: the caller's http clients.
    """

    def __init__(self, options: Options, clients: Clients) -> None:
        self._options = options
        self._clients = clients
        self._endpoints = Endpoints(options.roots, options.cooldown)
        name, revision = options.tokenizer, options.tokenizer_revision
        self._local = LocalTokens(name, revision) if name else None
        self._lock = Lock()
        self._wires: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Wire] = (
            weakref.WeakKeyDictionary()
        )

    def known_facts(self) -> EngineFacts | None:
        """What `facts` would say, if that needs no request."""
        contact = self._endpoints.pick(frozenset())[0].contact
        return None if contact is None else _facts(contact)

    async def facts(self) -> EngineFacts:
        """What the server says of its model, and how texts are counted."""

        async def work(_: Endpoint, __: Exchange, contact: Contact) -> Contact:
            return contact

        return _facts(await self._somewhere(Budget.starting(self._options.deadline), work))

    async def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens by the local tokenizer, else by the server."""
        if self._local is not None:
            return await self._local.encode(texts)

        async def work(endpoint: Endpoint, exchange: Exchange, contact: Contact) -> list[Tokens]:
            return await _server_tokens(endpoint, exchange, contact, texts)

        return await self._somewhere(Budget.starting(self._options.deadline), work)

    async def score(self, plan: Plan, call: Call) -> list[PassageScore]:
        """One score for each of the plan's passages."""

        async def work(
            endpoint: Endpoint, exchange: Exchange, contact: Contact
        ) -> list[PassageScore]:
            encode = self._encoder(endpoint, exchange, contact)
            return await Scoring(exchange, contact, self._options, encode).run(plan, call)

        return await self._somewhere(Budget.starting(self._options.deadline, call.started), work)

    async def leave(self) -> None:
        """Close the connections that live in this loop."""
        with self._lock:
            wire = self._wires.pop(asyncio.get_running_loop(), None)
        if wire is not None:
            await wire.aclose()

    def _encoder(self, endpoint: Endpoint, exchange: Exchange, contact: Contact) -> Encode:
        async def encode(texts: Sequence[str]) -> Sequence[Tokens]:
            if self._local is not None:
                return await self._local.encode(texts)
            return await _server_tokens(endpoint, exchange, contact, texts)

        return encode

    async def _somewhere(self, budget: Budget, work: Work[Result]) -> Result:
        """The result of `work` on the first server that does not fail.

        Raises:
            EngineError: what the last server's failure was.
        """
        failed: set[str] = set()
        drifted = False
        while True:
            endpoint, others = self._endpoints.pick(failed)
            # With another server at hand, moving on beats waiting.
            retries = 0 if others else self._options.max_retries
            exchange = Exchange(self._wire(), self._options, endpoint.root, budget, retries)
            try:
                contact = await self._contact(endpoint, exchange, budget)
                return await work(endpoint, exchange, contact)
            except Drift as drift:
                endpoint.forget()
                if drifted:
                    raise drift.error from drift
                drifted = True
            except Refused as refused:
                if _may_have_changed(refused.error):
                    endpoint.forget()
                if not others or not _is_failure(refused.error):
                    raise refused.error from refused.__cause__
                failed.add(endpoint.root)
                self._endpoints.rest(endpoint)

    async def _contact(self, endpoint: Endpoint, exchange: Exchange, budget: Budget) -> Contact:
        """What is known of the server; the first call of many asks, the others wait for it."""
        known = endpoint.contact
        if known is not None:
            return known
        gate = self._wire().first_contact
        try:
            with anyio.fail_after(budget.left()):
                await gate.acquire()
        except TimeoutError as error:
            raise budget.exceeded() from error
        try:
            if endpoint.contact is not None:
                return endpoint.contact
            contact = await make_contact(exchange, self._options, self._local)
            self._endpoints.check_replica(endpoint, contact)
            endpoint.introduce(contact)
            return contact
        finally:
            gate.release()

    def _wire(self) -> Wire:
        """The way out of this loop.

        The caller's async client is only met in the caller's loops, the sync one in the portal's.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            wire = self._wires.get(loop)
            if wire is None:
                in_portal = threading.current_thread().name == PORTAL_THREAD
                client = self._clients.sync if in_portal else self._clients.asynchronous
                wire = self._wires[loop] = Wire(self._options, client)
            return wire


async def _server_tokens(
    endpoint: Endpoint, exchange: Exchange, contact: Contact, texts: Sequence[str]
) -> list[Tokens]:
    """Tokens by the server's `/tokenize`; those it made before are remembered."""
    known = endpoint.known
    found = {text: tokens for text in texts if (tokens := known.get(text)) is not None}
    missing = [text for text in dict.fromkeys(texts) if text not in found]
    made = await server_tokens(exchange, contact.model, missing)
    for text, tokens in zip(missing, made, strict=True):
        found[text] = tokens
        endpoint.remember(text, tokens)
    return [found[text] for text in texts]


def _facts(contact: Contact) -> EngineFacts:
    # Token ids that are sent must be made of every text.
    counting = "always" if contact.mode.route == "classify" else _COUNTING[contact.tokens]
    return EngineFacts(
        model=contact.shown or "unknown",
        max_length=contact.max_length,
        counting=counting,
        template_verified=contact.mode.verified,
        templated=contact.mode.template != "none",
    )


def _is_failure(error: EngineError) -> bool:
    """Whether another replica might do better."""
    status = getattr(error, "status", None)
    lost = ConnectionFailedError | DeadlineExceededError | ReplyError | EngineClosedError
    return isinstance(error, lost) or status in RETRIED


def _may_have_changed(error: EngineError) -> bool:
    """Whether the server may be another one by now, so that the canaries must be asked again."""
    lost = isinstance(error, ConnectionFailedError)
    return lost or (isinstance(error, StatusError) and error.status == 404)
