"""Serving a model with vLLM: the right command for version and hardware, started and watched."""
