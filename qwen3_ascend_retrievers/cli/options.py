"""The options that choose and set up an engine, shared by all commands that score."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
from pydantic import SecretStr

from ..core.prompt import INSTRUCTIONS
from ..engines.base import ENGINE_CLASSES, Engine, engine_from_config
from ..engines.registry import choose_engine
from ..errors import InvalidInputError
from ..reranker import Reranker
from ..settings import API_KEY_VARIABLE, DEFAULT_MODEL
from ..tools.documents.files import read_text

PANEL: Final = "Engine"
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]


class OverflowChoice(str, Enum):
    """What happens to a document over the budget; the values are those of `settings.Overflow`."""

    truncate = "truncate"
    window = "window"
    error = "error"


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
            help="local (transformers), vllm or remote. Default: remote with --base-url, local "
            "with --device, else what is installed.",
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
    overflow: Annotated[
        OverflowChoice,
        typer.Option(
            help="A document over the budget: truncate cuts it, window scores overlapping windows "
            "of which the best counts, error refuses it.",
            rich_help_panel=PANEL,
        ),
    ] = OverflowChoice.truncate

    def reranker(
        self,
        *,
        top_n: int | None = None,
        threshold: float | None = None,
        show_progress: bool | None = None,
    ) -> Reranker:
        """A reranker with the chosen engine; by default with a bar if stderr is a terminal.

        Raises:
            InvalidInputError: options that exclude each other, or a wrong value.
            MissingDependencyError: no engine for this is installed.
        """
        return Reranker(
            self.make_engine(),
            instruction=self.instruction,
            top_n=top_n,
            score_threshold=threshold,
            max_length=self.max_length,
            overflow=self.overflow.value,
            show_progress=sys.stderr.isatty() if show_progress is None else show_progress,
        )

    def make_engine(self, **remote: Any) -> Engine:
        """The chosen engine, with further settings if it is a remote one. Raises as `reranker`."""
        tag = self._tag()
        if tag is None:
            return choose_engine(self.model, None, None, self.max_length, self.dtype)
        arguments: dict[str, Any] = {"engine": tag}
        if tag == "remote":
            given = {"base_url": self.base_url, "model": self.model, "tokenizer": self.tokenizer}
            arguments |= given | {"api_key": self.api_key()} | remote
        else:
            arguments["model"] = self.model or DEFAULT_MODEL
            here = {"device": self.device, "dtype": self.dtype, "max_length": self.max_length}
            arguments |= {name: value for name, value in here.items() if value is not None}
        return cast(Engine, engine_from_config(arguments))

    def api_key(self) -> SecretStr | None:
        """The key in the file; None without one, and the engine reads the environment."""
        if self.api_key_file is None:
            return None
        key = read_text(self.api_key_file).strip()
        if not key:
            raise InvalidInputError(f"{self.api_key_file} is empty. Put the server's key into it.")
        return SecretStr(key)

    def _tag(self) -> str | None:
        """The engine's tag in ENGINE_CLASSES; None leaves the choice to what is installed."""
        known = sorted(set(ENGINE_CLASSES) - {"fake"})
        if self.engine is not None and self.engine not in known:
            raise InvalidInputError(
                f"--engine must be one of {', '.join(known)}, not {self.engine!r}."
            )
        if (self.engine == "remote") != (self.base_url is not None) and self.engine is not None:
            raise InvalidInputError("--engine remote and --base-url go together.")
        remote = self.base_url is not None
        here = {"--device": self.device, "--dtype": self.dtype}
        there = {"--tokenizer": self.tokenizer, "--api-key-file": self.api_key_file}
        for name, value in (here if remote else there).items():
            if value is not None:
                where = "a model in this process" if remote else "a server: add --base-url"
                raise InvalidInputError(f"{name} is for {where}.")
        if remote:
            return "remote"
        return self.engine or ("local" if self.device else None)
