"""What the examples print, whatever engine they run on."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
MIGRATE = EXAMPLES / "migrate"

# Example -> what its output must contain, in this order. Each has a `main(engine=...)`.
ANY_ENGINE = {
    "async_many": ["capital of China? -> The capital of China is Beijing.", "three"],
    "cascade": ["stage 2: ", "The capital of China is Beijing.", "stage 2: ", "stage 1: "],
    "combined_order": ["1/(60+1) + 1/(60+3)  The capital of China is Beijing.", "not scored: Boil"],
    "langchain_local": ["beijing  The capital of China is Beijing."],
    "llama_index_local": ["(retriever 0.5)  beijing  The capital of China is Beijing."],
    "quickstart": [
        "LangChain: ContextualCompressionRetriever",
        "── What does a bare raise do? ──",
        "(better)",
        "✔ raise: ",
        "LlamaIndex: RetrieverQueryEngine gave the same order and scores (100 passages",
        "BM25  tiny  question",
        "1  What does a bare raise do?",
        "demo-report.html",
        "What next:",
    ],
    "score_cache": [
        "first call: 0 of 3",
        "the same query again: 3 of 3",
        "one new document: 3 of 4",
        "LangChain: The capital of China is Beijing.",
    ],
    "windows": ["document 0, best of"],
}
# Whose subject is an engine: a server, and one that fails.
OWN_ENGINE = {
    "langchain_remote": ["beijing  The capital of China is Beijing."],
    "on_error": ["raise: ConnectionFailedError", "dogs (kept_order)", "cats (kept_order)"],
}
# The pairs of scripts before and after a swap; each script puts this text first.
PAIRS = ("cohere", "cross_encoder", "nvidia", "sentence_transformer")
# vLLM-Ascend's own two scripts, which build the prompt themselves, and what becomes of them.
GUIDE = ("guide_served", "guide_offline")
FIRST = "The capital of China is Beijing."


def in_order(text: str, parts: list[str]) -> bool:
    """Whether `text` contains all `parts`, one after the other."""
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True
