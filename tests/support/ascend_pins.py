"""What the official container of vllm-ascend 0.23.0 holds, and what our pages install into it."""

from __future__ import annotations

# Requires-Dist of vllm-ascend 0.23.0's wheel on PyPI; of its ranges the newest that fits.
PINS = {
    "torch": "2.10.0",
    "torch-npu": "2.10.0.post4",
    "torchvision": "0.25.0",
    "torchaudio": "2.10.0",
    "triton-ascend": "3.2.2",
    "transformers": "5.5.4",
    "arctic-inference": "0.1.1",
    "fastapi": "0.123.10",
    # Of vllm 0.23.0's lower bounds, which a container of that day exceeds at most a little.
    "pydantic": "2.12.0",
    "tokenizers": "0.22.2",
    "vllm": "0.23.0",
    "vllm-ascend": "0.23.0",
}

# Extras for the container: langchain alone, and what README.md and docs/in-process.md say.
CONTAINER_EXTRAS = ("langchain", "langchain,cli", "langchain,tokenizers")
