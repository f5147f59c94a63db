"""What a folder or file is that holds no checkpoint this package can load, and what to do about it.

Told by the names of files alone; nothing is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .settings import DEFAULT_MODEL

_CHECKPOINT: Final = (
    f'Give the folder of a safetensors checkpoint, such as that of "{DEFAULT_MODEL}".'
)
# Pattern of a file's name -> what the folder is, and what to do. The first that fits is told.
_FORMATS: Final = (
    (
        "adapter_config.json",
        "a LoRA adapter (PEFT), and no whole model. Merge it into its base model "
        "(merge_and_unload, save_pretrained) and give that folder, or use "
        "VLLMEngine(<base model>, lora=<this folder>).",
    ),
    ("*.gguf", f"in GGUF, llama.cpp's format. {_CHECKPOINT}"),
    ("*.onnx", f"an ONNX export, which leaves out what scoring needs. {_CHECKPOINT}"),
    ("onnx/*.onnx", f"an ONNX export, which leaves out what scoring needs. {_CHECKPOINT}"),
    ("openvino_*.xml", f"an OpenVINO export. {_CHECKPOINT}"),
    ("*.om", f"an offline model for Ascend's ACL. {_CHECKPOINT}"),
    ("*.mindir", f"a MindSpore export. {_CHECKPOINT}"),
    ("*.engine", f"a TensorRT engine. {_CHECKPOINT}"),
    (
        "pytorch_model*.bin",
        "a checkpoint in pickled files, which are not loaded because they can run code. Save it "
        "as safetensors: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...).",
    ),
    ("*.pth", f"a pickled PyTorch model. {_CHECKPOINT}"),
    ("*.pt", f"a pickled PyTorch model. {_CHECKPOINT}"),
    ("*.ckpt", f"a training checkpoint. {_CHECKPOINT}"),
    ("tf_model.h5", f"a TensorFlow model. {_CHECKPOINT}"),
    ("flax_model.msgpack", f"a Flax model. {_CHECKPOINT}"),
    (
        "*/config.json",
        "a folder with a model in a folder below it. Give the one that holds config.json and "
        "model.safetensors.",
    ),
)


def describe_format(path: Path) -> str | None:
    """What `path` is, if it is known and cannot be loaded: words to follow "is ". Else None.

    Args:
        path: a folder without a loadable checkpoint, or a file.
    """
    if path.is_file():
        told = (text for pattern, text in _FORMATS if "/" not in pattern and path.match(pattern))
        return next(told, f"a file, and no folder. {_CHECKPOINT}")
    return next((text for pattern, text in _FORMATS if any(path.glob(pattern))), None)
