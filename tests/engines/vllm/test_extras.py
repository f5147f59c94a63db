"""What the package requires allows every pin of vllm-ascend 0.23.0.

Judged offline, from the requirements of what is installed here, for pins that no index here has
(torch-npu) too. What pip makes of them is in tests/test_wheel.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from support.ascend_pins import CONTAINER_EXTRAS, PINS


def closure(
    name: str, extras: frozenset[str], visited: set[tuple[str, str]]
) -> Iterator[Requirement]:
    """What `name` with `extras` needs, and what that needs, as far as it is installed."""
    try:
        needed = requires(name) or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, needed):
        marker = requirement.marker
        applies = marker is None or any(marker.evaluate({"extra": name}) for name in extras | {""})
        key = (canonicalize_name(requirement.name), ",".join(sorted(requirement.extras)))
        if not applies:
            continue
        yield requirement
        if key not in visited:
            visited.add(key)
            yield from closure(requirement.name, frozenset(requirement.extras), visited)


@pytest.mark.parametrize("extras", CONTAINER_EXTRAS)
def test_no_requirement_excludes_a_pin_of_the_container(extras: str) -> None:
    needed = list(closure("qwen3-ascend-retrievers", frozenset(extras.split(",")), set()))
    names = {canonicalize_name(requirement.name) for requirement in needed}
    assert {"langchain-core", "pydantic", "httpx"} <= names
    assert not {"torch", "transformers", "vllm", "numpy"} & names
    for requirement in needed:
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin is None or requirement.specifier.contains(pin, prereleases=True), requirement


def test_ascends_pins_are_vllm_ascends() -> None:
    pinned = [
        requirement
        for requirement in map(Requirement, requires("qwen3-ascend-retrievers") or [])
        if requirement.marker is not None
        and requirement.marker.evaluate(
            {"extra": "ascend", "platform_system": "Linux", "python_version": "3.11"}
        )
        and not requirement.marker.evaluate({"extra": "", "platform_system": "Linux"})
    ]
    specifiers = {requirement.name: requirement.specifier for requirement in pinned}
    assert set(specifiers) == {"vllm", "vllm-ascend", "torch-npu", "tokenizers"}
    for name in ("vllm", "vllm-ascend", "torch-npu"):
        assert str(specifiers[name]) == f"=={PINS[name]}"
    assert Version(PINS["tokenizers"]) in specifiers["tokenizers"]
