"""What the commands do, without a terminal: they use Reranker, and print nothing."""
