"""Long documents: score them in overlapping windows, and say which window won.

With the default, overflow="truncate", only a document's beginning is scored when it exceeds the
budget; with "window" the whole of it is, and its best window counts (MaxP).
"""

from pydoc_data.topics import topics

from qwen3_ascend_retrievers import Engine, LocalEngine, Reranker

query = "When is the else clause of a loop executed?"
documents = [topics["for"], topics["with"], topics["debugger"]]


def main(engine: Engine) -> None:
    reranker = Reranker(engine, overflow="window", max_length=256)
    for one in reranker.rank(query, documents).results:
        assert one.span is not None
        start, end = one.span
        print(
            f"{one.score:.4f}  document {one.index}, best of {one.windows} windows: {start}-{end}"
        )
        print(f"        {' '.join(one.document[start:end].split())[:80]}...")


if __name__ == "__main__":
    # VLLMEngine("tiny") or RemoteEngine("http://npu-host:8000") will do as well.
    with LocalEngine("tiny") as local:
        main(local)
