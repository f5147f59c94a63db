"""Write the model folder; a reader never sees half a file."""

import json
import os
import tempfile
from pathlib import Path

import torch
import vocabulary
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM


def save_weights(model: Qwen3ForCausalLM, folder: Path) -> None:
    """Replace model.safetensors, in bfloat16; the head is tied and so is not written."""
    state = {
        name: value.detach().to(torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "model.safetensors"
        save_file(state, path, metadata={"format": "pt"})
        path.chmod(0o644)
        os.replace(path, folder / path.name)


def save_rest(model: Qwen3ForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """Write config.json and the tokenizer; there is no generation config, nothing generates."""
    config = model.config
    config.architectures = ["Qwen3ForCausalLM"]
    config.dtype = torch.bfloat16
    config.save_pretrained(folder)
    path = folder / "config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    # transformers 4 reads the rotary base here and would take its own default in silence.
    written["rope_theta"] = written["rope_parameters"]["rope_theta"]
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    vocabulary.save(tokenizer, folder)
