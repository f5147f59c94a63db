"""Long documents: score them in overlapping windows, and say which window won.

With the default, overflow="truncate", only a document's beginning is scored when it exceeds the
budget; with "window" the whole of it is, and its best window counts (MaxP).
"""

from pydoc_data.topics import topics

from qwen3_ascend_retrievers import LocalEngine, Reranker

query = "When is the else clause of a loop executed?"
documents = [topics["for"], topics["with"], topics["debugger"]]

with Reranker(LocalEngine("tiny"), overflow="window", max_length=256) as reranker:
    ranking = reranker.rank(query, documents)

for one in ranking.results:
    assert one.span is not None
    start, end = one.span
    print(f"{one.score:.4f}  document {one.index}, best of {one.windows} windows: {start}-{end}")
    print(f"        {' '.join(one.document[start:end].split())[:80]}...")
