"""Both adapters and the command line through three dialects, as a user would set them up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_ascend_retrievers import langchain, llama_index
from qwen3_ascend_retrievers.core.ranking import sigmoid
from support.cli_runs import invoke
from support.dialects.table import FAKES
from support.remote_rankings import DOCUMENTS, QUERY
from support.rerank_answers import Setup, right_logit

TEXTS = tuple(text for text in DOCUMENTS if text.strip())
BEST = sorted(TEXTS, key=lambda text: -right_logit(QUERY, text))
SCORES = [pytest.approx(sigmoid(right_logit(QUERY, text))) for text in BEST]
# The dialect, how its server was started, and what must be said of it.
USES: dict[str, tuple[str, dict[str, Any]]] = {
    "tei": ("none", {}),
    "llamacpp": ("exact", {"tokenizer": "tiny"}),
    "dashscope": ("exact", {"dialect": "dashscope"}),
}


@pytest.fixture(params=USES)
def place(request: pytest.FixtureRequest, serve: Any) -> tuple[str, dict[str, Any]]:
    """A server's address, and engine_options for it."""
    name: str = request.param
    template, options = USES[name]
    server = serve(Setup(template=template), kind=FAKES[name].kind)
    return server.url + FAKES[name].path, options


async def test_langchain(place: tuple[str, dict[str, Any]]) -> None:
    url, options = place
    reranker = langchain.Qwen3Rerank(base_url=url, model="tiny", top_n=None, engine_options=options)
    documents = [Document(text) for text in TEXTS]
    results = reranker.compress_documents(documents, QUERY)
    assert [document.page_content for document in results] == BEST
    assert [document.metadata["relevance_score"] for document in results] == SCORES
    again = await reranker.acompress_documents(documents, QUERY)
    assert [document.page_content for document in again] == BEST
    reranker.close()


async def test_llama_index(place: tuple[str, dict[str, Any]]) -> None:
    url, options = place
    reranker = llama_index.Qwen3Rerank(
        base_url=url, model="tiny", top_n=None, engine_options=options
    )
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    results = reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert [node.get_content() for node in results] == BEST
    assert [node.score for node in results] == SCORES
    again = await reranker.apostprocess_nodes(nodes, query_str=QUERY)
    assert [node.get_content() for node in again] == BEST
    reranker.close()


def test_the_command_line(place: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    url, options = place
    further = [f"--engine-option={name}={value}" for name, value in options.items()]
    if "tokenizer" in options:
        further = ["--tokenizer", options["tokenizer"]]
    (tmp_path / "documents.jsonl").write_text(
        "\n".join(json.dumps({"id": str(at), "text": text}) for at, text in enumerate(TEXTS))
    )
    result = invoke(
        "rank", QUERY, str(tmp_path / "documents.jsonl"), "--base-url", url, "--model", "tiny",
        "--json", *further,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    ranked = json.loads(result.stdout)["results"]
    assert [document["score"] for document in ranked] == SCORES
