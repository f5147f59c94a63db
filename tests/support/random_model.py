"""A random Qwen3 with the real vocabulary, whose scores spread like a trained one's.

    python tests/support/random_model.py FOLDER [LAYERS]    two small layers, or LAYERS of 0.6B's

A plain random model gives every pair nearly the same score, so that a wrong document's score
would pass for the right one. Here attention is made sharp, and the head is laid along the
direction in which the last hidden states of mixed pairs differ most.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from support.parity import card_prompts

VOCABULARY = 151_669
# Standard deviation of the logits over mixed pairs: scores then cover most of [0, 1].
SPREAD = 2.5
SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
    "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip
# Qwen/Qwen3-Reranker-0.6B's config.json.
SHAPE_06B = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 40_960, "tie_word_embeddings": True,
}  # fmt: skip
# Qwen/Qwen3-Reranker-8B's, with fewer of its layers.
SHAPE_8B_SHORT = {
    "hidden_size": 4096, "intermediate_size": 12_288, "num_hidden_layers": 2,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 40_960, "tie_word_embeddings": False,
}  # fmt: skip


def make_random_model(
    folder: Path,
    tokenizer: tokenizers.Tokenizer,
    *,
    shape: Mapping[str, Any] = SMALL,
    shard_size: str = "5GB",
) -> Path:
    """Write a bf16 checkpoint into `folder`, the same one each time.

    Args:
        folder: is made if it is not there.
        tokenizer: the Qwen3 tokenizer with its 151,669 tokens.
        shape: of Qwen3Config; SMALL makes 40 MB, SHAPE_06B 1.2 GB.
        shard_size: of the largest file, as `save_pretrained` takes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = _sharp_model(shape)
    prompts = card_prompts(folder)
    states = _last_states(model, [encoding.ids for encoding in tokenizer.encode_batch(prompts)])
    yes, no = (tokenizer.token_to_id(answer) for answer in ("yes", "no"))
    with torch.no_grad():
        direction = _telling_direction(states)
        middle = model.lm_head.weight[yes].float().clone()
        model.lm_head.weight[yes] = (middle + direction / 2).to(torch.bfloat16)
        model.lm_head.weight[no] = (middle - direction / 2).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=shard_size)
    return folder


def _sharp_model(shape: Mapping[str, Any]) -> Any:
    config = Qwen3Config(vocab_size=VOCABULARY, **shape)
    torch.manual_seed(0)
    model: Any = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "q_norm" in name or "k_norm" in name:
                weight.fill_(1.5)
            elif weight.dim() == 2:
                fan_in = 1 if "embed_tokens" in name else weight.shape[1]
                weight.normal_(std=fan_in**-0.5)
    return model.to(torch.bfloat16).eval()


def _last_states(model: Any, prompts: list[list[int]]) -> torch.Tensor:
    body = model.model.float()
    with torch.no_grad():
        last = [body(input_ids=torch.tensor([ids])).last_hidden_state[0, -1] for ids in prompts]
    model.to(torch.bfloat16)
    return torch.stack(last)


def _telling_direction(states: torch.Tensor) -> torch.Tensor:
    """Where the states differ most, at right angles to their mean, scaled to SPREAD."""
    mean = states.mean(0)
    unit = mean / mean.norm()
    flat = states - torch.outer(states @ unit, unit)
    _, _, axes = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    direction = axes[0]
    return direction * (SPREAD / (states @ direction).std())


def main() -> None:
    """Write the model into the folder that is named on the command line."""
    from support.qwen_tokenizer import qwen_tokenizer

    folder, layers = Path(sys.argv[1]), sys.argv[2:]
    shape = SHAPE_06B | {"num_hidden_layers": int(layers[0])} if layers else SMALL
    print(make_random_model(folder, qwen_tokenizer(), shape=shape))


if __name__ == "__main__":
    main()
