"""Measuring a reranking: test collections and runs in, a reranked run and its measures out.

Nothing here writes to a terminal.
"""
