"""What can be wrong about a rerank is decided here: pure functions and values.

No I/O, clock, environment, logging, torch or httpx. Imports nothing of the package but errors,
settings and _util.
"""
