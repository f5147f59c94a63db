"""Many queries at once: tables in, tables with scores out, in this process or on a Ray cluster.

Nothing here writes to a terminal.
"""
