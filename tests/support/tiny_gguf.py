"""Writes the bundled model as GGUF, as llama.cpp's converter writes a Qwen3-Reranker.

Usage: python tiny_gguf.py MODEL_FOLDER TARGET.gguf TEMPLATE; needs gguf and numpy. TEMPLATE is the
whole prompt with {query} and {document}, which the server fills in.

llama.cpp lower-cases nothing, the bundled tokenizer everything: so the vocabulary gets each token
in capitals too, with the same embedding and merges of the same rank. Odd mixtures of both inside a
long token, and capitals beyond ASCII, become other tokens than here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any

import gguf
import numpy as np

# Up to so many letters, a token gets all mixtures of small letters and capitals.
_MIXED_LETTERS = 3
_EMBEDDINGS = "model.embed_tokens.weight"


def tensors_of(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file in bfloat16, by name, as float32."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "BF16", name
        begin, end = entry["data_offsets"]
        halves = np.frombuffer(raw[start + begin : start + end], np.uint16)
        tensors[name] = (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
    return tensors


def capitalised(token: str) -> Iterator[str]:
    """The token itself, and then with capitals: all mixtures, or Capitalised and UPPER."""
    places = [at for at, letter in enumerate(token) if "a" <= letter <= "z"]
    chosen = [(), (places[0],), tuple(places)] if len(places) > _MIXED_LETTERS else None
    every = (combinations(places, count) for count in range(len(places) + 1))
    for capitals in chosen or chain.from_iterable(every):
        yield "".join(
            letter.upper() if at in capitals else letter for at, letter in enumerate(token)
        )


class Vocabulary:
    """The tokens, their kinds, merges and embeddings, with capitals."""

    def __init__(self, tokenizer: Mapping[str, Any], embeddings: Any) -> None:
        ids = tokenizer["model"]["vocab"]
        forms = {token: list(capitalised(token)) for token in ids}
        lower: dict[str, str] = {}
        for token, variants in forms.items():
            for variant in variants[1:]:
                lower.setdefault(variant, token)
        added = [variant for variant in lower if variant not in ids]
        embeddings = embeddings.copy()
        for variant, token in lower.items():
            # Single bytes in capitals have a token already, which the tokenizer never uses.
            if variant in ids:
                embeddings[ids[variant]] = embeddings[ids[token]]
        count = len(embeddings)
        self.answers = [ids["yes"], ids["no"]]
        self.tokens = [f"[PAD{at}]" for at in range(count)]
        self.kinds = [gguf.TokenType.UNUSED] * count
        for token, at in ids.items():
            self.tokens[at], self.kinds[at] = token, gguf.TokenType.NORMAL
        for entry in tokenizer["added_tokens"]:
            kind = gguf.TokenType.CONTROL if entry["special"] else gguf.TokenType.USER_DEFINED
            self.tokens[entry["id"]], self.kinds[entry["id"]] = entry["content"], kind
        self.tokens += added
        self.kinds += [gguf.TokenType.NORMAL] * len(added)
        rows = [ids[lower[variant]] for variant in added]
        self.embeddings = np.concatenate([embeddings, embeddings[rows]])
        self.merges = list(_merges(tokenizer["model"]["merges"], forms))


def _merges(
    merges: Sequence[str | Sequence[str]], forms: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Each merge, followed by the same in capitals."""
    known = set()
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        whole = set(forms[left + right])
        for pair in product(forms[left], forms[right]):
            if "".join(pair) in whole and pair not in known:
                known.add(pair)
                yield " ".join(pair)


def write_settings(writer: gguf.GGUFWriter, config: Mapping[str, Any], template: str) -> None:
    """What is no token and no tensor."""
    writer.add_name("tiny")
    writer.add_type("model")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_classifier_output_labels(["yes", "no"])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template([{"name": "rerank", "template": template}])


def write_tokens(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    """The vocabulary; the pattern that cuts words is Qwen's."""
    writer.add_vocab_size(len(vocabulary.tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)


def main(folder: str, target: str, template: str) -> None:
    """Write the file."""
    source = Path(folder)
    config = json.loads((source / "config.json").read_text("utf-8"))
    tokenizer = json.loads((source / "tokenizer.json").read_text("utf-8"))
    tensors = tensors_of(source / "model.safetensors")
    vocabulary = Vocabulary(tokenizer, tensors.pop(_EMBEDDINGS))
    # The same as the embeddings.
    tensors.pop("lm_head.weight", None)
    writer = gguf.GGUFWriter(target, "qwen3")
    write_settings(writer, config, template)
    write_tokens(writer, vocabulary)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
    writer.add_tensor("token_embd.weight", vocabulary.embeddings)
    writer.add_tensor("cls.output.weight", vocabulary.embeddings[vocabulary.answers])
    for name, tensor in tensors.items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
