"""Small helpers, independent of reranking."""
