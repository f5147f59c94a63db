"""How much of the big model's own ranking a cascade keeps, by `keep`.

    PYTHONPATH=tests python -m benchmarks.cascade_quality SMALL BIG COLLECTION [DEPTH] [QUERIES]

SMALL and BIG are model folders or "tiny"; COLLECTION has queries.jsonl and corpus.jsonl, as
`qwen3-rerank eval` takes them. For the best DEPTH documents of BM25: the share of BIG's top 10 that
is in the cascade's, and Kendall's tau between both orders, as means over the queries. Judgments
are not used. First stages that say nothing (a pass-through, a random one) or the opposite stand
beside SMALL: a first stage is worth something only where it is above them.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

from scipy.stats import kendalltau

from qwen3_ascend_retrievers import CachedEngine, CascadeEngine, LocalEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.engines.base import Call, Engine
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.evaluation.collection import read_corpus, read_queries
from qwen3_ascend_retrievers.tools.evaluation.first_stage import bm25_run

TOP = 10
KEEPS = (10, 20, 30, 50)


class OrderEngine(FakeEngine):
    """A first stage that scores by a function of position, query and text."""

    def __init__(self, score: Callable[[int, str, str], float], name: str) -> None:
        super().__init__(model=name)
        self._function = score

    def _score(self, mode: str, plan: Plan, call: Call) -> list[Score]:
        return [
            Score(self._function(at, plan.queries[passage.query].query, passage.text))
            for at, passage in enumerate(plan.passages)
        ]


def first_stages(small: Engine, big: Engine) -> dict[str, Engine]:
    """By name; `big` must be cached, because the reversed one asks it, too."""
    chance = random.Random(0)
    reranker = Reranker(big)

    def opposite(_: int, query: str, text: str) -> float:
        return 1 - reranker.score([(query, text)])[0]

    return {
        "small": small,
        "pass-through": OrderEngine(lambda at, *_: 1 / (1 + at), "pass-through"),
        "random": OrderEngine(lambda *_: chance.random(), "random"),
        "reversed": OrderEngine(opposite, "reversed"),
    }


def agreement(
    first: Engine, big: Engine, keep: int, queries: Sequence[tuple[str, Sequence[str]]]
) -> tuple[float, float]:
    """The share of the big model's top 10 that is in the cascade's, and Kendall's tau of both."""
    cascade, alone = Reranker(CascadeEngine([first, big], keep=keep)), Reranker(big)
    overlaps, taus = [], []
    for query, documents in queries:
        orders = []
        for reranker in (cascade, alone):
            orders.append([result.index for result in reranker.rank(query, documents).results])
        ours, theirs = orders
        overlaps.append(len({*ours[:TOP]} & {*theirs[:TOP]}) / min(TOP, len(documents)))
        places = [[order.index(at) for at in range(len(documents))] for order in orders]
        taus.append(float(kendalltau(*places).statistic))
    return mean(overlaps), mean(taus)


def shuffled(documents: Sequence[str]) -> list[str]:
    """In an order that says nothing, so that a first stage that keeps it says nothing either."""
    return random.Random(0).sample(documents, len(documents))


def main() -> None:
    """Measure and print."""
    small_model, big_model, folder, *numbers = sys.argv[1:]
    depth, count = (int(number) for number in (*numbers, *("50", "30")[len(numbers) :]))
    texts = read_queries(Path(folder) / "queries.jsonl")
    corpus = read_corpus(Path(folder) / "corpus.jsonl")
    some = dict(list(texts.items())[:count])
    queries = [
        (texts[query], shuffled([corpus[name] for name, _ in documents]))
        for query, documents in bm25_run(corpus, some, depth).items()
    ]
    big = CachedEngine(LocalEngine(big_model, device="cpu"))
    small = CachedEngine(LocalEngine(small_model, device="cpu"))
    print(f"{len(queries)} queries, {depth} documents each: share of the top {TOP}, Kendall's tau")
    for name, engine in first_stages(small, big).items():
        cells = [agreement(engine, big, keep, queries) for keep in KEEPS if keep <= depth]
        shown = "  ".join(
            f"keep {keep}: {overlap:.2f}, {tau:.2f}"
            for keep, (overlap, tau) in zip(KEEPS, cells, strict=False)
        )
        print(f"{name:12}  {shown}")


if __name__ == "__main__":
    main()
