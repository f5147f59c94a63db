"""The workloads: a module each, and a row here.

A module has `measure(scale)`, which returns JSON, and `tables(measured)`, which shows it; it may
have `picture(measured)`. The pages docs/benchmarks.md and docs/benchmarks.zh.md have a line
`<!-- bench:NAME -->` and a line `<!-- /bench -->` where the tables go. Modules are imported when
they run, so that one that needs an engine's library does not keep the others from running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from benchmarks.scale import Scale
from benchmarks.tables import Table


@dataclass(frozen=True)
class Workload:
    """A row.

    Attributes:
        name: of the record, the picture and the place in the pages.
        module: in this folder.
        options: further arguments of its `measure`.
    """

    name: str
    module: str
    options: tuple[tuple[str, Any], ...] = ()

    def measure(self, scale: Scale) -> Any:
        """Run it."""
        return self._module().measure(scale, **dict(self.options))

    def tables(self, measured: Any) -> Sequence[Table]:
        """What it measured, to be read."""
        tables: Sequence[Table] = self._module().tables(measured)
        return tables

    def picture(self, measured: Any) -> Any:
        """What it measured as matplotlib's figure; None if it has no picture."""
        draw = getattr(self._module(), "picture", None)
        return draw and draw(measured)

    def _module(self) -> Any:
        return import_module(f"{__name__}.{self.module}")


WORKLOADS = (
    Workload("documents", "documents", (("batch_size", 10_000),)),
    Workload("documents-default", "documents"),
    Workload("concurrent", "concurrent"),
    Workload("waiting", "waiting"),
    Workload("beside", "beside"),
    Workload("balance", "balance"),
    Workload("in-process", "in_process"),
    Workload("in-process-bfloat16", "in_process", (("dtype", "bfloat16"),)),
    Workload("ablation", "ablation"),
    Workload("repeated", "repeated"),
    Workload("cached", "cached"),
    Workload("cold-start", "cold_start"),
    Workload("vllm", "vllm_engine"),
    Workload("streamed", "streamed"),
)
