"""The replicas: which is asked next, which is in its cooldown, and the profile of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

from ..._util.locks import fork_safe_lock
from ...core.tokens import TokenCache
from ...errors import DeadlineExceededError, ReplyError
from .config import Address, Balance
from .connections import ConnectionProofs
from .http.failures import RequestFailure
from .limits import LearnedLimits
from .protocol.dialects.base import Dialect, RerankRoute
from .protocol.recheck import Reference
from .protocol.template_owner import Mode
from .single_flight import SingleFlight

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProfile:
    """The result of a handshake with a server.

    Attributes:
        model: the model's name in requests; None leaves it out.
        display_name: the model's name for messages and facts; None if the server reports none.
        max_length: most tokens of a prompt; None if the server does not report it.
        mode: how the server is asked for scores.
        dialect: what it speaks, with what it says of itself.
        reason: why it is this dialect.
        route: the path of reranking.
        tokens: where token ids come from: a tokenizer on this side, its /tokenize, or nowhere.
        reference: its scores of the canaries, by which it is recognised.
    """

    model: str | None = field(repr=False)
    display_name: str | None = field(repr=False)
    max_length: int | None
    mode: Mode
    dialect: Dialect = field(repr=False)
    reason: str
    route: str
    tokens: Literal["local", "server", "none"]
    reference: Reference = field(repr=False)

    def is_alike(self, other: ServerProfile) -> bool:
        """Whether a plan made for one can be scored with the other."""
        mine = (self.model, self.max_length, self.mode, self.tokens, self.dialect, self.route)
        theirs = (
            other.model, other.max_length, other.mode, other.tokens, other.dialect, other.route,
        )  # fmt: skip
        return mine == theirs and self.reference.is_alike(other.reference)

    def rerank_route(self) -> RerankRoute:
        """Where and how it is asked for scores of texts."""
        return RerankRoute(
            self.route, self.dialect, self.model, any_number=self.mode.plain == "logit"
        )


class Load(NamedTuple):
    """What a call brings to a server.

    Attributes:
        passages: how many texts are scored.
        prefix: what their prompts have in common, which a server may have in its cache.
    """

    passages: int = 0
    prefix: str = ""


NO_LOAD: Final = Load()


@dataclass(slots=True)
class Replica:
    """One server.

    Attributes:
        root: its address without `/v1` or a route.
        typed_route: the route of reranking in base_url; None leaves it to the dialect.
        profile: the handshake's result; None before it and after a lost connection.
        last_profile: the last profile there was.
        proofs: which of its connections and model names the canaries have proven.
        handshake: the handshake under way, of which there is one at a time.
        cooldown_until: when it may be asked again, by `time.monotonic()`.
        failure: the last failure that put it into its cooldown.
        unanswered_since: when the request began that timed out, by `time.monotonic()`; 0 if none
            did, or another failure came later.
        replied_at: when its last reply came.
        warned: whether the profile's warning was logged.
        token_cache: tokens that its /tokenize returned.
        limits: what it was found to take.
        passages: how many texts of the calls under way on it are scored.
    """

    root: str
    typed_route: str | None = None
    profile: ServerProfile | None = None
    last_profile: ServerProfile | None = None
    proofs: ConnectionProofs = field(default_factory=ConnectionProofs)
    handshake: SingleFlight[ServerProfile] = field(default_factory=SingleFlight)
    cooldown_until: float = 0.0
    failure: RequestFailure | None = None
    unanswered_since: float = 0.0
    replied_at: float = 0.0
    warned: bool = False
    token_cache: TokenCache = field(default_factory=TokenCache)
    limits: LearnedLimits = field(default_factory=LearnedLimits)
    passages: int = 0

    def set_profile(self, profile: ServerProfile) -> ServerProfile:
        """Store the result of a handshake and log it, its warning only once.

        Returns:
            the last profile, if the new one is alike, so that calls under way can go on.
        """
        last = self.last_profile
        if last is not None and last.is_alike(profile):
            self.profile = last
            return last
        self.profile = self.last_profile = profile
        self.token_cache.clear()
        self.limits = LearnedLimits()
        logger.info(
            "%s speaks the dialect %s (%s): %s",
            self.root,
            profile.dialect.name,
            profile.reason,
            profile,
        )
        if last is not None and not last.reference.is_replica(profile.reference):
            logger.warning(
                "%s scores the canaries otherwise than before: it has another model or another "
                "precision by now. Its template was checked again.",
                self.root,
            )
        if profile.mode.warning and not self.warned:
            self.warned = True
            logger.warning("%s: %s", self.root, profile.mode.warning)
        return profile

    def forget_profile(self) -> None:
        """Repeat the handshake at the next call: the server may have been started otherwise."""
        self.profile = None
        self.proofs.forget()


class Replicas:
    """Replicas in the order of preference, shared by all calls.

    Args:
        addresses: where they are.
        cooldown: seconds that a failed one is not asked.
        balance: which of several that work is asked.
        timeout: seconds after which a request fails.
    """

    def __init__(
        self, addresses: Sequence[Address], cooldown: float, balance: Balance, timeout: float
    ) -> None:
        self._all = [Replica(address.root, address.route) for address in addresses]
        self._cooldown, self._timeout = cooldown, timeout
        self._by_load = balance == "least_busy"
        self._lock = fork_safe_lock()

    @contextmanager
    def use(self, failed: Set[str], load: Load = NO_LOAD) -> Iterator[tuple[Replica, bool]]:
        """What `next` returns, which has `load` to bear as long as the body runs."""
        with self._lock:
            replica, has_alternative = self.next(failed, load)
            replica.passages += load.passages
        try:
            yield replica, has_alternative
        finally:
            with self._lock:
                replica.passages -= load.passages

    def next(self, failed: Set[str], load: Load = NO_LOAD) -> tuple[Replica, bool]:
        """The next to ask, and whether there is another to ask after it.

        It is one that is neither in its cooldown nor in `failed`, the roots that failed in this
        call: the first, or the least busy; else the one whose cooldown ends first, of those that do
        not hang if there are any. One that failed before and has a handshake under way comes last,
        so that only the caller of that handshake waits for it.
        """
        now = time.monotonic()
        available = [
            replica
            for replica in self._all
            if replica.cooldown_until <= now and replica.root not in failed
        ]
        if not available:
            return min(self._all, key=_retry_cost), False
        if self._by_load and len(available) > 1:
            available.sort(key=lambda replica: (replica.passages, _affinity(replica, load)))
        available.sort(key=_is_being_retried)
        # Rather than insist on one that hangs, ask one again that failed at once, or that replied
        # to others meanwhile.
        others = [replica for replica in self._all if replica is not available[0]]
        has_alternative = (
            len(available) > 1
            or (_hangs(available[0]) and len(others) > 0)
            or any(_replied_meanwhile(replica) for replica in others)
        )
        return available[0], has_alternative

    def check_replica(self, replica: Replica, profile: ServerProfile) -> None:
        """Raise ReplyError if another server scores otherwise, whatever the model names."""
        for other in self._all:
            other_profile = other.profile or other.last_profile
            if other is replica or other_profile is None:
                continue
            if other_profile.reference.is_replica(profile.reference):
                continue
            raise ReplyError(
                f"{replica.root} serves {profile.display_name!r} and {other.root} "
                f"{other_profile.display_name!r}, which score the canaries differently. All "
                "addresses in base_url must be replicas of one model."
            )

    def cool_down(self, replica: Replica, failure: RequestFailure) -> None:
        """Do not ask a failed server for the seconds of its cooldown."""
        with self._lock:
            replica.failure = failure
            now = time.monotonic()
            timed_out = isinstance(failure.error, DeadlineExceededError)
            replica.unanswered_since = now - self._timeout if timed_out else 0.0
            replica.cooldown_until = now + self._cooldown


def _affinity(replica: Replica, load: Load) -> bytes:
    """The server's place among all for a prefix, in every process the same.

    Rendezvous hashing (Thaler & Ravishankar 1996): if one of them fails, only its own move.
    """
    name = f"{replica.root} {load.prefix}".encode("utf-8", "surrogatepass")
    return blake2b(name, digest_size=8).digest()


def _retry_cost(replica: Replica) -> tuple[bool, float]:
    return _hangs(replica), replica.cooldown_until


def _hangs(replica: Replica) -> bool:
    """Whether it let a request time out, and replied to nobody while that waited, or since."""
    failure = replica.failure
    timed_out = failure is not None and isinstance(failure.error, DeadlineExceededError)
    return timed_out and not _replied_meanwhile(replica)


def _replied_meanwhile(replica: Replica) -> bool:
    return 0 < replica.unanswered_since < replica.replied_at


def _is_being_retried(replica: Replica) -> bool:
    return replica.failure is not None and replica.handshake.is_under_way()
