"""Find, judge, load and convert a checkpoint and its tokenizer."""
