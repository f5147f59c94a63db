"""The fields that both adapters have, and what is checked before anything is scored.

No framework is imported here, and nothing is done with the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from ..core.prompt import instruction_for
from ..engines.base import Engine, checked_engine
from ..engines.configured import engine_to_config
from ..engines.options import masked_options, written_options
from ..engines.registry import check_options, engine_from_config
from ..errors import InvalidInputError
from ..settings import DEFAULT_MODEL, DEFAULTS, SETTINGS, Combine, OnError, Overflow, RerankSettings
from .cache import check_cache, written_cache
from .unknown_fields import positional_text, unknown_field_text

# Both classes state it in their body: a base class of a framework would win over this one's.
FIELDS_CONFIG: Final = ConfigDict(
    arbitrary_types_allowed=True,
    extra="forbid",
    validate_assignment=True,
    hide_input_in_errors=True,
)


if TYPE_CHECKING:
    # A str is accepted too, and stored as a SecretStr.
    _Secret = SecretStr | str
else:
    _Secret = SecretStr


def _validated_engine(value: Any) -> Any:
    """An engine as passed, or rebuilt from its tagged config."""
    if isinstance(value, dict):
        return engine_from_config(value)
    return None if value is None else checked_engine("engine", value)


def _engine_config(engine: Engine | None) -> dict[str, Any] | None:
    return None if engine is None else engine_to_config(engine)


def setting_field(name: str, default: Any = ...) -> Any:
    """A field for one of `RerankSettings`, with its meaning, and its default or another."""
    default = getattr(DEFAULTS, name) if default is ... else default
    return Field(default=default, description=SETTINGS[name])


class RerankFields(BaseModel):
    """Fields of both adapters.

    A wrong value, an unknown field, or fields that exclude each other raise InvalidInputError,
    which is a ValueError too. Nothing is loaded, and no server is asked, before first use.
    """

    model_config = FIELDS_CONFIG

    model: str | None = Field(
        default=None,
        min_length=1,
        description="Folder or hub name, or 'tiny'; with base_url the name that the server knows. "
        f"None: what the server serves, or {DEFAULT_MODEL} without base_url.",
    )
    base_url: str | list[str] | None = Field(
        default=None,
        description="A server with /v1/rerank, or several with the same model. None: the model "
        "runs in this process.",
    )
    api_key: _Secret | None = Field(
        default=None,
        exclude=True,
        repr=False,
        description="The server's key. None: QWEN3_RERANK_API_KEY is read when it is needed. "
        "Pickles, deep copies and written forms leave it out.",
    )
    engine: Annotated[
        Engine | None,
        BeforeValidator(_validated_engine),
        PlainSerializer(_engine_config),
        WithJsonSchema({"type": "object"}),
    ] = Field(default=None, description="An engine object, instead of model and base_url.")
    engine_options: Annotated[dict[str, Any], PlainSerializer(written_options)] = Field(
        default={},
        description="Further arguments of the engine that model or base_url stands for, such as "
        "timeout or device. Pickles, deep copies and written forms leave headers out.",
    )
    top_n: int | None = setting_field("top_n")
    instruction: str | None = setting_field("instruction")
    score_threshold: float | None = setting_field("score_threshold")
    overflow: Overflow = setting_field("overflow")
    max_length: int | None = setting_field("max_length")
    window_overlap: int = setting_field("window_overlap")
    on_error: OnError = setting_field("on_error")
    max_documents: int | None = setting_field("max_documents")
    combine: Combine | None = setting_field("combine")
    cache: Annotated[
        Any,
        BeforeValidator(check_cache),
        PlainSerializer(written_cache),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string"}, {"type": "object"}]}),
    ] = Field(
        default=None,
        description="Where scores are kept, so that no pair is scored twice: True for memory, a "
        "folder, or a store of your own. None: nowhere.",
    )
    cache_namespace: str | None = Field(
        default=None,
        min_length=1,
        description="With cache: a name to change when a server's model changes, which it does not "
        "tell. Needed with base_url.",
    )
    show_progress: bool = Field(default=False, description="A bar on standard error.")
    diagnostics: bool = Field(
        default=False, description="Whether metadata says more of each score, as rerank_* keys."
    )

    # Type checkers make the signature from the fields.
    if not TYPE_CHECKING:

        def __new__(cls, *values: Any, **_: Any) -> Any:
            # Not in __init__, whose signature is shown to users as the class's own.
            if values:
                raise InvalidInputError(positional_text(cls.__name__, values))
            return super().__new__(cls)

        def __init__(self, **fields: Any) -> None:
            # A frame of an error's traceback must not hold a secret in plain text.
            if isinstance(fields.get("api_key"), str):
                fields["api_key"] = SecretStr(fields["api_key"])
            if "engine_options" in fields:
                fields["engine_options"] = masked_options(fields["engine_options"])
            try:
                super().__init__(**fields)
            except ValidationError as error:
                # Pydantic's own words would hide ours under a page of its traceback.
                raise _input_error(error, type(self)) from None
            self.check_together()

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "engine_options":
                value = masked_options(value)
            try:
                super().__setattr__(name, value)
            except ValidationError as error:
                raise _input_error(error, type(self)) from None

    @field_validator(*SETTINGS, mode="before")
    @classmethod
    def _check_setting(cls, value: Any, info: ValidationInfo) -> Any:
        RerankSettings(**{str(info.field_name): value})
        if info.field_name == "instruction" and value is not None:
            instruction_for(value)
        return value

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str | list[str] | None) -> str | list[str] | None:
        if value is None:
            return None
        urls = [value] if isinstance(value, str) else value
        if not urls or not all(url.strip() for url in urls):
            raise InvalidInputError("base_url is empty. Leave it out to run the model here.")
        # Not at the top of the file: httpx is not needed to run a model here.
        from ..engines.remote.config import addresses_of

        addresses_of(value)
        return value

    @field_validator("engine_options")
    @classmethod
    def _check_engine_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for name in value:
            if name in cls.model_fields:
                raise InvalidInputError(f"engine_options must not hold {name}: set the field.")
        # What is missing here was wrong itself; an engine that was passed has its own options.
        if info.data.keys() >= {"model", "base_url", "engine"} and info.data["engine"] is None:
            check_options(info.data["model"], info.data["base_url"], value)
        return value

    def check_together(self) -> None:
        """Raise InvalidInputError for fields that exclude each other."""
        if self.engine is not None:
            others = ("model", "base_url", "api_key", "engine_options")
            both = [name for name in others if getattr(self, name)]
            if both:
                raise InvalidInputError(
                    f"engine and {' and '.join(both)} exclude each other: the engine has its own."
                )
        if self.cache is None and self.cache_namespace is not None:
            raise InvalidInputError("cache_namespace is for a cache: pass cache too.")
        if self.cache is not None and self.base_url is not None and not self.cache_namespace:
            raise InvalidInputError(
                "A server does not tell which weights it has, and a cache must not mix two models' "
                "scores. Pass cache_namespace='...', a name that you change whenever the model "
                "changes."
            )
        if self.engine is None and self.api_key is not None and self.base_url is None:
            raise InvalidInputError("api_key is for a server: pass base_url too, or leave it out.")


def _input_error(error: ValidationError, model: type[RerankFields]) -> InvalidInputError:
    """Pydantic's errors as one of this package, without the values, secrets included."""
    messages = []
    for details in error.errors(include_url=False, include_input=False):
        name = ".".join(str(step) for step in details["loc"])
        cause = details.get("ctx", {}).get("error")
        if isinstance(cause, InvalidInputError):
            messages.append(str(cause))
        elif details["type"] == "extra_forbidden":
            messages.append(unknown_field_text(model.__name__, name, model.model_fields))
        else:
            messages.append(f"{name}: {details['msg']}.")
    return InvalidInputError(" ".join(messages))
