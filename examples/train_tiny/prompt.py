"""The Qwen3-Reranker prompt as token ids. Training needs no installed package."""

from functools import cache

from tokenizers import Tokenizer

INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


@cache
def _head() -> str:
    return PREFIX + f"<Instruct>: {INSTRUCTION}\n"


def prompt(query: str, document: str) -> str:
    """The whole prompt of one pair."""
    return f"{_head()}<Query>: {query}\n<Document>: {document}{SUFFIX}"


def prefix_ids(tokenizer: Tokenizer) -> list[int]:
    """Everything that all pairs share: the system turn and the instruction."""
    return list(tokenizer.encode(_head(), add_special_tokens=False).ids)


def query_ids(tokenizer: Tokenizer, queries: list[str]) -> list[list[int]]:
    """The query lines; they tokenize alone as they do inside the prompt."""
    texts = [f"<Query>: {query}\n" for query in queries]
    return [list(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False)]


def document_ids(tokenizer: Tokenizer, documents: list[str], limit: int) -> list[list[int]]:
    """The document lines, cut to `limit` text tokens, with the suffix after it."""
    texts = [f"<Document>: {document}" for document in documents]
    suffix = list(tokenizer.encode(SUFFIX, add_special_tokens=False).ids)
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [list(e.ids[:limit]) + suffix for e in encoded]
