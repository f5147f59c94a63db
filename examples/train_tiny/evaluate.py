"""Measure a tiny model: python examples/train_tiny/evaluate.py MODEL [--collection FOLDER]

Uses transformers and tokenizers only, so it checks the folder and not this project's code.
"""

import argparse
import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from prompt import prompt
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

Pair = tuple[str, str]
SANITY = Path(__file__).parent / "sanity.jsonl"
_BATCH_TOKENS = 12_000


class Scorer:
    """Logits of (query, document) pairs, yes minus no, the head always in float32."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        head = model.get_output_embeddings().weight.detach().float()
        yes, no = (self._tokenizer.token_to_id(word) for word in ("yes", "no"))
        self._direction = (head[yes] - head[no]).clone()
        self._body = model.model.to(dtype).eval()

    def __call__(self, pairs: Sequence[Pair]) -> list[float]:
        texts = [prompt(query, document) for query, document in pairs]
        ids = [e.ids for e in self._tokenizer.encode_batch(texts, add_special_tokens=False)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        logits = [0.0] * len(ids)
        while order:
            size = max(1, min(len(order), _BATCH_TOKENS // len(ids[order[-1]])))
            batch, order = order[-size:], order[:-size]
            for i, logit in zip(batch, self._batch([ids[i] for i in batch]), strict=True):
                logits[i] = logit
        return logits

    @torch.inference_mode()
    def _batch(self, ids: list[list[int]]) -> list[float]:
        # Padding on the right needs no mask: a causal model never looks there.
        padded = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)
        for row, one in enumerate(ids):
            padded[row, : len(one)] = torch.tensor(one)
        last = torch.tensor([len(one) - 1 for one in ids])
        states = self._body(input_ids=padded, use_cache=False).last_hidden_state
        final = states[torch.arange(len(ids)), last].float()
        return [float(x) for x in final @ self._direction]


def sigmoid(logit: float) -> float:
    """The score of a logit."""
    return 1 / (1 + math.exp(-logit))


def sanity_pairs(path: Path = SANITY) -> list[dict[str, str]]:
    """The hand-written triples: query, better, worse, kind."""
    return _rows(path)


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def mixed_pairs(count: int = 300, seed: int = 3) -> list[Pair]:
    """Queries of the sanity set with right and with foreign documents."""
    rows = sanity_pairs()
    pairs = [(r["query"], r[side]) for r in rows for side in ("better", "worse")]
    documents = [document for _, document in pairs]
    rng = random.Random(seed)
    while len(pairs) < count:
        pairs.append((rng.choice(rows)["query"], rng.choice(documents)))
    return pairs[:count]


def bm25(documents: dict[str, str]) -> Callable[[str], list[str]]:
    """A plain Okapi BM25 (k1 1.2, b 0.75): query -> document ids, best first."""
    words = {key: re.findall(r"\w+", text.lower()) for key, text in documents.items()}
    mean = sum(map(len, words.values())) / len(words)
    postings: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for key, tokens in words.items():
        for word, n in Counter(tokens).items():
            postings[word].append((key, n * 2.2 / (n + 0.3 + 0.9 * len(tokens) / mean)))

    def search(query: str) -> list[str]:
        scores: Counter[str] = Counter()
        for word in set(re.findall(r"\w+", query.lower())):
            found = postings.get(word, [])
            idf = math.log(1 + (len(words) - len(found) + 0.5) / (len(found) + 0.5))
            for key, weight in found:
                scores[key] += idf * weight
        return [key for key, _ in scores.most_common()]

    return search


def ndcg(ranked: Sequence[str], grades: dict[str, int], depth: int = 10) -> float:
    """nDCG with linear gain, as trec_eval computes it."""
    gains = [grades.get(key, 0) for key in ranked[:depth]]
    ideal = sorted(grades.values(), reverse=True)[:depth]
    best = sum(g / math.log2(i + 2) for i, g in enumerate(ideal))
    return sum(g / math.log2(i + 2) for i, g in enumerate(gains)) / best if best else 0.0


def collection_ndcg(scorer: Scorer, folder: Path, depth: int = 50) -> dict[str, float]:
    """Mean nDCG@10 of BM25's first `depth`: in BM25's, in random and in the model's order."""
    documents = {d["_id"]: d["text"] for d in _rows(folder / "corpus.jsonl")}
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
        query, key, grade = line.split("\t")
        grades[query][key] = int(grade)
    queries = {q["_id"]: q["text"] for q in _rows(folder / "queries.jsonl") if q["_id"] in grades}
    search, rng = bm25(documents), random.Random(1)
    first = {q: search(text)[:depth] for q, text in queries.items()}
    pairs = [(queries[q], documents[key]) for q in first for key in first[q]]
    logits = iter(scorer(pairs))
    totals: Counter[str] = Counter()
    for q, keys in first.items():
        scores = {key: next(logits) for key in keys}
        totals["bm25"] += ndcg(keys, grades[q])
        totals["random"] += ndcg(rng.sample(keys, len(keys)), grades[q])
        totals["model"] += ndcg(sorted(keys, key=lambda k: -scores[k]), grades[q])
    return {name: total / len(queries) for name, total in totals.items()}


def report(folder: Path, collection: Path | None) -> dict[str, object]:
    """Every number that docs/tiny-model.md gives."""
    full, half = (Scorer(folder, dtype) for dtype in (torch.float32, torch.bfloat16))
    rows = sanity_pairs()
    better = full([(r["query"], r["better"]) for r in rows])
    worse = full([(r["query"], r["worse"]) for r in rows])
    guide = [(rows[0]["query"], rows[0][side]) for side in ("better", "worse")]
    pairs = mixed_pairs()
    exact, rounded = full(pairs), half(pairs)
    scores = torch.tensor([sigmoid(x) for x in exact])
    span = max(exact) - min(exact)
    misses = [r["query"] for r, b, w in zip(rows, better, worse, strict=True) if b <= w]
    numbers: dict[str, object] = {
        "guide_float32": [round(sigmoid(x), 4) for x in full(guide)],
        "guide_bfloat16": [round(sigmoid(x), 4) for x in half(guide)],
        "sanity": f"{len(rows) - len(misses)} of {len(rows)}",
        "sanity_misses": misses,
        "score_std": round(float(scores.std()), 3),
        "logit_range": round(span, 2),
        "bf16_max_percent": round(
            100 * max(abs(a - b) for a, b in zip(exact, rounded, strict=True)) / span, 2
        ),
        "megabytes": round(sum(f.stat().st_size for f in folder.iterdir()) / 1e6, 2),
    }
    if collection:
        found = collection_ndcg(full, collection)
        numbers |= {f"ndcg10_{name}": round(value, 4) for name, value in found.items()}
    return numbers


def main() -> None:
    """Print the report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--collection", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(report(arguments.model, arguments.collection), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
