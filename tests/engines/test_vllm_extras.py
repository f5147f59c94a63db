"""Installing the package beside vllm-ascend 0.23.0 moves none of what vllm-ascend pins.

Judged offline, from the requirements of what is installed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

# Requires-Dist of vllm-ascend 0.23.0's wheel on PyPI; of its ranges the newest that fits.
PINS = {
    "torch": "2.10.0",
    "torch-npu": "2.10.0.post4",
    "torchvision": "0.25.0",
    "torchaudio": "2.10.0",
    "triton-ascend": "3.2.2",
    "transformers": "5.5.4",
    "arctic-inference": "0.1.1",
    "fastapi": "0.123.10",
    # Of vllm 0.23.0's lower bounds, which a container of that day exceeds at most a little.
    "pydantic": "2.12.0",
    "tokenizers": "0.22.2",
    "vllm": "0.23.0",
    "vllm-ascend": "0.23.0",
}


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


def needed(extra: str) -> list[Requirement]:
    return list(closure("qwen3-ascend-retrievers", frozenset({extra}), set()))


def test_langchain_moves_no_pin_of_the_container() -> None:
    found = needed("langchain")
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
