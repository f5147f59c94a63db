"""`qwen3-rerank convert`: an original checkpoint becomes a sequence classification one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from ..models.conversion import convert as make
from .options import Json
from .output import err, out, write_json
from .running import command


@command
def convert(
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
        made = make(
            source,
            target,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    apart = max(abs(before - after) for before, after in made.scores)
    peak = _peak_memory()
    if json:
        write_json(
            {
                "folder": str(made.folder),
                "shards": made.shards,
                "bytes": made.size,
                "scores": [{"source": old, "copy": new} for old, new in made.scores],
                "peak_rss_bytes": peak,
            }
        )
        return
    memory = "" if peak is None else f" Peak memory {peak / 1e6:,.0f} MB."
    out().print(
        f"{made.folder}: {made.shards} file(s), {made.size / 1e6:,.1f} MB. {len(made.scores)} "
        f"fixed pairs score as in the source (largest difference {apart:.1e}).{memory}",
        markup=False,
        soft_wrap=True,
    )


def _peak_memory() -> int | None:
    """The largest resident set of this process so far, in bytes; None where nobody counts it."""
    # Linux's getrusage would answer for the parent, too, whose size a child begins with.
    if (status := Path("/proc/self/status")).is_file():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        return None if found is None else int(found.group(1)) * 1024
    try:
        import resource
    except ImportError:
        return None
    # In bytes on macOS, the only other system that has it and runs this.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
