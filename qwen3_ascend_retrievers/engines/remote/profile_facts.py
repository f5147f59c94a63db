"""What the rest of the package, and people, are told of a server. Nothing is asked here."""

from __future__ import annotations

from typing import Final

from ...core.plan import Counting
from ..base import EngineFacts
from .config import RemoteConfig
from .limits import LearnedLimits
from .protocol.dialects.base import least
from .protocol.dialects.table import DIALECTS
from .protocol.template_owner import Mode
from .replicas import ServerProfile

_COUNTING: Final[dict[str, Counting]] = {
    "local": "always",
    "server": "when_needed",
    "none": "never",
}
_TOKENS: Final = {
    "local": "counted by tokenizer=... on this side",
    "server": "counted by the server's {path}",
    "none": "estimated, as nothing counts them",
}


def facts_of(profile: ServerProfile, limits: LearnedLimits, config: RemoteConfig) -> EngineFacts:
    """The facts of the engine that asks this server."""
    # For the classify route every text must be encoded.
    counting = "always" if profile.mode.route == "classify" else _COUNTING[profile.tokens]
    return EngineFacts(
        model=profile.display_name or "unknown",
        max_length=least(profile.max_length, limits.prompt_tokens),
        counting=counting,
        template_verified=profile.mode.verified,
        templated=profile.mode.template != "none",
        token_ids=profile.mode.route == "classify",
        details=_descriptions(profile, limits, config),
    )


def _descriptions(
    profile: ServerProfile, limits: LearnedLimits, config: RemoteConfig
) -> dict[str, str]:
    dialect, mode = profile.dialect, profile.mode
    by_ids = mode.route == "classify"
    path = dialect.tokenize.path if dialect.tokenize else ""
    return {
        "dialect": f"{dialect.name}: {profile.reason}",
        "route": "/classify, token ids" if by_ids else f"{profile.route}, texts",
        "template": _template_text(mode),
        "instruction": _instruction_text(mode, dialect.instruction_field),
        "scores": "logits" if mode.logits or mode.plain == "logit" else "probabilities",
        "tokens": _TOKENS[profile.tokens].format(path=path),
        "max_length": _length_text(profile, limits.prompt_tokens),
        "documents": _documents_text(
            config.batch_size, least(dialect.max_documents, limits.documents)
        ),
    }


def _template_text(mode: Mode) -> str:
    if mode.route == "classify":
        return "by this side, as token ids: exact"
    if mode.template == "none":
        return "none: texts are sent as they are"
    side = "by this side" if mode.template == "client" else "by the server"
    if mode.verified:
        return f"{side}, proven exact by the same scores of token ids"
    if mode.verified is None:
        return f"{side}, as it was said or is known of this dialect; nothing shows it"
    return f"{side}, by token counts; exactness not proven"


def _instruction_text(mode: Mode, field: str | None) -> str:
    if mode.template != "server":
        return "reaches the prompt"
    if mode.instructions is None:
        return f"sent as {field!r}; nothing shows whether it is used"
    return f"sent as {field!r}, and used" if mode.instructions else "fixed by the server"


def _length_text(profile: ServerProfile, learned: int | None) -> str:
    if learned is not None and learned == least(profile.max_length, learned):
        return f"{learned:,} tokens, by the server's refusal of more"
    if profile.max_length is None:
        return "unknown; set max_length=... if the server's is known"
    # The profile's dialect has what the server says of itself; this is the family's.
    is_fixed = profile.max_length == DIALECTS[profile.dialect.name].max_length
    return f"{profile.max_length:,} tokens, by the {'dialect' if is_fixed else 'server'}"


def _documents_text(batch_size: int, most: int | None) -> str:
    if most is not None and most < batch_size:
        return f"at most {most:,} in a request, by the server"
    return f"at most {batch_size:,} in a request, by batch_size"
