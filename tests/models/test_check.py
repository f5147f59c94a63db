"""A checkpoint whose tokenizer or head cannot answer "yes" or "no" is refused by all its users."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_ascend_retrievers import LocalEngine
from qwen3_ascend_retrievers.engines.remote.tokenization import LocalTokenizer
from qwen3_ascend_retrievers.errors import ModelError
from qwen3_ascend_retrievers.models.check import checked_tokenizer
from qwen3_ascend_retrievers.models.checkpoint import find_checkpoint
from qwen3_ascend_retrievers.models.conversion import convert
from qwen3_ascend_retrievers.models.tokenizer import answer_ids, load_tokenizer
from support.qwen_tokenizer import write_qwen_tokenizer

Change = Callable[[Any], object]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change_tokenizer(folder: Path, change: Change) -> None:
    path = folder / "tokenizer.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def change_weights(folder: Path, change: Change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def vocabulary(description: Any) -> dict[str, int]:
    ids: dict[str, int] = description["model"]["vocab"]
    return ids


def _one_id(description: Any) -> None:
    vocabulary(description)["yes"] = vocabulary(description)["no"]


def _swapped(description: Any) -> None:
    ids = vocabulary(description)
    ids["yes"], ids["no"] = ids["no"], ids["yes"]


def _far_id(description: Any) -> None:
    vocabulary(description)["yes"] = 999_999


def _shifted(description: Any) -> None:
    for token in description["added_tokens"]:
        token["id"] += 500


def _words(description: Any) -> None:
    ids = {"[UNK]": 0, "yes": 1, "no": 2}
    description["model"] = {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"}


def _no_words(description: Any) -> None:
    description["model"] = {"type": "WordLevel", "vocab": {}, "unk_token": "[UNK]"}
    description["added_tokens"] = []


def _word_pieces(description: Any) -> None:
    description["model"] = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {"[UNK]": 0},
    }


def _unigram(description: Any) -> None:
    description["model"] = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]}


def _empty(description: Any) -> None:
    description["model"] |= {"vocab": {}, "merges": []}


def _empty_and_nothing_added(description: Any) -> None:
    _empty(description)
    description["added_tokens"] = []


def _nothing_added(description: Any) -> None:
    description["added_tokens"] = []


def _few_merges(description: Any) -> None:
    description["model"]["merges"] = description["model"]["merges"][:50]


def _a_byte_less(description: Any) -> None:
    # The letter of the byte 0xFF, in which no merge ends that the probes need.
    del vocabulary(description)["\u00ff"]
    merges = description["model"]["merges"]
    description["model"]["merges"] = [pair for pair in merges if "\u00ff" not in "".join(pair)]


def _no_pre_tokenizer(description: Any) -> None:
    description["pre_tokenizer"] = None


def _stripped(description: Any) -> None:
    description["normalizer"] = {"type": "Strip", "strip_left": True, "strip_right": True}


def _dropout(description: Any) -> None:
    description["model"]["dropout"] = 0.1


def _flagged(token: str, flag: str) -> Change:
    def change(description: Any) -> None:
        for added in description["added_tokens"]:
            if added["content"] == token:
                added[flag] = True

    return change


TOKENIZERS = [
    (_one_id, "gives 'yes' and 'no' the same id"),
    (_swapped, "do not follow its merges"),
    (_far_id, r"(ids up to 999999|do not follow its merges)"),
    (_words, "is a WordLevel tokenizer"),
    (_no_words, "is a WordLevel tokenizer"),
    (_word_pieces, "is a WordPiece tokenizer"),
    (_unigram, "is a Unigram tokenizer"),
    (_empty, "vocabulary in .* is empty"),
    (_empty_and_nothing_added, "vocabulary in .* is empty"),
    (_nothing_added, r"6 tokens of '<\|im_start\|>'"),
    (_few_merges, "2 tokens of 'yes'"),
    (_a_byte_less, "no token for 1 of the 256 bytes"),
    (_no_pre_tokenizer, "do not spell the text"),
    (_stripped, "do not spell the text"),
    (_flagged("<|im_end|>", "lstrip"), "do not spell the text"),
    (_flagged("<|im_end|>", "rstrip"), "do not spell the text"),
    (_flagged("<|im_start|>", "lstrip"), "do not spell the text"),
    (_flagged("<|im_start|>", "single_word"), "do not spell the text"),
    (_dropout, "tokens at random"),
]


@pytest.mark.parametrize(("change", "message"), TOKENIZERS)
def test_tokenizers_that_cannot_answer(folder: Path, change: Change, message: str) -> None:
    change_tokenizer(folder, change)
    with pytest.raises(ModelError, match=message):
        LocalEngine(str(folder)).facts()
    with pytest.raises(ModelError, match=message):
        convert(str(folder), folder.parent / "target")
    # The tokenizer of RemoteEngine(tokenizer=...), which knows no embedding.
    with pytest.raises(ModelError, match=message):
        load_tokenizer(str(folder))


async def test_a_remote_engine_s_own_tokenizer_is_judged_too(folder: Path) -> None:
    change_tokenizer(folder, _one_id)
    with pytest.raises(ModelError, match="the same id"):
        await LocalTokenizer(str(folder), None).encode(["text"])


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "EOF"), ("[]", "readable"), ('{"model": {}}', "readable"), ("\udcff", "readable")],
)
def test_tokenizer_files_that_are_none(folder: Path, content: str, message: str) -> None:
    (folder / "tokenizer.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ModelError, match=message):
        load_tokenizer(str(folder))


def test_the_tokenizer_of_a_smaller_or_larger_model(
    folder: Path, random_folder: Path, tmp_path: Path
) -> None:
    large = Path(shutil.copytree(random_folder, tmp_path / "large"))
    shutil.copy(folder / "tokenizer.json", large)
    with pytest.raises(ModelError, match=r"12288 tokens only.*151669 rows"):
        LocalEngine(str(large)).facts()
    write_qwen_tokenizer(folder)
    with pytest.raises(ModelError, match=r"151669 tokens.*12288 rows"):
        LocalEngine(str(folder)).facts()


def _lower_case(description: Any) -> None:
    description["normalizer"] = {"type": "Lowercase"}


@pytest.mark.parametrize("change", [_lower_case, _swapped])
def test_a_tokenizer_of_qwen_s_size_makes_qwen_s_ids(tmp_path: Path, change: Change) -> None:
    write_qwen_tokenizer(tmp_path)
    assert answer_ids(load_tokenizer(str(tmp_path), vocab_size=151_936)) == (9693, 2152)
    change_tokenizer(tmp_path, change)
    with pytest.raises(ModelError, match="makes other ids"):
        load_tokenizer(str(tmp_path))


def _equal_rows(weights: Any) -> None:
    embedding = weights["model.embed_tokens.weight"]
    yes, no = answer_ids(load_tokenizer("tiny"))
    embedding[yes] = embedding[no]


def _zeros(weights: Any) -> None:
    # Some are -0.0.
    weights["model.embed_tokens.weight"] *= 0


def _zero_norm(weights: Any) -> None:
    weights["model.norm.weight"] *= 0


def _nan(weights: Any) -> None:
    weights["model.embed_tokens.weight"][:] = float("nan")


def _infinite(weights: Any) -> None:
    weights["model.embed_tokens.weight"][answer_ids(load_tokenizer("tiny"))[0], 7] = float("inf")


def _another_head(weights: Any) -> None:
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(0).contiguous()


def _a_short_head(weights: Any) -> None:
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"][:9000].clone()


def _another_type(weights: Any) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name] = weights[name].char()


def _an_adapter_not_merged(weights: Any) -> None:
    name = "model.layers.0.mlp.up_proj.weight"
    weights[name.replace("weight", "lora_A.weight")] = weights[name][:8].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_equal_rows, 'the same numbers for "yes" and "no"'),
        (_zeros, 'the same numbers for "yes" and "no"'),
        (_zero_norm, "norm.weight is all zeros"),
        (_nan, "not finite"),
        (_infinite, "not finite"),
        (_another_head, "tie_word_embeddings"),
        (_a_short_head, "lm_head.weight has the shape"),
        (_another_type, "holds I8 values"),
        (_an_adapter_not_merged, "Merge adapters first"),
    ],
)
def test_weights_that_cannot_answer(folder: Path, change: Change, message: str) -> None:
    change_weights(folder, change)
    with pytest.raises(ModelError, match=message):
        LocalEngine(str(folder)).facts()
    with pytest.raises(ModelError, match=message):
        convert(str(folder), folder.parent / "target")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("change", "message"), [(_zeros, "the same numbers"), (_nan, "not finite")]
)
def test_every_type_of_weights_is_read(
    folder: Path, change: Change, message: str, dtype: torch.dtype
) -> None:
    def convert_all(weights: Any) -> None:
        weights.update({name: weight.to(dtype) for name, weight in weights.items()})

    change_weights(folder, convert_all)
    checked_tokenizer(find_checkpoint(str(folder)))
    change_weights(folder, change)
    with pytest.raises(ModelError, match=message):
        checked_tokenizer(find_checkpoint(str(folder)))


def test_a_copy_of_the_embedding_as_the_head_is_right(folder: Path) -> None:
    def copy(weights: Any) -> None:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()

    change_weights(folder, copy)
    assert answer_ids(checked_tokenizer(find_checkpoint(str(folder)))) == answer_ids(
        load_tokenizer("tiny")
    )


def test_a_converted_head_of_zeros(tmp_path: Path) -> None:
    converted = convert("tiny", tmp_path / "converted").folder
    checked_tokenizer(find_checkpoint(str(converted)))
    change_weights(converted, lambda weights: weights["score.weight"].mul_(-0.0))
    with pytest.raises(ModelError, match=r"score.weight is all zeros.*0\.5"):
        LocalEngine(str(converted)).facts()


@pytest.mark.parametrize("false", [None, 7, "no"])
def test_a_reranker_that_answers_in_other_tokens_is_refused(folder: Path, false: object) -> None:
    """Folders of sentence-transformers say from which tokens the score is read."""
    yes, no = answer_ids(load_tokenizer(str(folder)))
    settings = {"true_token_id": yes, "false_token_id": no if false == "no" else false}
    (folder / "1_LogitScore").mkdir()
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(settings))
    if false == "no":
        checked_tokenizer(find_checkpoint(str(folder)))
    else:
        with pytest.raises(ModelError, match="It is another reranker"):
            checked_tokenizer(find_checkpoint(str(folder)))
