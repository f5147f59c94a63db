"""The two documents that answer best."""

from langchain_core.documents import Document

from qwen3_ascend_retrievers.langchain import Qwen3Rerank

documents = [
    Document("Gravity is a force that attracts two bodies towards each other."),
    Document("Shanghai is the largest city of China by population."),
    Document("The capital of China is Beijing."),
]
compressor = Qwen3Rerank(model="tiny", top_n=2)

for document in compressor.compress_documents(documents, "What is the capital of China?"):
    print(document.page_content)
