"""Looking into a reranking: the exact prompts, their tokens and scores, and a report of them."""

from .explain import Explained, Explanation, PromptPart, explain

__all__ = ["Explained", "Explanation", "PromptPart", "explain"]
