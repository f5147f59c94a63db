"""LocalEngine's arguments, checked. Values only; nothing is looked up here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from ...settings import check_choice, text_or_path, whole_number
from .device import check_local_device

LOCAL_DTYPES: Final = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """LocalEngine's arguments; see there.

    Raises:
        InvalidInputError: one is of the wrong type or out of range.
    """

    model: str
    device: str
    dtype: str
    max_length: int
    batch_tokens: int
    revision: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", text_or_path("model", self.model))
        if self.revision is not None:
            object.__setattr__(self, "revision", text_or_path("revision", self.revision))
        check_local_device(self.device)
        check_choice("dtype", self.dtype, LOCAL_DTYPES)
        whole_number("max_length", self.max_length, minimum=1)
        whole_number("batch_tokens", self.batch_tokens, minimum=1)

    def config(self) -> dict[str, Any]:
        """JSON-safe constructor arguments."""
        return asdict(self)
