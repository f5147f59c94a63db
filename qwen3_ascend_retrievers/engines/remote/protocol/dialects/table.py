"""The table of dialects: a new one is a line here."""

from __future__ import annotations

from typing import Final

from .base import Dialect
from .cohere import COHERE, VARIANTS
from .llamacpp import LLAMACPP
from .sglang import SGLANG
from .tei import TEI
from .vllm import VLLM

DIALECTS: Final[dict[str, Dialect]] = {
    dialect.name: dialect for dialect in (VLLM, SGLANG, TEI, LLAMACPP, COHERE, *VARIANTS)
}
