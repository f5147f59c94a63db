"""The progress bar of long calls: tqdm, imported only when a bar is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import MissingDependencyError


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """A function that moves a bar of `total` passages on standard error.

    Raises:
        MissingDependencyError: tqdm is not installed.
    """
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError(
            "show_progress needs tqdm: pip install 'qwen3-ascend-retrievers[progress]'"
        ) from error
    with tqdm(total=total, unit="passage", desc="reranking", leave=False) as bar:

        def advance(passages: int) -> None:
            bar.update(passages)

        yield advance
