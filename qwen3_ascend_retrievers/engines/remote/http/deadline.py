"""The remaining time of a call. The only clock of the engine."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ....errors import DeadlineExceededError


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline.

    Attributes:
        seconds: its length, for messages of errors.
        ends: when it is over, by `time.monotonic()`.
    """

    seconds: float
    ends: float

    @classmethod
    def starting(cls, seconds: float, since: float | None = None) -> Deadline:
        """`seconds` from now, or from an earlier moment."""
        return cls(seconds, (time.monotonic() if since is None else since) + seconds)

    def remaining(self) -> float:
        """Seconds until its end, 0 after it."""
        return max(0.0, self.ends - time.monotonic())

    def exceeded(self, last: Exception | None = None) -> DeadlineExceededError:
        """The error to raise when it is over."""
        failure = f" The last failure: {last}" if last else ""
        return DeadlineExceededError(
            f"No result within the deadline of {self.seconds:g} s; raise deadline=..., or look at "
            f"the server's load.{failure}",
            status=getattr(last, "status", None),
            request_id=getattr(last, "request_id", None),
        )
