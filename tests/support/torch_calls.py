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
        passes: (rows, tokens of a row) of each forward pass.
        widths: last dimensions of the linear layers' outputs.
        threads: idents of the threads that ran them.
    """

    passes: list[tuple[int, int]] = field(default_factory=list)
    widths: set[int] = field(default_factory=set)
    threads: set[int] = field(default_factory=set)


@contextmanager
def record_torch_calls(before: Callable[[int, int], None] | None = None) -> Iterator[TorchCalls]:
    """What torch runs inside the block; `before` is called with each pass's rows and tokens."""
    calls = TorchCalls()

    def enters(module: Any, inputs: Any) -> None:
        if isinstance(module, torch.nn.Embedding):
            rows, tokens = inputs[0].shape
            calls.passes.append((rows, tokens))
            calls.threads.add(threading.get_ident())
            if before is not None:
                before(rows, tokens)

    def leaves(module: Any, _: Any, output: Any) -> None:
        if isinstance(module, torch.nn.Linear):
            calls.widths.add(output.shape[-1])

    handles = [register_module_forward_pre_hook(enters), register_module_forward_hook(leaves)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
