"""Engines: they turn a plan's passages into scores, and nothing else. They import no sibling."""
