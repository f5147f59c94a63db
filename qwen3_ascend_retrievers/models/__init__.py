"""Find, check, load and convert a checkpoint and its tokenizer."""
