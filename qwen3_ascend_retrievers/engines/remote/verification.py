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
from .config import RemoteConfig, shown
from .handshake import is_recognised, shake_hands
from .http.deadline import Deadline
from .http.failures import RETRIED, RequestFailure, own_error
from .http.retrying import RetryingClient
from .http.transport import Transport
from .replicas import Replica, Replicas, ServerProfile
from .scoring import ServerChanged
from .tokenization import LocalTokenizer

# How many handshakes a call waits for: one may have begun before its last reply.
_PROOFS: Final = 4


class ServerVerifier:
    """What is known of the servers, asked when it is needed.

    Args:
        config: the engine's settings.
        endpoints: the servers.
        local: the tokenizer on this side, if there is one.
        transport: the way out of the running loop.
    """

    def __init__(
        self,
        config: RemoteConfig,
        endpoints: Replicas,
        local: LocalTokenizer | None,
        transport: Callable[[], Transport],
    ) -> None:
        self._config = config
        self._replicas = endpoints
        self._local = local
        self._transport = transport

    async def known(self, replica: Replica, deadline: Deadline, *, others: bool) -> ServerProfile:
        """What is known of the server; asked first where nothing is, or where that is in doubt."""
        known = replica.profile
        if known is not None and not replica.proofs.is_needed():
            return known
        return await self._greeted(replica, deadline, others=others)

    async def confirm(
        self, replica: Replica, client: RetryingClient, profile: ServerProfile, deadline: Deadline
    ) -> None:
        """Make sure that the replies are of the server that first contact was made with.

        Raises:
            ServerChanged: they may be of another.
        """
        replies = client.replies
        for _ in range(_PROOFS):
            if replica.profile is profile and client.is_proven():
                return
            replica.proofs.note(replies)
            if await self._greeted(replica, deadline, others=client.others) is not profile:
                break
        names = shown(", ".join(sorted(replies.names)), self._config.secrets())
        raise ServerChanged(
            ReplyError(
                f"{replica.root} leads to another server than before, or to several: it answered "
                f"as {names!r}, and then not with the canaries' scores of the first contact. Check "
                "what base_url leads to."
            )
        )

    async def _greeted(
        self, replica: Replica, deadline: Deadline, *, others: bool
    ) -> ServerProfile:
        """What a handshake found out, be it another caller's."""

        async def handshake() -> ServerProfile:
            return await self._handshake(replica, others=others)

        while True:
            try:
                with anyio.fail_after(deadline.left()):
                    outcome = await replica.handshake.join(handshake, 0 if others else 1)
            except TimeoutError as error:
                raise deadline.exceeded() from error
            if outcome.result is not None:
                return outcome.result
            assert outcome.error is not None, "nothing else ends a handshake"
            failure = own_error(outcome.error)
            if not isinstance(failure, _Expired):
                raise failure
            # Time that another began to count is no reason for those who came later.
            if failure.deadline.ends >= deadline.ends:
                raise own_error(failure.error) from failure.error.__cause__

    async def _handshake(self, replica: Replica, *, others: bool) -> ServerProfile:
        """Ask whether the server is the known one; make first contact if not."""
        deadline = Deadline.starting(self._config.deadline)
        while True:
            client = RetryingClient(
                self._transport(), self._config, replica, deadline, others=others
            )
            covered = replica.proofs.begin()
            try:
                profile = await self._known_or_new(replica, client, covered.names)
            except RequestFailure as failure:
                # Before those who wait learn of it, so that nobody picks it again in between.
                if others and is_failure(failure.error):
                    self._replicas.cool_down(replica, failure)
                raise
            except DeadlineExceededError as error:
                raise _Expired(error, deadline) from error
            replica.proofs.end(covered, client.replies)
            # After a loss on the way, the answers may be of two servers.
            if client.replies.proof <= covered.proof:
                return profile

    async def _known_or_new(
        self, replica: Replica, client: RetryingClient, names: set[str]
    ) -> ServerProfile:
        known = replica.profile
        if known is not None and await is_recognised(
            client, known, self._config, self._local, names
        ):
            return known
        profile = await shake_hands(client, self._config, self._local)
        self._replicas.check_replica(replica, profile)
        return replica.introduce(profile)


class _Expired(Exception):  # noqa: N818 - internal: carries the error that may be raised
    """A handshake's own time is over."""

    def __init__(self, error: DeadlineExceededError, deadline: Deadline) -> None:
        super().__init__(str(error))
        self.error = error
        self.deadline = deadline


def is_failure(error: EngineError) -> bool:
    """Whether another replica might do better."""
    status = getattr(error, "status", None)
    lost = ConnectionFailedError | DeadlineExceededError | ReplyError | EngineClosedError
    return isinstance(error, lost) or status in RETRIED
