"""The LangChain document compressor. Needs langchain-core, and nothing of LlamaIndex.

Only types, settings and callbacks are translated here; what a rerank is, the core decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .errors import InvalidInputError, MissingDependencyError

try:
    import langchain_core  # noqa: F401 - only to say how to get it
except ImportError as error:
    raise MissingDependencyError(
        "qwen3_ascend_retrievers.langchain needs langchain-core: "
        "pip install 'qwen3-ascend-retrievers[langchain]'"
    ) from error

from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.load.serializable import Serializable
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, ensure_config
from langchain_core.runnables.config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)
from pydantic import Field, field_validator

from .adapters.base import Adapter, check_documents_of
from .adapters.fields import FIELDS_CONFIG, setting_field
from .adapters.metadata import merged_metadata, result_metadata
from .settings import API_KEY_VARIABLE

if TYPE_CHECKING:
    from langchain_core.callbacks import Callbacks

    from .core.results import Ranking

__all__ = ["Qwen3Rerank"]

DocumentText = Callable[[Document], str] | list[str]


class Qwen3Rerank(Adapter, BaseDocumentCompressor, Serializable):
    """Reranks retrieved documents with Qwen3-Reranker, in-process or behind `/v1/rerank`.

    Results are copies with their id and metadata, and the score in `metadata[score_key]`.

        Qwen3Rerank(base_url="http://npu-host:8000", top_n=5)
        Qwen3Rerank(model="Qwen/Qwen3-Reranker-0.6B")
        Qwen3Rerank(engine=LocalEngine("tiny"))

    `loads` must be allowed to construct one: `loads(text, allowed_objects=[Qwen3Rerank],
    valid_namespaces=["qwen3_ascend_retrievers"])`; langchain-core 0.3 takes only the second.
    """

    model_config = FIELDS_CONFIG

    top_n: int | None = setting_field("top_n", default=3)
    score_key: str = Field(
        default="relevance_score", min_length=1, description="The metadata key of the score."
    )
    document_text: DocumentText | None = Field(
        default=None,
        description="What is scored: a function of the document, or metadata fields whose values "
        "come before the content, one a line. None: the content.",
    )

    @field_validator("document_text", mode="before")
    @classmethod
    def _names_or_function(cls, value: Any) -> Any:
        names = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
        if value is not None and not names and not callable(value):
            raise InvalidInputError(
                "document_text must be a function, or a list of metadata field names, "
                f"not {value!r}."
            )
        return list(value) if names else value

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The most relevant documents for `query`, best first.

        A child run of `callbacks` shows query, documents, scores, and an error if there is one.

        Raises:
            RerankError: as `Reranker.rank`; see `on_error`.
        """
        originals = _documents(documents)
        manager = get_callback_manager_for_config(_config(callbacks))
        run = manager.on_chain_start(_SERIALIZED, _inputs(originals, query), name=_RUN_NAME)
        try:
            ranking = self._rank(query, self._texts(originals))
            results = self._results(originals, ranking)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(_outputs(results, ranking))
        return results

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """`compress_documents` without blocking the event loop."""
        originals = _documents(documents)
        manager = get_async_callback_manager_for_config(_config(callbacks))
        run = await manager.on_chain_start(_SERIALIZED, _inputs(originals, query), name=_RUN_NAME)
        try:
            ranking = await self._arank(query, self._texts(originals))
            results = self._results(originals, ranking)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(_outputs(results, ranking))
        return results

    def as_runnable(self) -> Runnable[Any, list[Document]]:
        """This compressor as a step of a chain.

        Its input is `{"query": ..., "documents": [...]}` or `(query, documents)`.
        """
        return RunnableLambda(self._step, afunc=self._astep, name=_RUN_NAME)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True: `dumps` serializes it, without the key."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Where the key is read from again."""
        return {"api_key": API_KEY_VARIABLE}

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """The engine as its tagged config, or the options of the one that is chosen."""
        return self._engine_written()

    def to_json(self) -> Any:
        """What `dumps` writes.

        Raises:
            InvalidInputError: a foreign engine, a function as `document_text`, or an engine option
                that cannot be written down.
        """
        if callable(self.document_text):
            raise InvalidInputError(
                "A function as document_text cannot be written down. Leave it out and set it "
                "again after loading, or use metadata field names."
            )
        return super().to_json()

    def _step(self, chain_input: Any, config: RunnableConfig) -> list[Document]:
        query, documents = _query_and_documents(chain_input)
        return self.compress_documents(documents, query, config.get("callbacks"))

    async def _astep(self, chain_input: Any, config: RunnableConfig) -> list[Document]:
        query, documents = _query_and_documents(chain_input)
        return await self.acompress_documents(documents, query, config.get("callbacks"))

    def _text(self, document: Any, at: int) -> str:
        if isinstance(document, str):
            return document
        if not isinstance(document, Document):
            raise InvalidInputError(
                f"documents[{at}] must be a str or a Document, not {type(document).__name__}."
            )
        if self.document_text is None:
            return document.page_content
        if callable(self.document_text):
            text = self.document_text(document)
            if not isinstance(text, str):
                raise InvalidInputError(
                    f"What document_text makes of documents[{at}] must be a str, not "
                    f"{type(text).__name__}."
                )
            return text
        values = [document.metadata.get(name) for name in self.document_text]
        lines = [str(value) for value in values if value is not None and str(value).strip()]
        return "\n".join([*lines, document.page_content])

    def _results(self, documents: Sequence[Document], ranking: Ranking) -> list[Document]:
        copies = []
        for result in ranking.results:
            original = documents[result.index]
            added = result_metadata(ranking, result, diagnostics=self.diagnostics)
            if result.score is not None:
                added[self.score_key] = result.score
            metadata = merged_metadata(original.metadata, added)
            if result.score is None and ranking.status == "reranked":
                # An earlier reranker's, which nobody may compare with the others here.
                metadata.pop(self.score_key, None)
            copies.append(original.model_copy(update={"metadata": metadata}))
        return copies


_RUN_NAME: Final = "Qwen3Rerank"
# Handlers of langchain-core 0.3 read a name from here; the live settings are no tracer's business.
_SERIALIZED: Final[dict[str, Any]] = {
    "lc": 1,
    "type": "not_implemented",
    "id": [*Qwen3Rerank.__module__.split("."), _RUN_NAME],
    "name": _RUN_NAME,
}


def _config(callbacks: Callbacks) -> RunnableConfig:
    """Without `callbacks`, those of the chain that this call runs in."""
    return ensure_config(None if callbacks is None else {"callbacks": callbacks})


def _inputs(documents: list[Document], query: str) -> dict[str, Any]:
    return {"query": query, "documents": documents}


def _outputs(documents: list[Document], ranking: Ranking) -> dict[str, Any]:
    return {
        "documents": documents,
        "scores": [result.score for result in ranking.results],
        "status": ranking.status,
        "model": ranking.model,
        "error": None if ranking.error is None else str(ranking.error),
    }


def _documents(documents: Any) -> list[Document]:
    return check_documents_of(Document, "documents", documents, wrap="Document(text)")


def _query_and_documents(chain_input: Any) -> tuple[str, Sequence[Document]]:
    keys = ("query", "documents")
    if isinstance(chain_input, dict):
        missing = [key for key in keys if key not in chain_input]
        if not missing:
            return chain_input["query"], chain_input["documents"]
        unknown = [str(key) for key in chain_input if key not in keys]
        wrong = f"a dict without {' and '.join(map(repr, missing))}"
        wrong += f" but with {', '.join(map(repr, unknown))}" if unknown else ""
    elif isinstance(chain_input, tuple | list) and len(chain_input) == 2:
        return chain_input[0], chain_input[1]
    else:
        wrong = type(chain_input).__name__
    raise InvalidInputError(
        "The input must be {'query': ..., 'documents': [...]} or (query, documents), "
        f"not {wrong}."
    )
