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
from .config import Options
from .contacts import Contacts, is_failure
from .http.concurrency import together
from .http.deadline import Budget
from .http.failures import Refused
from .http.retrying import Exchange
from .http.transport import Wire
from .portal import PORTAL_THREAD
from .replicas import Contact, Endpoint, Endpoints
from .scoring import Drift, Encode, Scoring
from .served_models import named_models
from .tokenization import LocalTokens, server_tokens

Result = TypeVar("Result")
Work = Callable[[Endpoint, Exchange, Contact], Awaitable[Result]]
# Refusals that waiting or asking for less does not change.
_FINAL: Final = ("final", "document")
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
        self._contacts = Contacts(options, self._endpoints, self._local, self._wire)
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

        scores: list[PassageScore] = []

        async def job() -> None:
            budget = Budget.starting(self._options.deadline, call.started)
            scores.extend(await self._somewhere(budget, work))

        await together([job], call.check if call.wish is not None else None)
        return scores

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
            failure, contact = endpoint.failure, None
            exchange = Exchange(self._wire(), self._options, endpoint, budget, others=others)
            try:
                contact = await self._contacts.known(endpoint, budget, others=others)
                result = await work(endpoint, exchange, contact)
                await self._contacts.confirm(endpoint, exchange, contact, budget)
            except Drift as drift:
                if endpoint.contact is contact:
                    endpoint.forget()
                if drifted:
                    raise drift.error from drift
                drifted = True
            except Refused as refused:
                stale = contact is not None and self._is_stale(exchange, refused)
                if stale or _may_have_changed(refused):
                    endpoint.forget()
                if stale and not drifted:
                    drifted = True
                elif others and is_failure(refused.error):
                    failed.add(endpoint.root)
                    self._endpoints.rest(endpoint, refused)
                else:
                    refused = await named_models(exchange, self._options, refused)
                    raise refused.error from refused.__cause__
            else:
                if endpoint.failure is failure:
                    endpoint.failure = None
                return result

    def _is_stale(self, exchange: Exchange, refused: Refused) -> bool:
        """Whether the server may only dislike how its predecessor was talked to."""
        if refused.kind == "unknown_model":
            # The name that it had before is not the caller's wish.
            return self._options.model is None
        is_new = not exchange.is_proven()
        return is_new and refused.kind in _FINAL and isinstance(refused.error, StatusError)

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


def _may_have_changed(refused: Refused) -> bool:
    """Whether the server may be another one by now, so that first contact must be made anew."""
    lost = isinstance(refused.error, ConnectionFailedError) or refused.is_gateway()
    missing = isinstance(refused.error, StatusError) and refused.error.status == 404
    return lost or missing or refused.kind == "unknown_model"
