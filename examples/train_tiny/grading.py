"""Which texts each query is compared with, and how strongly each pair should score.

The wanted logit joins three judges: the teacher's cosine, BM25 and the lesson's own answer.
BM25 is a judge because a reranker this small must not unlearn word matching.
"""

import re
from dataclasses import dataclass

import numpy as np
from lessons import Lessons
from numpy.typing import NDArray
from scipy import sparse

GROUP = 8
_HARD_DEPTH = 40
_CHUNK = 512
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Groups:
    """Row i: a query, its answer first and seven other texts, and the wanted logits."""

    queries: NDArray[np.int64]  # [N]
    texts: NDArray[np.int64]  # [N, GROUP]
    wanted: Floats  # [N, GROUP]


def grade(
    lessons: Lessons, query_vectors: Floats, text_vectors: Floats, rounds: int, seed: int
) -> Groups:
    """`rounds` groups for each query, with new negatives in each."""
    rng = np.random.default_rng(seed)
    query_words, text_words = _bm25(lessons)
    answers = np.array(lessons.answers)
    found = []
    for start in range(0, len(answers), _CHUNK):
        rows = slice(start, start + _CHUNK)
        cosine = query_vectors[rows] @ text_vectors.T
        words = (query_words[rows] @ text_words).toarray()
        words /= np.maximum(words.max(1, keepdims=True), 1e-6)
        for _ in range(rounds):
            found.append(_groups(start, answers[rows], cosine, words, rng))
    return Groups(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _groups(
    start: int, answers: NDArray[np.int64], cosine: Floats, words: Floats, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    count, size = cosine.shape
    row = np.arange(count)[:, None]
    by_words = np.argpartition(-words, _HARD_DEPTH, axis=1)[:, :_HARD_DEPTH]
    by_teacher = np.argpartition(-cosine, _HARD_DEPTH, axis=1)[:, :_HARD_DEPTH]
    picks = [
        answers[:, None],
        by_words[row, rng.integers(0, _HARD_DEPTH, (count, 3))],
        by_teacher[row, rng.integers(0, _HARD_DEPTH, (count, 2))],
        rng.integers(0, size, (count, GROUP - 6)),
    ]
    texts = np.concatenate(picks, axis=1)
    is_answer = texts == answers[:, None]
    wanted = 10 * (cosine[row, texts] - 0.4) + 4 * words[row, texts] + 2 * is_answer - 2
    return np.arange(start, start + count), texts, wanted.astype(np.float32)


def _bm25(lessons: Lessons) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Queries as word indicators and pool texts as BM25 weights, in one vocabulary."""
    index: dict[str, int] = {}
    texts = _counts(lessons.pool, index, grow=True)
    queries = _counts(lessons.queries, index, grow=False)
    queries.data[:] = 1
    lengths = np.asarray(texts.sum(1)).ravel()
    holding = np.bincount(texts.indices, minlength=len(index))
    idf = np.log(1 + (len(lessons.pool) - holding + 0.5) / (holding + 0.5)).astype(np.float32)
    rows = np.repeat(np.arange(len(lessons.pool)), np.diff(texts.indptr))
    penalty = 1.2 * (0.25 + 0.75 * lengths[rows] / lengths.mean())
    texts.data = idf[texts.indices] * texts.data * 2.2 / (texts.data + penalty).astype(np.float32)
    return queries, texts.T.tocsr()


def _counts(texts: list[str], index: dict[str, int], grow: bool) -> sparse.csr_matrix:
    columns: list[int] = []
    ends = [0]
    for text in texts:
        for word in re.findall(r"\w+", text.lower()):
            at = index.setdefault(word, len(index)) if grow else index.get(word)
            if at is not None:
                columns.append(at)
        ends.append(len(columns))
    ones = np.ones(len(columns), np.float32)
    matrix = sparse.csr_matrix((ones, columns, ends), shape=(len(texts), len(index)))
    matrix.sum_duplicates()
    return matrix
