"""Which connections and model names of one server the canaries have verified.

A server that was restarted, or replaced by another, answers over connections that were opened
later. So a score is valid once the canaries were answered after its connection was opened, and
after every failure of its call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from ..._util.locks import fork_safe_lock


@dataclass(slots=True)
class ReplySources:
    """Where replies came from.

    Attributes:
        connections: httpcore's streams, compared by identity; a transport may have none.
        names: the model names in the replies.
        proof: the number of the first proof that is late enough for them.
    """

    connections: WeakSet[Any] = field(default_factory=WeakSet)
    names: set[str] = field(default_factory=set)
    proof: int = 0

    def add(self, other: ReplySources) -> None:
        """Add the other's connections and names."""
        self.connections |= other.connections
        self.names |= other.names


class ConnectionProofs:
    """The sources of one server's replies, proven or not. Safe to use from several threads.

    Proofs are numbered as they begin: one that began before a failure proves nothing about the
    server that answers after it.
    """

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._proven, self._unproven = ReplySources(), ReplySources()
        self._last_begun = self._first_needed = 0

    def forget(self) -> None:
        """Drop all proofs: the next call begins with a handshake."""
        with self._lock:
            self._proven, self._unproven = ReplySources(), ReplySources()

    def is_needed(self) -> bool:
        """Whether there was a failure since the last proof, so that the server may be another."""
        return self._proven.proof < self._first_needed

    def reply_sources(self) -> ReplySources:
        """For the replies of one call."""
        with self._lock:
            return ReplySources(proof=self._first_needed)

    def note(self, replies: ReplySources) -> None:
        """Let the next proof cover these."""
        with self._lock:
            self._unproven.add(replies)

    def require(self, replies: ReplySources) -> None:
        """After a failure: later replies, and these, need a proof that begins after it."""
        with self._lock:
            self._first_needed = replies.proof = self._last_begun + 1

    def covers(self, replies: ReplySources) -> bool:
        """Whether these are proven."""
        with self._lock:
            proven = self._proven
            return (
                replies.proof <= proven.proof
                and replies.names <= proven.names
                # Not `<=`, which looks at all that are proven.
                and all(connection in proven.connections for connection in replies.connections)
            )

    def begin(self) -> ReplySources:
        """What a proof that begins now will cover; its names must occur in the proof's replies."""
        with self._lock:
            self._last_begun += 1
            new_names = self._unproven.names - self._proven.names
            covered = ReplySources(names=new_names, proof=self._last_begun)
            covered.connections |= self._unproven.connections
            return covered

    def end(self, covered: ReplySources, replies: ReplySources) -> None:
        """The canaries' scores were right, in `replies`."""
        with self._lock:
            self._proven.connections |= covered.connections
            self._proven.add(replies)
            self._proven.proof = max(self._proven.proof, covered.proof)
            self._unproven.connections -= covered.connections
            self._unproven.names -= replies.names
