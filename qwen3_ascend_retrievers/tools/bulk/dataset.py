"""Ray Data: `rerank_dataset`, and the actor that holds an engine."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ...errors import InvalidInputError, MissingDependencyError
from ...settings import DEFAULTS, Overflow, RerankSettings, printed, whole_number
from .cluster import import_ray, remote_arguments
from .columns import Columns
from .groups import GroupScorer
from .recipe import Recipe, engine_of, is_cascade, recipe_of
from .tables import added_values, groups_of, import_arrow, with_added

if TYPE_CHECKING:
    from collections.abc import Callable

    from ray.data import Dataset

    from ...engines.base import Engine

logger = logging.getLogger(__name__)

# So that an actor's next batch is there when it has finished one. Of each it works on several
# batches at once (Ray's own limit for asynchronous functions, 4).
_TASKS_IN_FLIGHT: Final = 4
_GROUPING_VERSION: Final = (2, 60)
_KEY_COLUMN: Final = "__query_key__"
_ROWS_COLUMN: Final = "__rows__"


def rerank_dataset(
    dataset: Dataset,
    engine: Engine | Mapping[str, Any] | Callable[[], Engine],
    *,
    query_column: str,
    documents_column: str | None = None,
    document_column: str | None = None,
    top_n: int | None = DEFAULTS.top_n,
    batch_size: int = 16,
    concurrency: int | tuple[int, int] = 1,
    resources: Mapping[str, float] | None = None,
    instruction: str | None = DEFAULTS.instruction,
    score_threshold: float | None = DEFAULTS.score_threshold,
    overflow: Overflow = DEFAULTS.overflow,
    max_length: int | None = DEFAULTS.max_length,
    window_overlap: int = DEFAULTS.window_overlap,
    max_documents: int | None = DEFAULTS.max_documents,
) -> Dataset:
    """Rerank a Ray dataset with one engine per actor; lazy, as all of Ray Data is.

    With `documents_column` a row is a query with a list of documents, and gets the column
    `results`: a list of `{index, relevance_score, truncated}`, best first; `index` is the
    document's place in its list, from 0. With `document_column` a row is one pair, and gets
    `relevance_score` (P(yes), in [0, 1]), `rank` (from 1, among the rows of its query) and
    `truncated`; the dataset is grouped by query first, so that a query's part is computed once.

    Every row also gets `__inference_error__`, the column of ray.data.llm: "" or what was wrong with
    it. A row that fails is kept, and costs no other row its score. A job ends with an error only
    where nothing can be scored: the model cannot be loaded, the server not be reached at the start.

    Args:
        dataset: with texts; other columns stay as they are.
        engine: an engine of this package or its written form, which each actor makes anew, or a
            function without arguments that makes an engine. Keys are never written down: they come
            from QWEN3_RERANK_API_KEY on the machine of the actor, or from such a function.
        query_column: the column with the query.
        documents_column: the column with a list of documents; or
        document_column: the column with one document.
        top_n: how many documents of a query are kept, at least 1; None keeps all. Rows of pairs
            that are not among them are left out, unless they have an error.
        batch_size: queries that an actor is given at once, at least 1.
        concurrency: how many actors, at least 1, or (least, most) for a pool that grows.
        resources: of each actor, such as {"NPU": 1}, {"GPU": 1} or {"CPU": 4}. None is one CPU, and
            a pool that begins with one actor.
        instruction: as for `Reranker`, and so are the others.
        score_threshold: leaves out documents that score below it, in [0, 1].
        overflow: "truncate", "window" or "error".
        max_length: tokens of a whole prompt; None takes the engine's maximum.
        window_overlap: most tokens that neighbouring windows share.
        max_documents: only the first so many documents of a list are scored. Not with
            `document_column`, where rows have no order.

    Raises:
        InvalidInputError: a wrong argument, or a missing column where the columns are known.
        MissingDependencyError: ray is not installed, or older than `document_column` needs (2.60).
    """
    ray = import_ray()
    if not isinstance(dataset, ray.data.Dataset):
        raise InvalidInputError(f"dataset must be a ray.data.Dataset, not {printed(dataset)}.")
    recipe = recipe_of(engine)
    columns = Columns(
        query=query_column,
        documents=documents_column,
        document=document_column,
        staged=is_cascade(recipe),
    )
    settings = RerankSettings(
        instruction=instruction,
        top_n=top_n,
        score_threshold=score_threshold,
        overflow=overflow,
        max_length=max_length,
        window_overlap=window_overlap,
        max_documents=max_documents,
    )
    if columns.is_pairs:
        _check_version(ray.__version__)
    if columns.is_pairs and max_documents is not None:
        raise InvalidInputError(
            "max_documents goes by the order of a list, and rows of pairs have none: use "
            "documents_column, or leave it out."
        )
    _check_columns(dataset, columns)
    return _grouped(dataset, columns).map_batches(
        BatchScorer,
        fn_constructor_args=(recipe, columns, settings),
        batch_size=whole_number("batch_size", batch_size, minimum=1),
        batch_format="pyarrow",
        **_actors(ray, concurrency, resources),
    )


def _check_version(version: str) -> None:
    """Raise MissingDependencyError where grouping is not safe.

    Seen on two CPUs: 2.44 loses rows behind a grouping, and 2.51 and 2.54 wait for themselves.
    """
    if tuple(map(int, version.split(".")[:2])) < _GROUPING_VERSION:
        raise MissingDependencyError(
            f"Grouping pairs by query needs Ray 2.60, and {version} is installed: pip install "
            "'ray[data]>=2.60'. Or keep a query's documents in one row, with documents_column."
        )


def _check_columns(dataset: Dataset, columns: Columns) -> None:
    names: list[str] | None = None
    # Unknown before the dataset runs, or of types that Ray cannot join, which no query needs.
    with suppress(Exception):
        names = dataset.columns(fetch_if_missing=False)
    if names is not None:
        columns.check(names)


def _actors(ray: Any, concurrency: Any, resources: Mapping[str, float] | None) -> dict[str, Any]:
    """How many actors with what, as arguments of `map_batches`."""
    arguments = remote_arguments(resources)
    least, most = _pool_size(concurrency, resources)
    _warn_of_no_cpu(ray, least, arguments.get("num_cpus", 0))
    pool = ray.data.ActorPoolStrategy(
        min_size=least, max_size=most, max_tasks_in_flight_per_actor=_TASKS_IN_FLIGHT
    )
    return {"compute": pool, **arguments}


def _pool_size(concurrency: Any, resources: Mapping[str, float] | None) -> tuple[int, int]:
    """The least and the most actors.

    Of actors that only take CPUs the first must be enough to begin with: where they have them all,
    nothing is left to read the data, and the job would wait for itself.
    """
    sizes = concurrency if isinstance(concurrency, tuple) else (concurrency, concurrency)
    if len(sizes) != 2:
        raise InvalidInputError(f"concurrency must be a number or (least, most), not {sizes}.")
    least, most = sizes
    least = whole_number("concurrency", least, minimum=1)
    most = whole_number("concurrency", most, minimum=least)
    return (1 if resources is None else least), most


def _warn_of_no_cpu(ray: Any, actors: int, cpus: float) -> None:
    total = ray.cluster_resources().get("CPU", 0) if ray.is_initialized() else None
    if total is not None and cpus and actors * cpus >= total:
        logger.warning(
            "%d actors of %g CPUs take all %g CPUs that the cluster has now, and reading the data "
            "needs one: take fewer, or resources={'CPU': 0.5}.",
            actors,
            cpus,
            total,
        )


class BatchScorer:
    """What an actor of `rerank_dataset` does: one engine, batches in, batches out.

    Args:
        recipe: of the engine.
        columns: that are read.
        settings: of the reranker.

    Raises:
        RerankError: the model cannot be loaded, or the server not be reached.
    """

    def __init__(self, recipe: Recipe, columns: Columns, settings: RerankSettings) -> None:
        self._columns = columns
        self._scorer = GroupScorer(partial(engine_of, recipe), settings)
        # A job whose every row would fail ends here, before it has touched one.
        self._scorer.engine.facts()

    async def __call__(self, batch: Any) -> AsyncIterator[Any]:
        """The batch with the results' columns."""
        columns = self._columns
        table = _ungrouped(batch) if columns.is_pairs else batch
        columns.check(table.column_names)
        queries = table.column(columns.query).to_pylist()
        texts = table.column(columns.texts).to_pylist()
        rankings = await self._scorer.rank(groups_of(queries, texts, columns))
        yield with_added(table, added_values(rankings, queries, columns), columns)


def _grouped(dataset: Dataset, columns: Columns) -> Dataset:
    """A row for each query, with all of its pairs, so that no batch parts them."""
    if not columns.is_pairs:
        return dataset
    keyed = dataset.map_batches(partial(_with_key, columns=columns), batch_format="pyarrow")
    return keyed.groupby(_KEY_COLUMN).map_groups(_collected, batch_format="pyarrow")


def _with_key(batch: Any, columns: Columns) -> Any:
    """A column to group by: a query may be of any type, and Ray sorts texts."""
    columns.check(batch.column_names)
    keys = [_query_key(query) for query in batch.column(columns.query).to_pylist()]
    return batch.append_column(_KEY_COLUMN, import_arrow().array(keys))


def _query_key(query: Any) -> str:
    text = f"{type(query).__name__} {query}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _collected(group: Any) -> Any:
    """A table of one row, which holds the rows of the group."""
    arrow = import_arrow()
    rows = group.drop_columns([_KEY_COLUMN]).to_struct_array()
    chunk = arrow.concat_arrays(rows.chunks) if rows.num_chunks != 1 else rows.chunk(0)
    return arrow.table({_ROWS_COLUMN: arrow.ListArray.from_arrays([0, len(chunk)], chunk)})


def _ungrouped(batch: Any) -> Any:
    """The rows that `_collected` put into rows."""
    arrow = import_arrow()
    structs = [chunk.flatten() for chunk in batch.column(_ROWS_COLUMN).chunks]
    return arrow.concat_tables([arrow.Table.from_struct_array(array) for array in structs])
