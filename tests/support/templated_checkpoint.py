"""A converted checkpoint whose tokenizer builds the prompt, for servers that only make pairs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tokenizers import Tokenizer

from qwen3_ascend_retrievers.core.prompt import DEFAULT_INSTRUCTION, document_part, query_part


def write_templated(source: Path, target: Path) -> None:
    """Copy a converted checkpoint, with the template as its tokenizer's post-processor.

    A space belongs before both texts, in one token with their first word, so the normalizer
    prepends it: to an empty text it does not.
    """
    shutil.copytree(source, target)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    settings = json.loads((source / "tokenizer.json").read_text("utf-8"))
    settings["normalizer"]["normalizers"].append({"type": "Prepend", "prepend": " "})
    pieces = []
    special_tokens = {}
    for name, text in zip(("before", "between", "after"), _template_texts(), strict=True):
        encoding = tokenizer.encode(text.removesuffix(" "), add_special_tokens=False)
        special_tokens[name] = {"id": name, "ids": encoding.ids, "tokens": encoding.tokens}
        pieces.append({"SpecialToken": {"id": name, "type_id": 0}})
    before, between, after = pieces
    query, document = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    settings["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [query],
        "pair": [before, query, between, document, after],
        "special_tokens": special_tokens,
    }
    (target / "tokenizer.json").write_text(json.dumps(settings, ensure_ascii=False), "utf-8")


def _template_texts() -> list[str]:
    """What is before the query, between both texts, and after the document."""
    before, between = query_part(DEFAULT_INSTRUCTION, "\0").split("\0")
    start, after = document_part("\0").split("\0")
    return [before, between + start, after]
