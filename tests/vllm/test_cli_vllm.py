"""The console script with a real vLLM: serve, then doctor, then rank."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path

import psutil
from shell import SCRIPT, SECONDS, colours, environment, run


def test_serve_then_doctor_then_rank_from_a_shell(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = tmp_path / "key"
    key.write_text("sk-very-secret\n")
    with (tmp_path / "log").open("w") as log:
        command = [str(SCRIPT), "serve", "tiny", "--hardware", "cpu", "--json", "--port", str(port)]
        serving = subprocess.Popen(
            [*command, "--api-key-file", str(key), "--", "--enforce-eager"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            env=environment(),
        )  # fmt: skip
    workers: list[psutil.Process] = []
    assert serving.stdout is not None
    try:
        # Nothing is on stdout before the server is ready and checked; it closes if that fails.
        said = ""
        while (line := serving.stdout.readline()) not in ("}\n", ""):
            said += line
        assert line, (tmp_path / "log").read_text()[-5000:]
        url = f"http://127.0.0.1:{port}"
        assert json.loads(said + "}")["base_url"] == url
        server = ("--base-url", url, "--api-key-file", str(key))
        doctor = run("doctor", *server, "--json", "--max-length", "1500")
        found = colours(doctor.stdout)
        assert found["template"] == found["guide's pair"] == found["prefix cache"] == "green"
        assert set(found.values()) <= {"green", "amber"}
        ranked = run("rank", "cat", *server, "--json", stdin="a dog\nthe cat sat\n")
        assert [one["index"] for one in json.loads(ranked.stdout)["results"]] == [1, 0]
        explained = run("explain", "cat", *server, "--json", stdin="a dog\nthe cat sat\n")
        assert explained.returncode == 0, explained.stderr
        for one in json.loads(explained.stdout)[0]["documents"]:
            assert one["tokens"] == sum(part["tokens"] for part in one["parts"])
        measured = evaluated(tmp_path, *server)
        assert measured["nDCG@10"]["after"] == 1
        shown = doctor.stdout + doctor.stderr + ranked.stdout + explained.stdout
        assert "sk-very-secret" not in shown
        workers = psutil.Process(serving.pid).children(recursive=True)
        assert len(workers) > 1
        serving.send_signal(signal.SIGINT)
        assert serving.wait(SECONDS) == 130
    finally:
        # Killed, it could not take its workers along.
        serving.terminate()
        serving.wait(SECONDS)
        serving.stdout.close()
    _, left = psutil.wait_procs(workers, timeout=60)
    assert left == []
    assert "sk-very-secret" not in (tmp_path / "log").read_text()


def evaluated(folder: Path, *server: str) -> dict[str, dict[str, float]]:
    """What eval says of two queries whose answers are easy, with a first stage of its own."""
    answers = {"china": "The capital of China is Beijing.", "eggs": "An egg is boiled in water."}
    queries = {"china": "What is the capital of China?", "eggs": "boiled egg in water"}
    for name, texts in (("queries", queries), ("corpus", answers | {"other": "A boiled capital."})):
        rows = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    rows = [f"{key}\t{key}\t1" for key in queries]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    files = [
        part
        for name in ("queries.jsonl", "corpus.jsonl", "qrels.tsv")
        for part in (f"--{name.partition('.')[0]}", str(folder / name))
    ]
    out = str(folder / "reranked.trec")
    done = run("eval", "--bm25", *files, "--output", out, "--measure", "nDCG@10", "--json", *server)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, float]] = json.loads(done.stdout)["measures"]
    return found
