"""CascadeEngine: a small model scores everything, a big one the best of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from ..core.cascade import CascadeQuestion, NeedStageTokens, StageLimits, cascade_steps
from ..core.plan import Plan
from ..core.ranking import PassageScore
from ..core.steps import Steps, adrive, drive
from ..core.tokens import Encoding
from ..errors import InvalidInputError
from ..settings import whole_number
from .base import Call, Engine, EngineFacts, checked_engine
from .configured import Configured, engine_to_config, unwritten_of
from .registry import engine_from_config

DEFAULT_KEEP: Final = 20


class CascadeEngine(Configured):
    """Scores with several models one after another, each of which sees only the best so far.

    All documents are scored by the first stage, and the best `keep` documents of each query by the
    next one, until the last. In a ranking those that the last stage scored come first, then those
    of the stage before, each by the score of its own stage; `score_threshold` applies to the last
    stage only. `Score.stage` says which one decided. Equal documents count once in `keep`, and of a
    document in windows all windows go on.

    The first stage's tokenizer decides where long documents are cut, to the shortest maximum length
    of all stages.

    Args:
        stages: engines, or their written forms, at least two; the cascade closes them.
        keep: how many documents of a query go on, at least 1: one number, or one for each stage
            but the last.

    Raises:
        InvalidInputError: fewer than two stages, something that is no engine or a cascade itself,
            or a wrong number.
    """

    tag = "cascade"

    def __init__(
        self, stages: Sequence[Engine | dict[str, Any]], keep: int | Sequence[int] = DEFAULT_KEEP
    ) -> None:
        self._stages = _checked_stages(stages)
        self._keep = _checked_keep(keep, len(self._stages) - 1)

    @property
    def stages(self) -> tuple[Engine, ...]:
        """The engines, in their order."""
        return self._stages

    def with_stages(self, change: Callable[[Engine], Engine]) -> CascadeEngine:
        """A cascade of what `change` makes of each stage, which shares the engines."""
        return CascadeEngine([change(stage) for stage in self._stages], self._keep)

    def config(self) -> dict[str, Any]:
        """Constructor arguments, each stage as it is written down.

        Raises:
            InvalidInputError: a stage's engine is of a foreign class.
        """
        return {
            "stages": [engine_to_config(stage) for stage in self._stages],
            "keep": list(self._keep),
        }

    def unwritten(self) -> list[str]:
        """What the stages' configs leave out."""
        return unwritten_of(self._stages)

    def __repr__(self) -> str:
        return f"CascadeEngine({list(self._stages)!r}, keep={list(self._keep)!r})"

    def facts(self) -> EngineFacts:
        """What all stages have in common; loads or asks each of them at first use.

        Raises:
            RerankError: as the stages' own `facts`.
        """
        return _common_facts([stage.facts() for stage in self._stages])

    async def afacts(self) -> EngineFacts:
        """The same without blocking the event loop."""
        return _common_facts([await stage.afacts() for stage in self._stages])

    def encode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """The first stage's tokens."""
        return self._stages[0].encode(texts)

    async def aencode(self, texts: Sequence[str]) -> Sequence[Encoding]:
        """The same without blocking the event loop."""
        return await self._stages[0].aencode(texts)

    def score(self, plan: Plan, call: Call) -> list[PassageScore]:
        """One score for each passage, marked with its stage.

        Raises:
            TooLongError: a later stage's tokenizer makes a prompt too long.
            RerankError: as the stages' own `score`.
        """
        facts = [stage.facts() for stage in self._stages]

        def answer(question: CascadeQuestion) -> Any:
            stage = self._stages[question.stage]
            if isinstance(question, NeedStageTokens):
                return stage.encode(question.texts)
            return stage.score(question.plan, _call_of(question.stage, call))

        return drive(self._steps(plan, facts), answer)

    async def ascore(self, plan: Plan, call: Call) -> list[PassageScore]:
        """The same without blocking the event loop."""
        facts = [await stage.afacts() for stage in self._stages]

        async def answer(question: CascadeQuestion) -> Any:
            stage = self._stages[question.stage]
            if isinstance(question, NeedStageTokens):
                return await stage.aencode(question.texts)
            return await stage.ascore(question.plan, _call_of(question.stage, call))

        return await adrive(self._steps(plan, facts), answer)

    def close(self) -> None:
        """Close all stages."""
        with ExitStack() as closing:
            for stage in self._stages:
                closing.callback(stage.close)

    def _steps(
        self, plan: Plan, facts: Sequence[EngineFacts]
    ) -> Steps[CascadeQuestion, Any, list[PassageScore]]:
        limits = [StageLimits(fact.counting == "always", fact.max_length) for fact in facts]
        return cascade_steps(plan, limits, self._keep)


def _call_of(stage: int, call: Call) -> Call:
    call.check()
    # The first stage scores all that the bar counts.
    return replace(call, progress=None) if stage else call


def _common_facts(facts: Sequence[EngineFacts]) -> EngineFacts:
    verified = [fact.template_verified for fact in facts]
    lengths = [fact.max_length for fact in facts if fact.max_length is not None]
    return EngineFacts(
        model=" > ".join(fact.model for fact in facts),
        max_length=min(lengths, default=None),
        counting=facts[0].counting,
        template_verified=False if False in verified else None if None in verified else True,
        templated=any(fact.templated for fact in facts),
        token_ids=all(fact.token_ids for fact in facts),
        details={
            f"stage {number} {name}": detail
            for number, fact in enumerate(facts, 1)
            for name, detail in fact.details.items()
        },
    )


def _checked_stages(stages: Any) -> tuple[Engine, ...]:
    if not isinstance(stages, list | tuple) or len(stages) < 2:
        raise InvalidInputError(
            "stages must be a list of at least two engines, the small one first."
        )
    return tuple([_checked_stage(f"stages[{at}]", stage) for at, stage in enumerate(stages)])


def _checked_stage(name: str, stage: Any) -> Engine:
    engine = engine_from_config(stage) if isinstance(stage, dict) else checked_engine(name, stage)
    if hasattr(engine, "with_stages"):
        raise InvalidInputError(
            f"{name} is a cascade, whose scores are of several models. List its stages in this "
            "one: CascadeEngine([first, second, third], keep=[50, 20])."
        )
    return engine


def _checked_keep(keep: Any, count: int) -> tuple[int, ...]:
    numbers = tuple(keep) if isinstance(keep, list | tuple) else (keep,) * count
    if len(numbers) != count:
        raise InvalidInputError(
            f"keep must be one number, or {count} for {count + 1} stages, not {keep!r}."
        )
    return tuple([whole_number("keep", number, minimum=1) for number in numbers])
