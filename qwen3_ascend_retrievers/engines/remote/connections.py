"""What is known of who answers at one address: connections and names that the canaries have proven.

A server that was restarted, or exchanged for another, answers over connections that were opened
later. So a score is believed once the canaries were answered after its connection was opened, and
after every failure that its call met.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

from ..._util.locks import Lock


@dataclass(slots=True)
class ReplySources:
    """Where replies came from.

    Attributes:
        connections: httpcore's streams, told apart by identity; a transport may have none.
        names: what the replies call the model.
        proof: the number of the first proof that is late enough for them.
    """

    connections: WeakSet[Any] = field(default_factory=WeakSet)
    names: set[str] = field(default_factory=set)
    proof: int = 0

    def add(self, other: ReplySources) -> None:
        """Take in the other's too."""
        self.connections |= other.connections
        self.names |= other.names


class ConnectionProofs:
    """The sources of one server's replies, proven or not. Safe to use from several threads.

    Proofs are numbered as they begin: one that began before a failure says nothing of what
    answers after it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._proven, self._open = ReplySources(), ReplySources()
        self._begun = self._needed = 0

    def forget(self) -> None:
        """Believe nothing: the next contact is a first one."""
        with self._lock:
            self._proven, self._open = ReplySources(), ReplySources()

    def is_needed(self) -> bool:
        """Whether a failure since the last proof may mean that another server answers by now."""
        return self._proven.proof < self._needed

    def reply_sources(self) -> ReplySources:
        """For the replies of one call."""
        with self._lock:
            return ReplySources(proof=self._needed)

    def note(self, replies: ReplySources) -> None:
        """Let the next proof cover these."""
        with self._lock:
            self._open.add(replies)

    def require(self, replies: ReplySources) -> None:
        """A failure: what comes after it needs a proof that begins after it, these replies too."""
        with self._lock:
            self._needed = replies.proof = self._begun + 1

    def covers(self, replies: ReplySources) -> bool:
        """Whether these can be believed."""
        with self._lock:
            known = self._proven
            return (
                replies.proof <= known.proof
                and replies.connections <= known.connections
                and replies.names <= known.names
            )

    def begin(self) -> ReplySources:
        """What a proof that begins now will cover; its names must be met again in it."""
        with self._lock:
            self._begun += 1
            covered = ReplySources(names=self._open.names - self._proven.names, proof=self._begun)
            covered.connections |= self._open.connections
            return covered

    def end(self, covered: ReplySources, replies: ReplySources) -> None:
        """The canaries were answered right, by `replies`."""
        with self._lock:
            self._proven.connections |= covered.connections
            self._proven.add(replies)
            self._proven.proof = max(self._proven.proof, covered.proof)
            self._open.connections -= covered.connections
            self._open.names -= replies.names
