"""A Parquet file through Ray Data: the demo's questions, each with its 30 candidates by BM25.

Needs the extra `ray`. The same file on the command line, without Ray or with it:

    qwen3-rerank bulk candidates.parquet reranked.parquet --query-column question \
        --documents-column passages --model tiny
"""

import tempfile
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.parquet
import ray
import ray.data
from language_reference import Bm25, passages
from questions import QUESTIONS

from qwen3_ascend_retrievers import LocalEngine
from qwen3_ascend_retrievers.ray import rerank_dataset


def write_candidates(path: Path) -> None:
    """One row a question: its text, and the passages that BM25 finds."""
    first_stage = Bm25(passages())
    rows = [
        {
            "question": question.text,
            "passages": [passage.text for passage, _ in first_stage.search(question.text, 30)],
        }
        for question in QUESTIONS
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_candidates(Path(folder, "candidates.parquet"))
        dataset = ray.data.read_parquet(folder)
        # On a cluster: ray.init("auto"), concurrency=8, resources={"NPU": 1}, and an engine such as
        # VLLMEngine("Qwen/Qwen3-Reranker-0.6B"), of which each actor makes its own.
        reranked = rerank_dataset(
            dataset,
            LocalEngine("tiny"),
            query_column="question",
            documents_column="passages",
            top_n=3,
            concurrency=2,
        )
        reranked.write_parquet(f"{folder}/reranked")

        table = pyarrow.parquet.read_table(f"{folder}/reranked")
        answered = 0
        for question in QUESTIONS:
            (row,) = table.filter(pyarrow.compute.field("question") == question.text).to_pylist()
            best = [row["passages"][result["index"]] for result in row["results"]]
            answered += any(map(question.answered_by, best))
            score = row["results"][0]["relevance_score"]
            print(f"{score:.4f}  {question.text}  {row['__inference_error__'] or 'no error'}")
        print(f"{answered} of {len(QUESTIONS)} answers are among the best 3 of 30")


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    main()
    ray.shutdown()
