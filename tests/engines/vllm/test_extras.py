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


def closure(name: str, extras: frozenset[str], seen: set[tuple[str, str]]) -> Iterator[Requirement]:
    """What `name` with `extras` needs, and what that needs, as far as it is installed."""
    try:
        needed = requires(name) or []
    except PackageNotFoundError:
        return
    for one in map(Requirement, needed):
        wanted = one.marker is None or any(
            one.marker.evaluate({"extra": extra}) for extra in extras | {""}
        )
        key = (canonicalize_name(one.name), ",".join(sorted(one.extras)))
        if not wanted:
            continue
        yield one
        if key not in seen:
            seen.add(key)
            yield from closure(one.name, frozenset(one.extras), seen)


@pytest.mark.parametrize("extras", CONTAINER_EXTRAS)
def test_no_requirement_excludes_a_pin_of_the_container(extras: str) -> None:
    found = list(closure("qwen3-ascend-retrievers", frozenset(extras.split(",")), set()))
    names = {canonicalize_name(one.name) for one in found}
    assert {"langchain-core", "pydantic", "httpx"} <= names
    assert not {"torch", "transformers", "vllm", "numpy"} & names
    for one in found:
        pin = PINS.get(canonicalize_name(one.name))
        assert pin is None or one.specifier.contains(pin, prereleases=True), str(one)


def test_ascends_pins_are_vllm_ascends() -> None:
    pinned = [
        one
        for one in map(Requirement, requires("qwen3-ascend-retrievers") or [])
        if one.marker is not None
        and one.marker.evaluate(
            {"extra": "ascend", "platform_system": "Linux", "python_version": "3.11"}
        )
        and not one.marker.evaluate({"extra": "", "platform_system": "Linux"})
    ]
    found = {one.name: str(one.specifier) for one in pinned}
    assert set(found) == {"vllm", "vllm-ascend", "torch-npu", "tokenizers"}
    for name in ("vllm", "vllm-ascend", "torch-npu"):
        assert found[name] == f"=={PINS[name]}"
    assert Version(PINS["tokenizers"]) in next(
        one.specifier for one in pinned if one.name == "tokenizers"
    )
