"""The two documents that answer best."""

from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_community.cross_encoders import HuggingFaceCrossEncoder
from langchain_core.documents import Document

documents = [
    Document("Gravity is a force that attracts two bodies towards each other."),
    Document("Shanghai is the largest city of China by population."),
    Document("The capital of China is Beijing."),
]
compressor = CrossEncoderReranker(model=HuggingFaceCrossEncoder(), top_n=2)

for document in compressor.compress_documents(documents, "What is the capital of China?"):
    print(document.page_content)
