"""LocalEngine's arguments, checked. Values only; nothing is looked up here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ...settings import check_choice, text_or_path, whole_number
from .device import check_local_devices

LOCAL_DTYPES: Final = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """LocalEngine's arguments; see there.

    Raises:
        InvalidInputError: one is of the wrong type or out of range.
    """

    model: str
    device: str | Sequence[str]
    dtype: str
    max_length: int
    batch_tokens: int | None
    revision: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", text_or_path("model", self.model))
        if self.revision is not None:
            object.__setattr__(self, "revision", text_or_path("revision", self.revision))
        object.__setattr__(self, "device", check_local_devices(self.device))
        check_choice("dtype", self.dtype, LOCAL_DTYPES)
        whole_number("max_length", self.max_length, minimum=1)
        if self.batch_tokens is not None:
            whole_number("batch_tokens", self.batch_tokens, minimum=1)

    @property
    def devices(self) -> list[str]:
        """The devices, one at least."""
        return [self.device] if isinstance(self.device, str) else list(self.device)

    def config(self) -> dict[str, Any]:
        """JSON-safe constructor arguments."""
        return asdict(self)
