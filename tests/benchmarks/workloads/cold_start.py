"""From the start of Python to the first score, and what imports cost; a fresh process each time."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.checkpoint import model_folder
from benchmarks.scale import Scale
from benchmarks.scorers import CARD, CROSS_ENCODER, LOCAL
from benchmarks.tables import Table, ratio_rows
from benchmarks.turns import NoServer, Turns, in_turns, reason_of

PYTHON = "Python alone"
PACKAGE = "`import qwen3_ascend_retrievers`"
CORE = "`import langchain_core.retrievers`"
ADAPTER = "`import qwen3_ascend_retrievers.langchain`"
_IMPORTS = {
    PYTHON: "pass",
    PACKAGE: "import qwen3_ascend_retrievers",
    CORE: "import langchain_core.retrievers",
    ADAPTER: "import qwen3_ascend_retrievers.langchain",
}
_SCORING = "from benchmarks.scorers import {0}; {0}({1!r}, 'float32').score([('a', 'b')])"
_SCORERS = {LOCAL: "local", CARD: "card", CROSS_ENCODER: "cross_encoder"}


def measure(scale: Scale) -> dict[str, Any]:
    """What a process took for imports, and for one score with the model loaded."""
    model = model_folder(scale)
    scores = {name: _SCORING.format(builder, model) for name, builder in _SCORERS.items()}
    return {"imports": _timed(_IMPORTS, scale), "scores": _timed(scores, scale)}


def _timed(programs: dict[str, str], scale: Scale) -> dict[str, Any]:
    turns = Turns(NoServer())
    # The first round reads the files into memory.
    for name in in_turns(list(programs), scale.cold_starts + 1):
        command = [sys.executable, "-W", "ignore", "-c", programs[name]]
        if name in turns.refused:
            continue
        try:
            with turns.timed(name, 1):
                subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            turns.refused[name] = reason_of(RuntimeError(error.stderr.strip().splitlines()[-1]))
    return turns.record()


def tables(measured: dict[str, Any]) -> list[Table]:
    """Imports beside bare Python and LangChain's own, first scores beside LocalEngine's."""
    columns = ("time beside that of Python alone", "beside LangChain's own")
    imports = measured["imports"]
    bases = zip(columns, (PYTHON, CORE), strict=True)
    cells = {
        column: ratio_rows(list(_IMPORTS), {column: imports}, base=base, peers=(), ours=PACKAGE)
        for column, base in bases
    }
    rows = [[*first, *second[1:]] for first, second in zip(*cells.values(), strict=True)]
    scores = ratio_rows(
        list(_SCORERS),
        {"": measured["scores"]},
        base=LOCAL,
        peers=(CARD, CROSS_ENCODER),
        ours=LOCAL,
    )
    return [
        Table(("import", *columns), rows),
        Table(("contender", "time to a first score / `LocalEngine`'s"), scores),
    ]
