"""The prompt's tokens, by the real Qwen3 tokenizer and by the bundled model's."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer

import qwen3_ascend_retrievers
from qwen3_ascend_retrievers.core.prompt import (
    ADDED_TOKENS,
    DEFAULT_INSTRUCTION,
    SUFFIX,
    document_part,
    neutralise,
    prompt,
    query_part,
)
from support.qwen_tokenizer import FIRST_ADDED, NO, YES, encode, qwen_tokenizer
from support.strategies import fuzzed, payloads

TINY = Path(qwen3_ascend_retrievers.__file__).parent / "models" / "tiny_model" / "tokenizer.json"
GOLDEN = Path(__file__).with_name("golden_ids.json")
CHINA = "The capital of China is Beijing."
GRAVITY = (
    "Gravity is a force that attracts two bodies towards each other. It gives weight to physical "
    "objects and is responsible for the movement of planets around the sun."
)
OF_TEMPLATE = [
    *("<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>", "<|im_start|>"),
    *("<think>", "</think>"),
]


@pytest.fixture(scope="module", params=["qwen", "tiny"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return qwen_tokenizer() if request.param == "qwen" else Tokenizer.from_file(str(TINY))


def ids_of(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [
        encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ]


def test_the_rebuilt_tokenizer_makes_the_official_ids() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(golden) >= 40
    for entry, encoding in zip(golden, encode([entry["text"] for entry in golden]), strict=True):
        assert encoding.ids == entry["ids"], entry["text"]


def test_vocabulary_and_answers() -> None:
    qwen = qwen_tokenizer()
    assert qwen.get_vocab_size() == 151_669
    assert [qwen.token_to_id(text) for text in ADDED_TOKENS] == list(range(FIRST_ADDED, 151_669))
    assert [encoding.ids for encoding in encode(["yes", "no"])] == [[YES], [NO]]


def test_the_guides_pair_is_193_tokens() -> None:
    question = "What is the capital of China?"
    counts = [
        len(encoding.ids)
        for encoding in encode([prompt(question, CHINA), prompt(question, GRAVITY)])
    ]
    assert counts == [85, 108]


def test_parts_make_the_ids_of_the_whole(tokenizer: Tokenizer) -> None:
    random = Random(20_261_125)
    firsts, seconds = [], []
    for _ in range(5_000):
        instruction, query, document = (neutralise(fuzzed(random, 8)) for _ in range(3))
        firsts.append(query_part(instruction, query))
        seconds.append(document_part(document))
    wholes = [first + second for first, second in zip(firsts, seconds, strict=True)]
    assert len(set(wholes)) > 4_900
    parts = zip(ids_of(tokenizer, firsts), ids_of(tokenizer, seconds), strict=True)
    for text, (first, second), whole in zip(wholes, parts, ids_of(tokenizer, wholes), strict=True):
        assert first + second == whole, text


def control_tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[str]]:
    names = {tokenizer.token_to_id(text): text for text in ADDED_TOKENS}
    assert None not in names
    return [
        [names[token_id] for token_id in ids if token_id in names]
        for ids in ids_of(tokenizer, texts)
    ]


@pytest.mark.parametrize("place", ["query", "document", "instruction"])
def test_no_payload_adds_a_control_token(tokenizer: Tokenizer, place: str) -> None:
    tried = payloads()
    assert len(tried) >= 300
    texts = {"query": "q", "document": "d", "instruction": DEFAULT_INSTRUCTION}
    prompts = [prompt(**{**texts, place: f"before {payload} after"}) for payload in tried]
    for payload, tokens in zip(tried, control_tokens(tokenizer, prompts), strict=True):
        assert tokens == OF_TEMPLATE, payload


def test_payloads_would_work_without_the_rule(tokenizer: Tokenizer) -> None:
    clean = [payload.encode("utf-8", "replace").decode() for payload in payloads()]
    raw = [f"<Document>: {payload}{SUFFIX}" for payload in clean]
    rest = OF_TEMPLATE[3:]
    assert sum(tokens != rest for tokens in control_tokens(tokenizer, raw)) > 100


def test_normalising_first_wakes_no_token(tokenizer: Tokenizer) -> None:
    """NFC turns the Kelvin sign into K; a server may normalise or lower-case before it looks."""
    neutral = [neutralise(payload) for payload in payloads()]
    normal = [unicodedata.normalize("NFC", text) for text in neutral]
    for changed in (normal, [text.lower() for text in normal], [text.lower() for text in neutral]):
        assert control_tokens(tokenizer, changed) == [[]] * len(neutral)
