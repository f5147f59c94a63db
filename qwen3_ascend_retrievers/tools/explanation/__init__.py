"""Looking into a reranking: the exact prompts, their tokens and scores, and a report of them."""

from .explain import Explained, Explanation, Part, explain

__all__ = ["Explained", "Explanation", "Part", "explain"]
