"""`qwen3-rerank convert` by the installed script: verified, bounded in memory, no overwriting."""

from __future__ import annotations

import json
from pathlib import Path

from cli.script import invoke, run


def test_tiny_is_converted_and_ranks(tmp_path: Path) -> None:
    target = str(tmp_path / "converted")
    done = run("convert", "tiny", target, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["folder"] == target
    assert len(said["scores"]) == 4
    assert all(abs(one["source"] - one["copy"]) <= 1e-3 for one in said["scores"])
    assert said["peak_rss_bytes"] < 2e9
    again = invoke("convert", "tiny", target)
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)
    ranked = invoke("rank", "cat", "-", "--model", target, "--json", stdin="a dog\na cat\n")
    assert json.loads(ranked.stdout)["model"] == target


def test_the_outcome_is_told_in_words(tmp_path: Path) -> None:
    done = invoke("convert", "tiny", str(tmp_path / "converted"))
    assert "4 fixed pairs score as in the source" in done.stdout
    assert "Peak memory" in done.stdout
