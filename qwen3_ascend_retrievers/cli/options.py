"""The options that choose and set up an engine, shared by all commands that score."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
from pydantic import SecretStr

from ..core.prompt import INSTRUCTIONS
from ..engines.base import Engine
from ..engines.cache import with_cache
from ..engines.cascade import DEFAULT_KEEP, CascadeEngine
from ..engines.registry import ENGINES, PUBLIC, EngineRow, choose_engine, engine_from_config
from ..errors import InvalidInputError
from ..reranker import Reranker
from ..settings import API_KEY_VARIABLE, DEFAULT_MODEL, DEFAULTS, Combine
from .engine_options import parse_engine_options
from .key_files import read_key_file

PANEL: Final = "Engine"
_NAMED_ROWS: Final = [f"{row.tag} ({row.about})" for row in PUBLIC]
ENGINE_NAMES: Final = f"{', '.join(_NAMED_ROWS[:-1])} or {_NAMED_ROWS[-1]}"
# What is meant where the caller names no engine.
_BY_BASE_URL: Final = next(row for row in PUBLIC if not row.in_process)
_BY_DEVICE: Final = next(row for row in PUBLIC if "device" in row.options())
Threshold = Annotated[
    float | None,
    typer.Option(help="Leave out documents that score below it, from 0 to 1.", show_default="none"),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


class OverflowChoice(str, Enum):
    """What happens to a document over the budget; the values are those of `settings.Overflow`."""

    truncate = "truncate"
    window = "window"
    error = "error"


_OVERFLOW: Final = OverflowChoice(DEFAULTS.overflow)


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Which engine scores, and how. Nothing is loaded before `reranker()` is used."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Folder or hub name, or 'tiny', the bundled demonstration model. With --base-url "
            f"the name the server knows. Default: what the server serves, or {DEFAULT_MODEL}.",
            rich_help_panel=PANEL,
        ),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            help="A server with /v1/rerank, such as http://npu-host:8000. Without it the model "
            "runs in this process.",
            rich_help_panel=PANEL,
        ),
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(
            help=f"{ENGINE_NAMES}. Default: {_BY_BASE_URL.tag} with --base-url, "
            f"{_BY_DEVICE.tag} with --device, else what is installed.",
            rich_help_panel=PANEL,
        ),
    ] = None
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the server's key. The key is never taken from the command line, "
            "which other users can see.",
            show_default=f"the variable {API_KEY_VARIABLE}",
            rich_help_panel=PANEL,
        ),
    ] = None
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="With --base-url: the served model's folder or hub name, to count tokens here.",
            rich_help_panel=PANEL,
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            help="For the local engine: auto, cpu, cuda, npu or mps, with a number such as npu:1.",
            show_default="auto",
            rich_help_panel=PANEL,
        ),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option(
            help="In this process: auto, float32, bfloat16 or float16.",
            show_default="auto",
            rich_help_panel=PANEL,
        ),
    ] = None
    engine_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A further argument of the engine's class in Python, such as timeout=10 or "
            "verify=false: JSON, else text. May be repeated. Other users can see it.",
            show_default=False,
            rich_help_panel=PANEL,
        ),
    ] = field(default=None, repr=False)  # A header's value may be among them.
    instruction: Annotated[
        str | None,
        typer.Option(
            "--instruction",
            "-i",
            help="The task in one sentence (English works best), or a preset's name: "
            f"{', '.join(INSTRUCTIONS)}.",
            show_default="web search",
            rich_help_panel=PANEL,
        ),
    ] = None
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Maximum tokens of a whole prompt.",
            show_default="the engine's own",
            rich_help_panel=PANEL,
        ),
    ] = None
    first_model: Annotated[
        str | None,
        typer.Option(
            help="A smaller model, by its folder or hub name or 'tiny', that scores everything in "
            "this process first; the other one scores only the best of it.",
            show_default="none",
            rich_help_panel=PANEL,
        ),
    ] = None
    keep: Annotated[
        int | None,
        typer.Option(
            help="With --first-model: how many documents go on.",
            show_default=str(DEFAULT_KEEP),
            rich_help_panel=PANEL,
        ),
    ] = None
    cache: Annotated[
        # Not a Path, which takes an empty name for the current folder.
        str | None,
        typer.Option(
            metavar="PATH",
            help="A folder with the scores of former calls, so that no pair is scored twice.",
            show_default="none",
            rich_help_panel=PANEL,
        ),
    ] = None
    cache_namespace: Annotated[
        str | None,
        typer.Option(
            help="With --cache and --base-url: a name to change when the server's model changes, "
            "which it does not tell.",
            rich_help_panel=PANEL,
        ),
    ] = None
    overflow: Annotated[
        OverflowChoice,
        typer.Option(
            help="A document over the budget: truncate cuts it, window scores overlapping windows "
            "of which the best counts, error refuses it.",
            rich_help_panel=PANEL,
        ),
    ] = _OVERFLOW

    def reranker(
        self,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        max_documents: int | None = None,
        combine: Combine | None = None,
        show_progress: bool | None = None,
    ) -> Reranker:
        """A reranker with the chosen engine; by default with a bar if stderr is a terminal.

        Raises:
            InvalidInputError: options that exclude each other, or a wrong value.
            MissingDependencyError: no engine for this is installed.
        """
        return Reranker(
            self._with_cache(self._with_first_stage(self.make_engine())),
            instruction=self.instruction,
            top_n=top_n,
            score_threshold=threshold,
            max_length=self.max_length,
            overflow=self.overflow.value,
            max_documents=max_documents,
            combine=combine,
            show_progress=sys.stderr.isatty() if show_progress is None else show_progress,
        )

    def check_single(self, name: str) -> None:
        """Raise InvalidInputError for options that put something around the engine.

        Args:
            name: of the command, which looks at one engine.
        """
        if self.first_model is not None or self.cache is not None:
            raise InvalidInputError(
                f"{name} looks at one engine that scores everything anew: leave --first-model and "
                "--cache out."
            )

    def make_engine(self, **remote: Any) -> Engine:
        """The chosen engine, with further settings if it is a remote one. Raises as `reranker`."""
        row, options = self._row(), self._options()
        if row is None:
            return choose_engine(self.model, None, None, self.max_length, options)
        row.check_options(options)
        arguments: dict[str, Any]
        if row.in_process:
            arguments = {"model": self.model or DEFAULT_MODEL}
            arguments |= {} if self.max_length is None else {"max_length": self.max_length}
        else:
            arguments = {"base_url": self.base_url, "model": self.model, "api_key": self.api_key()}
            options |= remote
        return cast(Engine, engine_from_config({"engine": row.tag, **arguments, **options}))

    def _with_first_stage(self, engine: Engine) -> Engine:
        if self.first_model is None:
            if self.keep is not None:
                raise InvalidInputError("--keep is for a cascade: add --first-model.")
            return engine
        options = {
            name: value for name, value in self._own_options().items() if name != "tokenizer"
        }
        row = None if self.device is None else _BY_DEVICE
        if row is None:
            first = choose_engine(self.first_model, None, None, self.max_length, options)
        else:
            length = {} if self.max_length is None else {"max_length": self.max_length}
            config = {"engine": row.tag, "model": self.first_model, **length, **options}
            first = cast(Engine, engine_from_config(config))
        return CascadeEngine([first, engine], DEFAULT_KEEP if self.keep is None else self.keep)

    def _with_cache(self, engine: Engine) -> Engine:
        if self.cache is None:
            if self.cache_namespace is not None:
                raise InvalidInputError("--cache-namespace is for a cache: add --cache.")
            return engine
        if self.base_url is not None and self.cache_namespace is None:
            raise InvalidInputError(
                "A server does not tell which weights it has, and a cache must not mix two models' "
                "scores: add --cache-namespace, a name that you change when the model changes."
            )
        return with_cache(engine, self.cache, self.cache_namespace)

    def _options(self) -> dict[str, Any]:
        """The engine's options, masked: those with an option of their own, and the others."""
        return parse_engine_options(self.engine_option or ()) | self._own_options()

    def _own_options(self) -> dict[str, Any]:
        own = {"tokenizer": self.tokenizer, "device": self.device, "dtype": self.dtype}
        return {name: value for name, value in own.items() if value is not None}

    def api_key(self) -> SecretStr | None:
        """The key in the file; None without one, and the engine reads the environment."""
        if self.api_key_file is None:
            return None
        return SecretStr(read_key_file(self.api_key_file))

    def _row(self) -> EngineRow | None:
        """The engine's row; None leaves the choice to what is installed."""
        tags = sorted(row.tag for row in PUBLIC)
        if self.engine is not None and self.engine not in tags:
            raise InvalidInputError(
                f"--engine must be one of {', '.join(tags)}, not {self.engine!r}."
            )
        row = None if self.engine is None else ENGINES[self.engine]
        remote = self.base_url is not None
        if row is not None and row.in_process == remote:
            raise InvalidInputError(f"--engine {_BY_BASE_URL.tag} and --base-url go together.")
        here = {"--device": self.device, "--dtype": self.dtype}
        there = {"--tokenizer": self.tokenizer, "--api-key-file": self.api_key_file}
        for name, value in (here if remote else there).items():
            if value is not None:
                where = "a model in this process" if remote else "a server: add --base-url"
                raise InvalidInputError(f"{name} is for {where}.")
        if row is None and remote:
            return _BY_BASE_URL
        return row or (_BY_DEVICE if self.device else None)
