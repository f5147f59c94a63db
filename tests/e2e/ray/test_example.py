"""The example with a Parquet file, as a user would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from support.example_output import EXAMPLES


def test_the_example_reranks_a_parquet_file() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "ray_parquet.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *rows, last = done.stdout.splitlines()
    assert len(rows) == 5
    assert all(re.fullmatch(r"0\.\d{4}  .+\?  no error", row) for row in rows), done.stdout
    assert last == "4 of 5 answers are among the best 3 of 30"
