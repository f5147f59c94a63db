"""The servers: which is asked next, which rests after a failure, what is known of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

from cachetools import LRUCache

from ..._util.locks import Lock
from ...core.tokens import CACHE_TOKENS, Tokens
from ...errors import DeadlineExceededError, ReplyError
from .connections import ConnectionProofs
from .http.failures import RequestFailure
from .protocol.recheck import Reference
from .protocol.template_owner import Mode
from .single_flight import SingleFlight

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProfile:
    """What the first contact with a server found out.

    Attributes:
        model: what requests call the model; None leaves it out.
        shown: what the model is called where people read it; None if the server does not say.
        max_length: most tokens of a prompt; None if it does not say.
        mode: how it is talked to.
        tokens: where token ids come from: a tokenizer on this side, its /tokenize, or nowhere.
        reference: its scores of the canaries, to know it by.
    """

    model: str | None = field(repr=False)
    shown: str | None = field(repr=False)
    max_length: int | None
    mode: Mode
    tokens: Literal["local", "server", "none"]
    reference: Reference = field(repr=False)

    def is_alike(self, other: ServerProfile) -> bool:
        """Whether a plan made for one can be scored as for the other."""
        mine = (self.model, self.max_length, self.mode, self.tokens)
        theirs = (other.model, other.max_length, other.mode, other.tokens)
        return mine == theirs and self.reference.is_alike(other.reference)


@dataclass(slots=True)
class Replica:
    """One server, by its address without `/v1`.

    Attributes:
        root: the address.
        profile: what is known of it, None before first contact and after a lost connection.
        earlier: what was known of it last.
        proofs: which of its connections and names the canaries have proven.
        handshake: the first contact or its repetition, of which there is one at a time.
        cooldown_until: when it may be asked again, by `time.monotonic()`.
        failure: the last one that made it rest.
        known: token ids that its /tokenize told.
    """

    root: str
    profile: ServerProfile | None = None
    earlier: ServerProfile | None = None
    proofs: ConnectionProofs = field(default_factory=ConnectionProofs)
    handshake: SingleFlight[ServerProfile] = field(default_factory=SingleFlight)
    cooldown_until: float = 0.0
    failure: RequestFailure | None = None
    warned: bool = False
    known: LRUCache[str, Tokens] = field(
        default_factory=lambda: LRUCache(CACHE_TOKENS, getsizeof=_size)
    )

    def introduce(self, profile: ServerProfile) -> ServerProfile:
        """Keep what was found out; say it, and warn the first time.

        Returns:
            what was known earlier, if it was found again, so that calls under way can go on.
        """
        earlier = self.earlier
        if earlier is not None and earlier.is_alike(profile):
            self.profile = earlier
            return earlier
        self.profile = self.earlier = profile
        self.known.clear()
        logger.info("%s is talked to like this: %s", self.root, profile)
        if earlier is not None and not earlier.reference.is_replica(profile.reference):
            logger.warning(
                "%s scores the canaries otherwise than before: it has another model or another "
                "precision by now. Its template was checked anew.",
                self.root,
            )
        if profile.mode.warning and not self.warned:
            self.warned = True
            logger.warning("%s: %s", self.root, profile.mode.warning)
        return profile

    def forget(self) -> None:
        """Make first contact anew at the next call: it may have been started otherwise."""
        self.profile = None
        self.proofs.forget()

    def remember(self, text: str, tokens: Tokens) -> None:
        """Keep a text's tokens, unless it is too big to keep."""
        if _size(tokens) <= self.known.maxsize:
            self.known[text] = tokens


class Replicas:
    """Replicas in the order of preference, shared by all calls.

    Args:
        roots: their addresses.
        cooldown: seconds that a failed one rests.
    """

    def __init__(self, roots: Sequence[str], cooldown: float) -> None:
        self._all = [Replica(root) for root in roots]
        self._cooldown = cooldown
        self._lock = Lock()

    def pick(self, failed: Set[str]) -> tuple[Replica, bool]:
        """The next to ask, and whether there is another to ask after it.

        It is the first that neither rests nor is in `failed`, the roots that failed in this call;
        else the one whose rest ends first, of those that do not hang if there are any. One that
        failed before and is being asked whether it works again comes last: nobody but the asker
        has to wait for it.
        """
        now = time.monotonic()
        with self._lock:
            awake = [
                server
                for server in self._all
                if server.cooldown_until <= now and server.root not in failed
            ]
            awake.sort(key=lambda server: server.failure is not None and _is_tried(server))
            if awake:
                # Rather than insist on one that hangs, ask one again that failed at once.
                others = len(awake) > 1 or (len(self._all) > 1 and _hangs(awake[0]))
                return awake[0], others
            return min(self._all, key=_cost), False

    def check_replica(self, replica: Replica, profile: ServerProfile) -> None:
        """Raise ReplyError if another server is known to score otherwise, whatever the names."""
        for other in self._all:
            known = other.profile or other.earlier
            if other is replica or known is None:
                continue
            if known.reference.is_replica(profile.reference):
                continue
            raise ReplyError(
                f"{replica.root} serves {profile.shown!r} and {other.root} {known.shown!r}, which "
                "score the canaries differently. All addresses in base_url must be replicas of "
                "one model."
            )

    def cool_down(self, replica: Replica, failure: RequestFailure) -> None:
        """Leave a failed server alone for the cool-down."""
        with self._lock:
            replica.failure = failure
            replica.cooldown_until = time.monotonic() + self._cooldown


def _cost(replica: Replica) -> tuple[bool, float]:
    return _hangs(replica), replica.cooldown_until


def _hangs(replica: Replica) -> bool:
    failure = replica.failure
    return failure is not None and isinstance(failure.error, DeadlineExceededError)


def _is_tried(replica: Replica) -> bool:
    return replica.handshake.is_under_way()


def _size(tokens: Tokens) -> int:
    # An empty text costs something too.
    return len(tokens.ids) + 1
