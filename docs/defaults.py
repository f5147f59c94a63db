"""For the API reference: defaults that the code takes from a constant, as the values they are."""

from __future__ import annotations

from typing import Any

import griffe

from qwen3_ascend_retrievers.adapters.base import OWN_TOP_N
from qwen3_ascend_retrievers.settings import DEFAULTS


class DefaultValues(griffe.Extension):
    """Replaces the names in signatures."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Called for each function that griffe has read."""
        for parameter in func.parameters:
            name = str(parameter.default)
            if name == "OWN_TOP_N":
                parameter.default = repr(OWN_TOP_N)
            elif name.startswith("DEFAULTS."):
                parameter.default = repr(getattr(DEFAULTS, name.removeprefix("DEFAULTS.")))
