"""The servers: which is asked next, which rests after a failure, what is known of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

from cachetools import LRUCache

from ...core.template import Mode
from ...core.tokens import CACHE_TOKENS, Tokens
from ...errors import ReplyError
from ...locks import Lock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """What the first contact with a server found out.

    Attributes:
        model: what its requests and replies call the model; None if it does not say.
        shown: the same as it may be shown.
        max_length: most tokens of a prompt; None if it does not say.
        mode: how it is talked to.
        tokens: where token ids come from: a tokenizer on this side, its /tokenize, or nowhere.
    """

    model: str | None = field(repr=False)
    shown: str | None = field(repr=False)
    max_length: int | None
    mode: Mode
    tokens: Literal["local", "server", "none"]


@dataclass(slots=True)
class Endpoint:
    """One server, by its address without `/v1`."""

    root: str
    contact: Contact | None = None
    rests_until: float = 0.0
    warned: bool = False
    known: LRUCache[str, Tokens] = field(
        default_factory=lambda: LRUCache(CACHE_TOKENS, getsizeof=_size)
    )

    def introduce(self, contact: Contact) -> None:
        """Keep what was found out; say it, and warn the first time."""
        self.contact = contact
        logger.info("%s is talked to like this: %s", self.root, contact)
        if contact.mode.warning and not self.warned:
            self.warned = True
            logger.warning("%s: %s", self.root, contact.mode.warning)

    def forget(self) -> None:
        """Ask the server anew at the next call: it may have been started otherwise."""
        self.contact = None
        self.known.clear()

    def remember(self, text: str, tokens: Tokens) -> None:
        """Keep a text's tokens, unless it is too big to keep."""
        if _size(tokens) <= self.known.maxsize:
            self.known[text] = tokens


class Endpoints:
    """Replicas in the order of preference, shared by all calls.

    Args:
        roots: their addresses.
        cooldown: seconds that a failed one rests.
    """

    def __init__(self, roots: Sequence[str], cooldown: float) -> None:
        self._all = [Endpoint(root) for root in roots]
        self._cooldown = cooldown
        self._lock = Lock()

    def pick(self, failed: Set[str]) -> tuple[Endpoint, bool]:
        """The next to ask, and whether there is another to ask after it.

        It is the first that neither rests nor is in `failed`, the roots that failed in this call;
        else the one whose rest ends first.
        """
        now = time.monotonic()
        with self._lock:
            awake = [one for one in self._all if one.rests_until <= now and one.root not in failed]
            if awake:
                return awake[0], len(awake) > 1
            return min(self._all, key=lambda one: one.rests_until), False

    def check_replica(self, endpoint: Endpoint, contact: Contact) -> None:
        """Raise ReplyError if another server is known to serve another model."""
        for other in self._all:
            known = other.contact
            if other is endpoint or known is None or known.model == contact.model:
                continue
            raise ReplyError(
                f"{endpoint.root} serves {contact.shown!r} and {other.root} {known.shown!r}. All "
                "addresses in base_url must be replicas of one model."
            )

    def rest(self, endpoint: Endpoint) -> None:
        """Leave a failed server alone for the cool-down."""
        with self._lock:
            endpoint.rests_until = time.monotonic() + self._cooldown


def _size(tokens: Tokens) -> int:
    # An empty text costs something too.
    return len(tokens.ids) + 1
