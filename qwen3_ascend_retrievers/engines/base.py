"""What the Reranker asks of an engine.

An engine scores the passages of a plan. It never sees a framework's document, and it never
formats a prompt of its own: parts and token ids come from the core.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..core.plan import Counting, Plan
from ..core.ranking import PassageScore
from ..core.tokens import Encoding
from ..errors import InvalidInputError, RerankCancelled

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What an engine knows of its model once it is ready.

    Attributes:
        model: the model's name or folder, as the engine's server or checkpoint calls it.
        max_length: most tokens of a whole prompt; None if the engine cannot know.
        counting: how texts are measured, see `core.plan.Limits`.
        template_verified: whether the prompt that a server builds was proven to be exact; None
            where this side sends token ids and there is nothing to prove, and where a server shows
            nothing by which to prove it.
        templated: whether the prompt is built around the texts, here or by a server; False where
            they go out as they are.
        token_ids: whether this side makes the token ids that are scored, so that no template of a
            server's is involved.
        details: what else is known, for people: its name, and what it is and how that is known.
    """

    model: str
    max_length: int | None
    counting: Counting = "always"
    template_verified: bool | None = None
    templated: bool = True
    token_ids: bool = True
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What goes with one scoring call besides the plan.

    Attributes:
        cancelled: set when the call's task was cancelled, to stop between batches.
        cancel: the caller's own event, looked at and never set; None if there is none.
        progress: called with the number of passages scored since the last time; None without a
            bar.
        started: when the whole call began, by `time.monotonic()`; deadlines count from it.
    """

    cancelled: threading.Event = field(default_factory=threading.Event)
    cancel: threading.Event | None = None
    progress: Callable[[int], None] | None = None
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.cancel is not None and not callable(getattr(self.cancel, "is_set", None)):
            raise InvalidInputError(
                f"cancel must be a threading.Event or None, not {type(self.cancel).__name__}."
            )

    def check(self) -> None:
        """Raise RerankCancelled if the caller wants to stop."""
        if self.cancelled.is_set() or (self.cancel is not None and self.cancel.is_set()):
            raise RerankCancelled("The call was cancelled; nothing was returned.")

    def advance(self, passages: int) -> None:
        """Move the progress bar, if there is one, by so many passages."""
        if self.progress is not None:
            self.progress(passages)


@runtime_checkable
class Engine(Protocol):
    """Scores passages. Constructors touch neither network nor weights; first use may.

    Every method may be called from several threads, the async ones from several event loops.
    """

    def facts(self) -> EngineFacts:
        """The model's facts; loads it, or asks its server, at first use."""
        ...

    async def afacts(self) -> EngineFacts:
        """The same without blocking the event loop."""
        ...

    def encode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """Tokens of prompt parts, asked for unless `counting` is "never"."""
        ...

    async def aencode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """The same without blocking the event loop."""
        ...

    def score(self, plan: Plan, call: Call) -> Sequence[PassageScore]:
        """One score for each of `plan.passages`, in their order; Unscored where only it fails."""
        ...

    async def ascore(self, plan: Plan, call: Call) -> Sequence[PassageScore]:
        """The same without blocking the event loop."""
        ...

    def close(self) -> None:
        """Let go of model, threads and connections. Safe to call twice."""
        ...

    async def aclose(self) -> None:
        """The same without blocking the event loop."""
        ...


def checked_engine(name: str, value: Any) -> Engine:
    """`value` if it is an engine.

    Args:
        name: of the argument, for the error.
        value: what was passed.

    Raises:
        InvalidInputError: it is none, such as a class or a model's name.
    """
    if isinstance(value, type) or not isinstance(value, Engine):
        raise InvalidInputError(
            f"{name} must be an engine object such as LocalEngine('tiny'), not {value!r}."
        )
    return value


class Closing:
    """`with` and `async with` for what has a `close()`."""

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """The same without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
