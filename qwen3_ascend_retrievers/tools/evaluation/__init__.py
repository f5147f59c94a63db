"""Measuring a reranking: test collections and runs in, a reranked run and its measures out.

No terminal is written to from here; that is the command line's part.
"""
