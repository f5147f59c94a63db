"""What both adapters do: find their engine, rerank directly, copy themselves.

No framework is imported here. The frameworks' own types, events and ways of writing things down
are in langchain.py and llama_index.py; the fields are in fields.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

from pydantic import PrivateAttr

from ..core.results import Ranking
from ..core.validation import check_list
from ..engines.base import Engine
from ..engines.configured import Configured, engine_to_config
from ..engines.options import masked_options, written_options
from ..errors import InvalidInputError
from ..reranker import Reranker
from ..settings import DEFAULT_MODEL, SETTINGS
from .cache import CacheHandle, written_cache
from .engine_handle import EngineHandle
from .fields import RerankFields
from .metadata import result_metadata
from .texts import DocumentTexts

# The value of `rerank(top_n=...)` that means the component's own, as in CohereRerank.
OWN_TOP_N: Final = -1


class Adapter(RerankFields):
    """Direct use, engine and copies of both adapters.

    Nothing is loaded, and no server is asked, before first use.
    """

    _handle: EngineHandle = PrivateAttr(default_factory=EngineHandle)
    _cache_handle: CacheHandle = PrivateAttr(default_factory=CacheHandle)

    def rerank(
        self, documents: Iterable[Any], query: str, *, top_n: int | None = OWN_TOP_N
    ) -> list[dict[str, Any]]:
        """The order of `documents` for `query`, without the framework's events.

        Args:
            documents: str, or the framework's own documents.
            query: what is searched for; not blank.
            top_n: how many rows, at least 1; None for all; -1 for the component's own `top_n`.

        Returns:
            One dict per document, best first: "index" in the input and "relevance_score" in
            [0, 1], which is None where there was nothing to score or `on_error` kept the order;
            more under `diagnostics`.

        Raises:
            RerankError: as `Reranker.rank`.
        """
        texts = self._texts(check_list("documents", documents, "str or documents"))
        return self._rows(self._rank(query, texts, top_n))

    async def arerank(
        self, documents: Iterable[Any], query: str, *, top_n: int | None = OWN_TOP_N
    ) -> list[dict[str, Any]]:
        """`rerank` without blocking the event loop."""
        texts = self._texts(check_list("documents", documents, "str or documents"))
        return self._rows(await self._arank(query, texts, top_n))

    def close(self) -> None:
        """Close the engine that was chosen here; one that was passed is its owner's to close.

        A `model_copy` shares the engine, which is closed with the last of those that share it.
        """
        self._cache_handle.close()
        if (engine := self._handle.release()) is not None:
            engine.close()

    async def aclose(self) -> None:
        """`close` without blocking the event loop."""
        self._cache_handle.close()
        if (engine := self._handle.release()) is not None:
            await engine.aclose()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self._arguments())

    def __copy__(self) -> Any:
        twin = super().__copy__()
        twin._handle = self._handle.share()
        twin._cache_handle = self._cache_handle
        return twin

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Any:
        return type(self)(**deepcopy(self._arguments(), memo))

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            # `model_copy` does not mask.
            yield name, masked_options(value) if name == "engine_options" else value

    def _set_names(self) -> list[str]:
        """The fields that were set and may leave this object: not the key, nor a callback manager.

        Sorted, so that equal components pickle to equal bytes.
        """
        fields = type(self).model_fields
        return sorted(name for name in self.model_fields_set if not fields[name].exclude)

    def _arguments(self) -> dict[str, Any]:
        """What was set and may leave this object, by the field's name."""
        arguments = {name: getattr(self, name) for name in self._set_names()}
        if "engine_options" in arguments:
            arguments["engine_options"] = written_options(self.engine_options)
        if "cache" in arguments:
            arguments["cache"] = written_cache(self.cache)
        return arguments

    def _engine_written(self) -> dict[str, Any]:
        """Engine, options and cache as they are written down, by the field's name, where set.

        Raises:
            InvalidInputError: a foreign engine or cache, or an option that cannot be written down.
        """
        written: dict[str, Any] = {}
        if self.engine is not None:
            written["engine"] = engine_to_config(self.engine)
        if self.engine_options:
            written["engine_options"] = written_options(self.engine_options)
        if self.cache is not None:
            written["cache"] = written_cache(self.cache)
        return written

    def _text(self, document: Any, at: int) -> str | None:
        """What is scored for `documents[at]`; None if there is nothing, which is no blank text."""
        raise NotImplementedError

    def _texts(self, documents: Iterable[Any]) -> DocumentTexts:
        return DocumentTexts([self._text(document, at) for at, document in enumerate(documents)])

    def _rank(self, query: str, texts: DocumentTexts, top_n: int | None = OWN_TOP_N) -> Ranking:
        """The ranking of the texts; documents without one follow, in the input's order."""
        reranker = self._reranker(top_n)
        with texts.renumbered():
            ranking = reranker.rank(query, texts.scored())
        return texts.complete(ranking, reranker.settings.top_n)

    async def _arank(
        self, query: str, texts: DocumentTexts, top_n: int | None = OWN_TOP_N
    ) -> Ranking:
        """`_rank` without blocking the event loop."""
        reranker = self._reranker(top_n)
        with texts.renumbered():
            ranking = await reranker.arank(query, texts.scored())
        return texts.complete(ranking, reranker.settings.top_n)

    def _rows(self, ranking: Ranking) -> list[dict[str, Any]]:
        return [
            {
                "index": result.index,
                "relevance_score": result.score,
                **result_metadata(ranking, result, diagnostics=self.diagnostics),
            }
            for result in ranking.results
        ]

    def _reranker(self, top_n: int | None = OWN_TOP_N) -> Reranker:
        settings = {name: getattr(self, name) for name in SETTINGS}
        if top_n != OWN_TOP_N:
            settings["top_n"] = top_n
        return Reranker(self._engine(), **settings, show_progress=self.show_progress)

    def _engine(self) -> Engine:
        self.check_together()
        engine = self.engine
        if engine is None:
            options = masked_options(self.engine_options)
            engine = self._handle.engine(
                self.model, self.base_url, self.api_key, self.max_length, options
            )
        if self.cache is None:
            return engine
        return self._cache_handle.engine(engine, self.cache, self.cache_namespace)

    def _model_name(self) -> str:
        """A name for traces, which must not wait for a model or a server to say its own."""
        if isinstance(self.engine, Configured):
            try:
                config = self.engine.config()
            except InvalidInputError:
                # Something of a foreign class is in it.
                return type(self.engine).__name__
            return str(config.get("model") or _first(config.get("base_url")) or self.engine.tag)
        if self.engine is not None:
            return type(self.engine).__name__
        return self.model or _first(self.base_url) or DEFAULT_MODEL


def _first(urls: str | list[str] | None) -> str | None:
    return urls[0] if isinstance(urls, list) else urls


def check_documents_of(kind: type, name: str, values: Any, *, wrap: str) -> list[Any]:
    """`values` as a list of the framework's own documents.

    Args:
        kind: the framework's class.
        name: the argument's, for errors.
        values: what was passed.
        wrap: how one of them is made of something else, for errors.

    Raises:
        InvalidInputError: it is no list of them, or an entry is of another kind.
    """
    if isinstance(values, str):
        raise InvalidInputError(
            f"{name} must be a list of {kind.__name__}, not str. They come first, then the query."
        )
    documents = check_list(name, values, kind.__name__)
    for at, document in enumerate(documents):
        if not isinstance(document, kind):
            raise InvalidInputError(
                f"{name}[{at}] must be a {kind.__name__}, not {type(document).__name__}. "
                f"Wrap it: {wrap}. For plain texts there is rerank()."
            )
    return documents


def _rebuilt(kind: type[Adapter], arguments: dict[str, Any]) -> Adapter:
    return kind(**arguments)
