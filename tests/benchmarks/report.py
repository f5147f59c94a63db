"""Writes records into the pages: tables between two marks, and pictures beside the pages.

The prose around the marks is written by hand, in both languages, and stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import pictures
from benchmarks.tables import Table
from benchmarks.wording import chinese
from benchmarks.workloads import WORKLOADS

Record = Mapping[str, Any]
# Each page, and how a cell is said there.
PAGES: dict[str, Callable[[str], str]] = {"benchmarks.md": str, "benchmarks.zh.md": chinese}
MACHINE = "machine"


def write(records: Mapping[str, Record], docs: Path) -> None:
    """Put the tables and pictures of these records into the pages of a folder.

    Raises:
        ValueError: a page has no place for one of them.
    """
    tables = {}
    for workload in WORKLOADS:
        if workload.name in records:
            measured = records[workload.name]["measured"]
            tables[workload.name] = workload.tables(measured)
            figure = workload.picture(measured)
            if figure is not None:
                picture = docs / "assets" / f"bench-{workload.name}.png"
                picture.write_bytes(pictures.png(figure))
    tables[MACHINE] = [machine_table(list(records.values()))]
    for name, translate in PAGES.items():
        text = (docs / name).read_text("utf-8")
        for place, shown in tables.items():
            text = _filled(text, place, "\n\n".join(markdown(each, translate) for each in shown))
        (docs / name).write_text(text, "utf-8")


def markdown(table: Table, translate: Callable[[str], str]) -> str:
    """A table in Markdown."""
    head, *rows = [f"| {' | '.join(map(translate, row))} |" for row in (table.columns, *table.rows)]
    return "\n".join((head, "|" + "---|" * len(table.columns), *rows))


def machine_table(records: list[Record]) -> Table:
    """Where, and with which versions, the records were measured."""
    facts = [*records[0]["machine"].items(), *records[0]["versions"].items()]
    load = max(record["load_before"] for record in records)
    facts.append(("load average before a workload, at most", f"{load:.1f}"))
    versions = records[0]["versions"]
    rows = [[f"`{name}`" if name in versions else name, value] for name, value in facts]
    return Table(("machine and software", "used"), rows)


def _filled(text: str, place: str, content: str) -> str:
    """The page with the content between the two marks of a place."""
    pattern = re.compile(rf"(<!-- bench:{place} -->\n).*?(<!-- /bench -->)", re.DOTALL)
    filled, count = pattern.subn(lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text)
    if count != 1:
        raise ValueError(f"The page needs one place <!-- bench:{place} --> ... <!-- /bench -->.")
    return filled
