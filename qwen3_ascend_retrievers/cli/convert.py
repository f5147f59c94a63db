"""`qwen3-rerank convert`: an original checkpoint to one for sequence classification."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..models.conversion import convert
from ..tools.wording import counted
from .options import Json
from .output import err, out, print_json
from .running import command


@command
def convert_command(
    source: Annotated[
        str, typer.Argument(help="The original checkpoint: folder, hub name, or 'tiny'.")
    ],
    target: Annotated[Path, typer.Argument(help="The new folder, which must not exist.")],
    *,
    json: Json = False,
) -> None:
    """Convert an original checkpoint to sequence classification.

    The copy needs no overrides in vLLM and no 151,669-way head. It is written shard by shard,
    scores fixed pairs as the source does, and only then appears under its name.

    Example: qwen3-rerank convert Qwen/Qwen3-Reranker-8B ./Qwen3-Reranker-8B-seq-cls
    """
    console = err()
    columns = (TextColumn("copying"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        converted = convert(
            source,
            target,
            progress=lambda copied, total: progress.update(bar, completed=copied, total=total),
        )
    difference = max(abs(before - after) for before, after in converted.scores)
    peak = _peak_memory()
    if json:
        print_json(
            {
                "folder": str(converted.folder),
                "shards": converted.shards,
                "bytes": converted.size,
                "scores": [{"source": old, "copy": new} for old, new in converted.scores],
                "peak_rss_bytes": peak,
            }
        )
        return
    memory = "" if peak is None else f" Peak memory {peak / 1e6:,.0f} MB."
    out().print(
        f"{converted.folder}: {counted(converted.shards, 'file')}, {converted.size / 1e6:,.1f} MB. "
        f"{len(converted.scores)} fixed pairs score as in the source (largest difference "
        f"{difference:.1e}).{memory}",
        markup=False,
        soft_wrap=True,
    )


def _peak_memory() -> int | None:
    """The largest resident set of this process so far, in bytes; None if it is not measured."""
    # On Linux, getrusage includes the parent's size, with which a child begins.
    if (status := Path("/proc/self/status")).is_file():
        match = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        return None if match is None else int(match.group(1)) * 1024
    try:
        import resource
    except ImportError:
        return None
    # In bytes on macOS, the only other system that has it and runs this.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
