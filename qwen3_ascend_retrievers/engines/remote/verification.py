"""Which server answers at an address: the handshake, and the proof that it is still the same.

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
from .config import RemoteConfig
from .handshake import is_same_server, perform_handshake
from .http.deadline import Deadline
from .http.failures import RequestFailure, copy_of_error
from .http.retrying import RetryingClient
from .http.transport import Transport
from .protocol.refusals import RETRIED_STATUSES
from .redaction import redacted_excerpt
from .replicas import Replica, Replicas, ServerProfile
from .scoring import ServerChanged
from .tokenization import LocalTokenizer

# How many handshakes a call waits for: one may have begun before its last reply.
_MAX_HANDSHAKES: Final = 4


class ServerVerifier:
    """The profiles of the servers, verified when that is needed.

    Args:
        config: the engine's settings.
        replicas: the servers.
        local: the tokenizer on this side, if there is one.
        transport: returns the running loop's transport.
    """

    def __init__(
        self,
        config: RemoteConfig,
        replicas: Replicas,
        local: LocalTokenizer | None,
        transport: Callable[[], Transport],
    ) -> None:
        self._config = config
        self._replicas = replicas
        self._local = local
        self._transport = transport

    async def profile_of(
        self, replica: Replica, deadline: Deadline, *, has_alternative: bool
    ) -> ServerProfile:
        """The server's profile, after a handshake if there is none or the server failed since."""
        profile = replica.profile
        if profile is not None and not replica.proofs.is_needed():
            return profile
        return await self._verified_profile(replica, deadline, has_alternative=has_alternative)

    async def confirm(
        self, replica: Replica, client: RetryingClient, profile: ServerProfile, deadline: Deadline
    ) -> None:
        """Make sure that the replies are of the server that `profile` is of.

        Raises:
            ServerChanged: they may be of another.
        """
        replies = client.replies
        for _ in range(_MAX_HANDSHAKES):
            if replica.profile is profile and client.is_proven():
                return
            replica.proofs.note(replies)
            verified = await self._verified_profile(
                replica, deadline, has_alternative=client.has_alternative
            )
            if verified is not profile:
                break
        names = redacted_excerpt(", ".join(sorted(replies.names)), self._config.secrets())
        raise ServerChanged(
            ReplyError(
                f"{replica.root} leads to another server than before, or to several: it answered "
                f"as {names!r}, and then not with the canaries' scores of the handshake. Check "
                "what base_url leads to."
            )
        )

    async def _verified_profile(
        self, replica: Replica, deadline: Deadline, *, has_alternative: bool
    ) -> ServerProfile:
        """The profile by a handshake, this caller's or one that is under way."""

        async def handshake() -> ServerProfile:
            return await self._handshake(replica, has_alternative=has_alternative)

        while True:
            try:
                with anyio.fail_after(deadline.remaining()):
                    outcome = await replica.handshake.join(handshake, 0 if has_alternative else 1)
            except TimeoutError as error:
                raise deadline.exceeded() from error
            if outcome.result is not None:
                return outcome.result
            assert outcome.error is not None, "nothing else ends a handshake"
            failure = copy_of_error(outcome.error)
            if not isinstance(failure, _HandshakeExpired):
                raise failure
            # The deadline of an earlier caller does not end the later ones.
            if failure.deadline.ends >= deadline.ends:
                raise copy_of_error(failure.error) from failure.error.__cause__

    async def _handshake(self, replica: Replica, *, has_alternative: bool) -> ServerProfile:
        """The stored profile if the server is still the same, else a new one."""
        deadline = Deadline.starting(self._config.deadline)
        while True:
            client = RetryingClient(
                self._transport(),
                self._config,
                replica,
                deadline,
                has_alternative=has_alternative,
                first=True,
            )
            covered = replica.proofs.begin()
            try:
                profile = await self._same_or_new_profile(replica, client, covered.names)
            except RequestFailure as failure:
                # Before other callers that wait see the failure, so that none picks it again.
                if has_alternative and is_replica_failure(failure.error):
                    self._replicas.cool_down(replica, failure)
                raise
            except DeadlineExceededError as error:
                raise _HandshakeExpired(error, deadline) from error
            replica.proofs.end(covered, client.replies)
            # After a lost connection in between, the replies may be of two servers.
            if client.replies.proof <= covered.proof:
                return profile

    async def _same_or_new_profile(
        self, replica: Replica, client: RetryingClient, names: set[str]
    ) -> ServerProfile:
        profile = replica.profile
        if profile is not None and await is_same_server(
            client, profile, self._config, self._local, names
        ):
            return profile
        profile = await perform_handshake(client, self._config, self._local)
        self._replicas.check_replica(replica, profile)
        return replica.set_profile(profile)


class _HandshakeExpired(Exception):  # noqa: N818 - internal: carries the error that may be raised
    """A handshake's own deadline is over."""

    def __init__(self, error: DeadlineExceededError, deadline: Deadline) -> None:
        super().__init__(str(error))
        self.error = error
        self.deadline = deadline


def is_replica_failure(error: EngineError) -> bool:
    """Whether another replica might do better."""
    status = getattr(error, "status", None)
    lost = ConnectionFailedError | DeadlineExceededError | ReplyError | EngineClosedError
    return isinstance(error, lost) or status in RETRIED_STATUSES
