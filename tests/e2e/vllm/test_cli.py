"""The console script with a real vLLM: serve, then doctor, then rank."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from qwen3_ascend_retrievers.engines.remote.protocol.canary import SHORTEST
from support.cli_runs import SCRIPT, SECONDS, environment, run
from support.doctor_runs import colours

# Each answered 200 without the key behind vLLM's own --api-key, or could be mistaken for another.
UNGUARDED = (
    ("POST", "/rerank"), ("POST", "/v1/rerank"), ("POST", "/v2/rerank"), ("POST", "/score"),
    ("POST", "/classify"), ("POST", "/pooling"), ("POST", "/tokenize"), ("POST", "/detokenize"),
    ("POST", "/invocations"), ("POST", "//rerank"), ("POST", "/v1/../rerank"),
    ("POST", "/%72erank"), ("POST", "/rerank/"), ("OPTIONS", "/rerank"), ("HEAD", "/metrics"),
    ("GET", "/metrics"), ("GET", "/metrics/"), ("GET", "/version"), ("GET", "/load"),
    ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/v1/models"), ("POST", "/ping"),
)  # fmt: skip
QUESTION = {
    "query": "a", "documents": ["b"], "text_1": "a", "text_2": "b", "input": "a", "prompt": "a",
    "tokens": [1],
}  # fmt: skip


@dataclass
class Served:
    """A running `qwen3-rerank serve`.

    Attributes:
        process: the command.
        url: where it serves.
        errors: the file with its standard error.
        log: the file with vLLM's log, unless that is on standard error.
    """

    process: subprocess.Popen[str]
    url: str
    errors: Path
    log: Path

    def announced(self) -> Any:
        """What it prints when the server is ready and checked; its standard output is JSON."""
        text = ""
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()) not in ("}\n", ""):
            text += line
        logs = [path.read_text()[-5000:] for path in (self.errors, self.log) if path.exists()]
        assert line, "\n".join(logs)
        return json.loads(text + "}")

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    errors, log = folder / "errors", folder / "log"
    command = [str(SCRIPT), "serve", "tiny", "--hardware", "cpu", "--json", "--port", str(port)]
    command += [] if "--verbose" in options else ["--log-file", str(log)]
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [*command, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr,
            text=True, env=environment(),
        )  # fmt: skip
    try:
        yield Served(process, f"http://127.0.0.1:{port}", errors, log)
    finally:
        # Killed, it could not take its workers along.
        process.terminate()
        process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def check_routes(url: str, key: str) -> None:
    """Without the key only health checks are answered, with it all is as it was."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for method, path in UNGUARDED:
            body = QUESTION if method == "POST" else None
            for value in ("", "Bearer wrong", f"Basic {key}"):
                headers = {"Authorization": value} if value else {}
                answer = client.request(method, path, json=body, headers=headers)
                assert answer.status_code == 401, (method, path)
        assert {client.get(path).status_code for path in ("/health", "/ping")} == {200}
        client.headers["Authorization"] = f"Bearer {key}"
        for path in ("/rerank", "/v1/rerank", "/classify", "/tokenize"):
            assert client.post(path, json=QUESTION).status_code == 200, path


def test_serve_then_doctor_then_rank_from_a_shell(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-very-secret\n")
    with serving(tmp_path, "--api-key-file", str(key)) as started:
        announced = started.announced()
        assert (announced["base_url"], announced["log"]) == (started.url, str(started.log))
        loading = f"Loading tiny with vLLM on cpu; vLLM's log: {started.log}\n"
        assert started.errors.read_text() == loading
        assert "Starting vLLM server on" in started.log.read_text()
        check_routes(started.url, "sk-very-secret")
        server = ("--base-url", started.url, "--api-key-file", str(key))
        doctor = run("doctor", *server, "--json", "--max-length", "1500")
        verdicts = colours(doctor.stdout)
        assert verdicts["template"] == verdicts["guide's pair"] == "green"
        assert verdicts["prefix cache"] == "green"
        assert set(verdicts.values()) == {"green"}
        assert doctor.returncode == 0
        ranked = run("rank", "cat", *server, "--json", stdin="a dog\nthe cat sat\n")
        assert [result["index"] for result in json.loads(ranked.stdout)["results"]] == [1, 0]
        explained = run("explain", "cat", *server, "--json", stdin="a dog\nthe cat sat\n")
        assert explained.returncode == 0, explained.stderr
        for document in json.loads(explained.stdout)[0]["documents"]:
            assert document["tokens"] == sum(part["tokens"] for part in document["parts"])
        measured = evaluated(tmp_path, *server)
        assert measured["nDCG@10"]["after"] == 1
        output = doctor.stdout + doctor.stderr + ranked.stdout + explained.stdout
        assert "sk-very-secret" not in output
        workers = started.workers()
        assert len(workers) > 1
        for process in workers:
            assert "sk-very-secret" not in " ".join(process.cmdline())
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(SECONDS) == 130
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    assert "sk-very-secret" not in started.errors.read_text() + started.log.read_text()


def test_the_shortest_length_is_served_and_ended_by_sigterm(tmp_path: Path) -> None:
    with serving(tmp_path, "--max-length", str(SHORTEST), "--verbose") as started:
        assert started.announced()["log"] is None
        assert "Starting vLLM server on" in started.errors.read_text()
        assert not started.log.exists()
        workers = started.workers()
        started.process.terminate()
        assert started.process.wait(SECONDS) == 143
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []


def is_loading(workers: list[psutil.Process]) -> bool:
    """Whether the server has started its engine's process."""
    return any("spawn_main" in part for process in workers for part in process.cmdline())


def test_ctrl_c_while_it_loads_ends_it_in_seconds(tmp_path: Path) -> None:
    with serving(tmp_path) as started:
        end = time.monotonic() + SECONDS
        while not is_loading(workers := started.workers()) and time.monotonic() < end:
            time.sleep(0.1)
        start = time.monotonic()
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(SECONDS) == 130
        # It was 30 seconds and more; 3 and a kill on an idle machine.
        assert time.monotonic() - start < 20
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []


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
    evaluation = run(
        "eval", "--bm25", *files, "--output", out, "--measure", "nDCG@10", "--json", *server
    )
    assert evaluation.returncode == 0, evaluation.stderr
    measures: dict[str, dict[str, float]] = json.loads(evaluation.stdout)["measures"]
    return measures
