"""The LlamaIndex node postprocessor. Needs llama-index-core, and nothing of LangChain.

Only types, settings and events are translated here; what a rerank is, the core decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from .errors import InvalidInputError, MissingDependencyError

try:
    import llama_index.core  # noqa: F401 - only to say how to get it
except ImportError as error:
    raise MissingDependencyError(
        "qwen3_ascend_retrievers.llama_index needs llama-index-core: "
        "pip install 'qwen3-ascend-retrievers[llama-index]'"
    ) from error

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined] # no __all__
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.prompts.mixin import PromptDictType, PromptMixin, PromptMixinType
from llama_index.core.schema import BaseNode, ImageNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field, PlainSerializer

from .adapters.base import Adapter, check_documents_of
from .adapters.fields import FIELDS_CONFIG, setting_field
from .adapters.metadata import merged_metadata, result_metadata
from .core.prompt import DEFAULT_INSTRUCTION, check_text, instruction_for

if TYPE_CHECKING:
    from .core.ranking import RankedDocument
    from .core.results import Ranking

__all__ = ["Qwen3Rerank"]

RETRIEVAL_SCORE_KEY = "retrieval_score"

dispatcher = get_dispatcher(__name__)
_NEWER_FIELDS = ("max_documents", "combine", "cache", "cache_namespace")


class Qwen3Rerank(Adapter, BaseNodePostprocessor, PromptMixin):
    """Reranks retrieved nodes with Qwen3-Reranker, in-process or behind `/v1/rerank`.

    Results are copies; `score` holds the relevance and `node.metadata["retrieval_score"]` the
    retriever's score. Keys that are added stay out of the texts for embedding and for the LLM.
    A node without text, such as an image alone, is not scored: it follows those that are, with the
    retriever's score and `node.metadata["rerank_status"] == "not_scored"`; it counts for `top_n`,
    and `score_threshold` does not leave it out.

        Qwen3Rerank(base_url="http://npu-host:8000", top_n=5)
        Qwen3Rerank(model="Qwen/Qwen3-Reranker-0.6B")
        Qwen3Rerank(engine=LocalEngine("tiny"))

    The prompt "instruction" is the task; a query engine does not pass prompts on to its
    postprocessors, so call `update_prompts` on this object itself.
    """

    model_config = FIELDS_CONFIG

    top_n: int | None = setting_field("top_n", default=2)
    metadata_mode: Annotated[MetadataMode, PlainSerializer(lambda mode: mode.value)] = Field(
        default=MetadataMode.EMBED, description="Which metadata is scored with a node's text."
    )

    @classmethod
    def class_name(cls) -> str:
        """The name in written forms."""
        return "Qwen3Rerank"

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """JSON-safe settings, without the key; `from_dict` takes them.

        Raises:
            InvalidInputError: a foreign engine, or an engine option that cannot be written down.
        """
        self._engine_written()
        settings: dict[str, Any] = super().to_dict(**kwargs)
        # Without what is newer it is the form that earlier versions wrote, and read.
        if not settings.get("engine_options", True):
            del settings["engine_options"]
        for name in _NEWER_FIELDS:
            if settings.get(name) is None:
                settings.pop(name, None)
        return settings

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        # LlamaIndex would name every default and the callback manager; LangChain does not.
        # Asked for each: a component that its fields kept from being made has neither.
        return [pair for pair in super().__repr_args__() if pair[0] in self._set_names()]

    def _get_prompts(self) -> PromptDictType:
        task = instruction_for(self.instruction or DEFAULT_INSTRUCTION)
        return {"instruction": PromptTemplate(task)}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        if "instruction" in prompts:
            # A template leaves braces that are no variable of its own as they are.
            self.instruction = prompts["instruction"].format()

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """The most relevant nodes, best first.

        Raises:
            InvalidInputError: no query; a ValueError too.
            RerankError: as `Reranker.rank`; see `on_error`.
        """
        query = _query(query_bundle)
        originals = _nodes(nodes)
        with self._traced(originals, query) as results:
            ranking = self._rank(query.query_str, self._texts(originals))
            results += self._results(originals, ranking)
        return results

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """`_postprocess_nodes` without blocking the event loop."""
        query = _query(query_bundle)
        originals = _nodes(nodes)
        with self._traced(originals, query) as results:
            ranking = await self._arank(query.query_str, self._texts(originals))
            results += self._results(originals, ranking)
        return results

    @contextmanager
    def _traced(
        self, nodes: list[NodeWithScore], query: QueryBundle
    ) -> Iterator[list[NodeWithScore]]:
        """A list for the results, between a start and an end event, also when scoring fails."""
        results: list[NodeWithScore] = []
        name = self._model_name()
        top_n = len(nodes) if self.top_n is None else self.top_n
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query.query_str,
            EventPayload.TOP_K: top_n,
        }
        start = ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=name)
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            dispatcher.event(start)
            try:
                yield results
            finally:
                dispatcher.event(ReRankEndEvent(nodes=results))
            event.on_end(payload={EventPayload.NODES: results})

    def _text(self, document: Any, at: int) -> str | None:
        if isinstance(document, str):
            return document
        node = document.node if isinstance(document, NodeWithScore) else document
        if not isinstance(node, BaseNode):
            raise InvalidInputError(
                f"documents[{at}] must be a str or a node, not {type(document).__name__}."
            )
        text = check_text(f"documents[{at}]", node.get_content(metadata_mode=self.metadata_mode))
        # An image has metadata too, such as its path, which says nothing about its relevance.
        content = node.get_content(metadata_mode=MetadataMode.NONE) if _is_media(node) else text
        return None if _is_blank(content) or _is_blank(text) else text

    def _results(self, nodes: Sequence[NodeWithScore], ranking: Ranking) -> list[NodeWithScore]:
        return [self._copy(nodes[result.index], ranking, result) for result in ranking.results]

    def _copy(
        self, original: NodeWithScore, ranking: Ranking, result: RankedDocument
    ) -> NodeWithScore:
        added = result_metadata(ranking, result, diagnostics=self.diagnostics)
        score = original.score
        if result.score is not None:
            score = result.score
            if original.score is not None:
                added[RETRIEVAL_SCORE_KEY] = original.score
        return original.model_copy(
            update={"node": _copied_node(original.node, added), "score": score}
        )


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _is_media(node: BaseNode) -> bool:
    kind = type(node)
    return _is_image_kind(kind) or any(getattr(node, name) for name in _media_fields(kind))


@lru_cache(maxsize=256)
def _is_image_kind(kind: type[BaseNode]) -> bool:
    return issubclass(kind, ImageNode)


@lru_cache(maxsize=256)
def _media_fields(kind: type[BaseNode]) -> list[str]:
    # Asking each node for a field that its class lacks takes longer than planning its ranking.
    resources = ("image_resource", "audio_resource", "video_resource")
    return [name for name in resources if name in kind.model_fields or hasattr(kind, name)]


def _copied_node(node: BaseNode, added: dict[str, Any]) -> BaseNode:
    """`node` with more metadata, which neither embedding nor LLM sees."""
    changes = {
        "metadata": merged_metadata(node.metadata, added),
        "relationships": dict(node.relationships),
    }
    for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys"):
        changes[name] = list(dict.fromkeys([*getattr(node, name), *added]))
    return node.model_copy(update=changes)


def _nodes(nodes: Any) -> list[NodeWithScore]:
    has_texts = isinstance(nodes, list | tuple) and any(isinstance(node, str) for node in nodes)
    node = "TextNode(text=text)" if has_texts else "node"
    return check_documents_of(NodeWithScore, "nodes", nodes, wrap=f"NodeWithScore(node={node})")


def _query(query_bundle: QueryBundle | None) -> QueryBundle:
    if query_bundle is None:
        # The first words are those of LlamaIndex's own rerankers, which callers may look for.
        raise InvalidInputError(
            "Missing query bundle in extra info. Pass the query, as in "
            "postprocess_nodes(nodes, query_str=...) or query_bundle=QueryBundle(...)."
        )
    return query_bundle
