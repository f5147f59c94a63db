"""Serving a model with vLLM: its command for version and hardware, its process, its checks."""
