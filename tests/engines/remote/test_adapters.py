"""Both frameworks' adapters over HTTP, sync and async: same order, ids kept, keys nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as NodeRerank
from support.remote_rankings import DOCUMENTS, QUERY
from support.rerank_answers import Setup, right_logit

KEY = "sk-adapters-0123456789"
ORDER = [
    str(at)
    for at in sorted(range(len(DOCUMENTS)), key=lambda at: -right_logit(QUERY, DOCUMENTS[at]))
]


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("template", ["none", "exact", "official"])
async def test_langchain(serve: Any, how: str, template: str) -> None:
    server = serve(Setup(api_key=KEY, template=template))
    compressor = Qwen3Rerank(base_url=server.url, api_key=KEY, top_n=4)
    documents = [Document(text, id=str(at)) for at, text in enumerate(DOCUMENTS)]
    if how == "sync":
        compressed = compressor.compress_documents(documents, QUERY)
    else:
        compressed = await compressor.acompress_documents(documents, QUERY)
    assert [document.id for document in compressed] == ORDER[:4]
    assert KEY not in repr(compressor) + str(compressed)
    compressor.close()


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("template", ["none", "exact", "official"])
async def test_llama_index(serve: Any, how: str, template: str) -> None:
    server = serve(Setup(api_key=KEY, template=template))
    postprocessor = NodeRerank(base_url=server.url, api_key=KEY, top_n=4)
    nodes = [NodeWithScore(node=TextNode(id_=str(at), text=t)) for at, t in enumerate(DOCUMENTS)]
    if how == "sync":
        postprocessed = postprocessor.postprocess_nodes(nodes, query_str=QUERY)
    else:
        postprocessed = await postprocessor.apostprocess_nodes(nodes, query_str=QUERY)
    # A node without text is not scored.
    scored = [at for at in ORDER if DOCUMENTS[int(at)]]
    assert [node.node.node_id for node in postprocessed] == scored[:4]
    assert KEY not in repr(postprocessor) + str(postprocessor.to_dict())
    postprocessor.close()
