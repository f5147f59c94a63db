"""Who answers at an address: the first contact, and the proof that it is still the same server.

All calls share it. There is one handshake at a time with each server, and none waits for another
server's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from ...errors import (
    ConnectionFailedError,
    DeadlineExceededError,
    EngineClosedError,
    EngineError,
    ReplyError,
)
from .config import Options, shown
from .handshake import is_recognised, make_contact
from .http.deadline import Budget
from .http.failures import RETRIED, Refused, own_error
from .http.retrying import Exchange
from .http.transport import Wire
from .replicas import Contact, Endpoint, Endpoints
from .scoring import Drift
from .tokenization import LocalTokens

# How many handshakes a call waits for: one may have begun before its last reply.
_PROOFS: Final = 4


class Contacts:
    """What is known of the servers, asked when it is needed.

    Args:
        options: the engine's settings.
        endpoints: the servers.
        local: the tokenizer on this side, if there is one.
        wire: the way out of the running loop.
    """

    def __init__(
        self,
        options: Options,
        endpoints: Endpoints,
        local: LocalTokens | None,
        wire: Callable[[], Wire],
    ) -> None:
        self._options = options
        self._endpoints = endpoints
        self._local = local
        self._wire = wire

    async def known(self, endpoint: Endpoint, budget: Budget, *, others: bool) -> Contact:
        """What is known of the server; asked first where nothing is, or where that is in doubt."""
        known = endpoint.contact
        if known is not None and not endpoint.trust.is_doubted():
            return known
        return await self._greeted(endpoint, budget, others=others)

    async def confirm(
        self, endpoint: Endpoint, exchange: Exchange, contact: Contact, budget: Budget
    ) -> None:
        """Make sure that the replies are of the server that first contact was made with.

        Raises:
            Drift: they may be of another.
        """
        replies = exchange.replies
        for _ in range(_PROOFS):
            if endpoint.contact is contact and exchange.is_proven():
                return
            endpoint.trust.note(replies)
            if await self._greeted(endpoint, budget, others=exchange.others) is not contact:
                break
        names = shown(", ".join(sorted(replies.names)), self._options.secrets())
        raise Drift(
            ReplyError(
                f"{endpoint.root} leads to another server than before, or to several: it answered "
                f"as {names!r}, and then not with the canaries' scores of the first contact. Check "
                "what base_url leads to."
            )
        )

    async def _greeted(self, endpoint: Endpoint, budget: Budget, *, others: bool) -> Contact:
        """What a handshake found out, be it another caller's."""

        async def handshake() -> Contact:
            return await self._handshake(endpoint, others=others)

        while True:
            try:
                with anyio.fail_after(budget.left()):
                    outcome = await endpoint.handshake.join(handshake, 0 if others else 1)
            except TimeoutError as error:
                raise budget.exceeded() from error
            if outcome.result is not None:
                return outcome.result
            assert outcome.error is not None, "nothing else ends a handshake"
            failure = own_error(outcome.error)
            if not isinstance(failure, _Expired):
                raise failure
            # Time that another began to count is no reason for those who came later.
            if failure.budget.ends >= budget.ends:
                raise own_error(failure.error) from failure.error.__cause__

    async def _handshake(self, endpoint: Endpoint, *, others: bool) -> Contact:
        """Ask whether the server is the known one; make first contact if not."""
        budget = Budget.starting(self._options.deadline)
        while True:
            exchange = Exchange(self._wire(), self._options, endpoint, budget, others=others)
            covered = endpoint.trust.begin()
            try:
                contact = await self._known_or_new(endpoint, exchange, covered.names)
            except Refused as refused:
                # Before those who wait learn of it, so that nobody picks it again in between.
                if others and is_failure(refused.error):
                    self._endpoints.rest(endpoint, refused)
                raise
            except DeadlineExceededError as error:
                raise _Expired(error, budget) from error
            endpoint.trust.end(covered, exchange.replies)
            # After a loss on the way, the answers may be of two servers.
            if exchange.replies.proof <= covered.proof:
                return contact

    async def _known_or_new(
        self, endpoint: Endpoint, exchange: Exchange, names: set[str]
    ) -> Contact:
        known = endpoint.contact
        if known is not None and await is_recognised(
            exchange, known, self._options, self._local, names
        ):
            return known
        contact = await make_contact(exchange, self._options, self._local)
        self._endpoints.check_replica(endpoint, contact)
        return endpoint.introduce(contact)


class _Expired(Exception):  # noqa: N818 - internal: carries the error that may be raised
    """A handshake's own time is over."""

    def __init__(self, error: DeadlineExceededError, budget: Budget) -> None:
        super().__init__(str(error))
        self.error = error
        self.budget = budget


def is_failure(error: EngineError) -> bool:
    """Whether another replica might do better."""
    status = getattr(error, "status", None)
    lost = ConnectionFailedError | DeadlineExceededError | ReplyError | EngineClosedError
    return isinstance(error, lost) or status in RETRIED
