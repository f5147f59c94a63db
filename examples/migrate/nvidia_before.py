"""The two documents that answer best."""

from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank

documents = [
    Document("Gravity is a force that attracts two bodies towards each other."),
    Document("Shanghai is the largest city of China by population."),
    Document("The capital of China is Beijing."),
]
compressor = NVIDIARerank(model="nvidia/llama-3.2-nv-rerankqa-1b-v2", top_n=2)

for document in compressor.compress_documents(documents, "What is the capital of China?"):
    print(document.metadata["relevance_score"], document.page_content)
