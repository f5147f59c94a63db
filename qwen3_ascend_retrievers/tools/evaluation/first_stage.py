"""A first-stage run by BM25, for collections without a run. Independent of the reranker."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import InvalidInputError
from .libraries import library
from .runs import Run


def bm25_run(corpus: Mapping[str, str], queries: Mapping[str, str], depth: int) -> Run:
    """The best `depth` documents of each query by BM25 (bm25s: Lucene's formula, k1 1.5, b 0.75).

    Words are lower-cased runs of letters and digits without English stop words, not stemmed; for
    scripts without spaces bring a run of your own.

    Raises:
        InvalidInputError: there is no query, or no document with a word.
        MissingDependencyError: bm25s is not installed.
    """
    bm25s = library("bm25s")
    names = list(corpus)
    options = {"stopwords": "en", "show_progress": False}
    words = bm25s.tokenize(list(corpus.values()), **options)
    if not queries or not any(words.ids):
        raise InvalidInputError(
            "BM25 has nothing to go by: there is no query, or no document with a word in it. Bring "
            "a run of your own."
        )
    retriever = bm25s.BM25()
    retriever.index(words, show_progress=False)
    positions, scores = retriever.retrieve(
        bm25s.tokenize(list(queries.values()), **options),
        k=min(depth, len(names)),
        show_progress=False,
    )
    return {
        query: [(names[at], float(score)) for at, score in zip(row, values, strict=True)]
        for query, row, values in zip(queries, positions.tolist(), scores.tolist(), strict=True)
    }
