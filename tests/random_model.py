"""A two-layer random Qwen3 with the real vocabulary, whose scores spread like a trained one's.

    python tests/random_model.py FOLDER

A plain random model gives every pair nearly the same score, so that a wrong document's score
would pass for the right one. Here attention is made sharp, and the head is laid along the
direction in which the last hidden states of mixed pairs differ most.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tokenizers
import torch
from engines.parity import card_prompts
from transformers import Qwen3Config, Qwen3ForCausalLM

VOCABULARY = 151_669
# Standard deviation of the logits over mixed pairs: scores then cover most of [0, 1].
SPREAD = 2.5


def make_random_model(
    folder: Path, tokenizer: tokenizers.Tokenizer, *, hidden: int = 64, seed: int = 0
) -> Path:
    """Write a bf16 checkpoint of about 40 MB into `folder`, the same one each time.

    Args:
        folder: is made if it is not there.
        tokenizer: the Qwen3 tokenizer with its 151,669 tokens.
        hidden: hidden size, a multiple of 32.
        seed: of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = _sharp_model(hidden, seed)
    prompts = card_prompts(folder)
    states = _last_states(model, [one.ids for one in tokenizer.encode_batch(prompts)])
    yes, no = (tokenizer.token_to_id(answer) for answer in ("yes", "no"))
    with torch.no_grad():
        direction = _telling_direction(states)
        middle = model.lm_head.weight[yes].float().clone()
        model.lm_head.weight[yes] = (middle + direction / 2).to(torch.bfloat16)
        model.lm_head.weight[no] = (middle - direction / 2).to(torch.bfloat16)
    model.save_pretrained(folder)
    return folder


def _sharp_model(hidden: int, seed: int) -> Any:
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=hidden // 32,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
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
    from qwen_tokenizer import qwen_tokenizer

    print(make_random_model(Path(sys.argv[1]), qwen_tokenizer()))


if __name__ == "__main__":
    main()
