"""When reranking fails: raise (the default), or go on with the retriever's order, marked.

The engine here is the package's fake one, which fails as a server that is down would.
"""

from langchain_core.documents import Document

from qwen3_ascend_retrievers.errors import ConnectionFailedError, RerankError
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine

documents = [Document("about dogs"), Document("about cats")]
broken = FakeEngine(error=ConnectionFailedError("http://npu-host:8000 refused the connection."))

try:
    Qwen3Rerank(engine=broken).compress_documents(documents, "cats")
except RerankError as error:
    print(f"raise: {type(error).__name__}: {error}")

for document in Qwen3Rerank(engine=broken, on_error="keep_order").compress_documents(
    documents, "cats"
):
    print(f"keep_order: {document.page_content} ({document.metadata['rerank_status']})")
