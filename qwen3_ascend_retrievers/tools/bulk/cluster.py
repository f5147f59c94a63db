"""Ray: how it is imported, what resources an actor asks for, and the workers of `bulk`."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, Final

from ...errors import EngineError, InvalidInputError, MissingDependencyError, RerankError
from ...settings import RerankSettings, environment, environment_defaults, is_finite, printed
from .batch_queue import WorkerLostError
from .groups import GroupRanking, GroupScorer, QueryGroup
from .recipe import Recipe, engine_of

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0
# Ray has arguments of their own for these; whatever else a node offers is a custom resource.
_ARGUMENTS: Final = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


def import_ray() -> Any:
    """The module ray, with ray.data.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import_module("ray.data")
        return import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            "Reranking on several machines needs Ray: pip install 'qwen3-ascend-retrievers[ray]'"
        ) from error


def remote_arguments(resources: Mapping[str, float] | None) -> dict[str, Any]:
    """An actor's resources as Ray's arguments.

    Args:
        resources: such as {"NPU": 1}; None is one CPU.

    Raises:
        InvalidInputError: it is no mapping of names to amounts above 0.
    """
    if resources is None:
        return {"num_cpus": 1}
    if not isinstance(resources, Mapping):
        raise InvalidInputError(
            f'resources must be a mapping such as {{"NPU": 1}}, not {printed(resources)}.'
        )
    arguments: dict[str, Any] = {}
    custom: dict[str, float] = {}
    for name, amount in resources.items():
        if not isinstance(name, str) or not is_finite(amount) or amount <= 0:
            raise InvalidInputError(
                f"resources must hold names and amounts above 0, not {printed(name)}: "
                f"{printed(amount)}."
            )
        if name in _ARGUMENTS:
            arguments[_ARGUMENTS[name]] = amount
        else:
            custom[name] = amount
    return arguments | ({"resources": custom} if custom else {})


async def _awaited(reference: Any) -> Any:
    return await reference


class ScorerActor:
    """A GroupScorer on some machine of the cluster.

    Args:
        recipe: of its engine.
        settings: of the reranker.
    """

    def __init__(self, recipe: Recipe, settings: RerankSettings) -> None:
        self._scorer = GroupScorer(partial(engine_of, recipe), settings)

    async def start(self) -> RerankError | None:
        """Load the model, or ask the server; what was wrong, as a value, which Ray leaves whole."""
        try:
            await self._scorer.engine.afacts()
        except RerankError as error:
            return error
        return None

    async def rank(self, groups: Sequence[QueryGroup]) -> list[GroupRanking]:
        """The rankings without the documents' texts, which the caller has."""
        return [_without_texts(ranking) for ranking in await self._scorer.rank(groups)]


class ClusterWorker:
    """What a job knows of an actor.

    Args:
        actor: of ScorerActor; started elsewhere if its node is lost.
        lost: the errors of Ray's that say so.
    """

    def __init__(self, actor: Any, lost: type[Exception]) -> None:
        self._actor = actor
        self._lost = lost

    async def start(self) -> None:
        """Wait until the actor has a node and a model.

        Raises:
            RerankError: the model cannot be loaded, or the server not be reached.
        """
        # Waits for a node, again and again; ranking is left to others instead.
        start = self._actor.start.options(max_task_retries=-1)
        started = asyncio.ensure_future(_awaited(start.remote()))
        waited, _ = await asyncio.wait({started}, timeout=_PATIENCE_SECONDS)
        if not waited:
            logger.warning(
                "The cluster has no node free for an actor yet. `ray status` shows what it waits "
                "for."
            )
        try:
            error: RerankError | None = await started
        except self._lost as lost:
            raise EngineError(f"An actor of the cluster has ended for good: {lost}") from lost
        if error is not None:
            raise error

    async def rank(self, groups: Sequence[QueryGroup]) -> list[GroupRanking]:
        """One ranking for each group, in their order.

        Raises:
            WorkerLostError: the actor's process or node has ended.
        """
        try:
            rankings: list[GroupRanking] = await self._actor.rank.remote(groups)
        except self._lost as lost:
            raise WorkerLostError(f"an actor of the cluster is gone ({lost})") from lost
        return rankings


@contextmanager
def cluster_workers(
    address: str,
    recipe: Recipe,
    settings: RerankSettings,
    *,
    concurrency: int,
    resources: Mapping[str, float] | None,
) -> Iterator[list[ClusterWorker]]:
    """Actors of a cluster, which are ended with the block.

    Args:
        address: of the cluster, "auto" for the one of this machine, or "local" for a new one.
        recipe: of each actor's engine.
        settings: of the reranker.
        concurrency: how many actors.
        resources: of each, as for `remote_arguments`.

    Raises:
        InvalidInputError: there is no cluster at the address.
        MissingDependencyError: ray is not installed.
    """
    ray = import_ray()
    arguments = remote_arguments(resources)
    was_there = ray.is_initialized()
    if not was_there:
        _connect(ray, address)
    try:
        actor_class = ray.remote(ScorerActor).options(max_restarts=-1, **arguments)
        actors = [actor_class.remote(recipe, settings) for _ in range(concurrency)]
        try:
            yield [ClusterWorker(actor, ray.exceptions.RayActorError) for actor in actors]
        finally:
            for actor in actors:
                ray.kill(actor)
    finally:
        if not was_there:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    # A cluster that is only for this command sends nothing to Ray's makers.
    with environment_defaults({"RAY_USAGE_STATS_ENABLED": "0"}):
        try:
            _check_alive(address)
            with _own_sigterm():
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
            raise InvalidInputError(
                f"There is no Ray cluster at {printed(address)} ({type(error).__name__}). Start "
                "one with `ray start --head`, or say 'local' for one that lasts as long as this "
                "command."
            ) from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """SIGTERM goes on to do what it did before; Ray's handler would exit with a code of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        if error.code == signal.SIGTERM and callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        # None is a handler that Python did not install, and cannot install again.
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check_alive(address: str) -> None:
    """Raise OSError, ValueError or SubprocessError where `ray.init` would wait for minutes."""
    if address == "auto":
        address = environment("RAY_ADDRESS") or address
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    if not address.startswith("ray://"):
        command = ("-m", "ray.scripts.scripts", "health-check", "--address", address)
        subprocess.run(  # noqa: S603 - this Python, and an address that is one argument
            [sys.executable, *command], check=True, capture_output=True, timeout=_CONNECT_SECONDS
        )


def _without_texts(ranking: GroupRanking) -> GroupRanking:
    results = [replace(result, document="") for result in ranking.results]
    return replace(ranking, results=tuple(results))
