"""Records what torch runs: inputs of each embedding call, shapes of each linear output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)


@dataclass
class TorchCalls:
    """What ran.

    Attributes:
        passes: tokens of each forward pass.
        widths: last dimensions of the linear layers' outputs.
        threads: idents of the threads that ran them.
    """

    passes: list[int] = field(default_factory=list)
    widths: set[int] = field(default_factory=set)
    threads: set[int] = field(default_factory=set)


@contextmanager
def record_torch_calls(before: Callable[[int], None] | None = None) -> Iterator[TorchCalls]:
    """What torch runs inside the block; `before` is called with each pass's tokens."""
    calls = TorchCalls()

    def enters(module: Any, inputs: Any) -> None:
        if isinstance(module, torch.nn.Embedding):
            rows, tokens = inputs[0].shape
            assert rows == 1, "rows are packed"
            calls.passes.append(tokens)
            calls.threads.add(threading.get_ident())
            if before is not None:
                before(tokens)

    def leaves(module: Any, _: Any, output: Any) -> None:
        if isinstance(module, torch.nn.Linear):
            calls.widths.add(output.shape[-1])

    handles = [register_module_forward_pre_hook(enters), register_module_forward_hook(leaves)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
