"""The package speaks the field's words: few vague names, and one meaning for each."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import qwen3_ascend_retrievers

PACKAGE = Path(qwen3_ascend_retrievers.__file__).parent
# Words that say nothing of what they hold: stand-ins, and participles for nouns.
# fmt: off
VAGUE = {
    "one", "thing", "item", "items", "obj", "data", "val", "asked", "chosen", "done", "found",
    "given", "gone", "kept", "known", "left", "made", "meant", "missing", "said", "seen", "shown",
    "taken", "told", "wanted", "wish", "wished", "wishes", "written",
}
# fmt: on
# Defined in several modules and the same in each: a logger, a type variable for any result, the
# class that has one name in both frameworks.
SAME_EVERYWHERE = {"logger", "Result", "Qwen3Rerank"}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text("utf-8"))


def bound_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ExceptHandler):
            yield node.name or "_"


def defined_names(tree: ast.Module) -> set[str]:
    """What a module defines at its top: functions, classes and constants, no imports."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_few_names_are_vague() -> None:
    names = Counter(name for _, tree in trees() for name in bound_names(tree))
    vague = {name: count for name, count in names.items() if name.strip("_").lower() in VAGUE}
    assert sum(vague.values()) < 0.015 * names.total(), vague


def test_no_name_has_two_meanings() -> None:
    homes: dict[str, list[str]] = {}
    for module, tree in trees():
        for name in defined_names(tree):
            homes.setdefault(name, []).append(module)
    assert {
        name: modules
        for name, modules in homes.items()
        if len(modules) > 1 and name not in SAME_EVERYWHERE and not name.startswith("__")
    } == {}
