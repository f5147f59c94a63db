"""Each check turns red, with a remedy, on an engine that is wrong in the way it looks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from word_server import WordServer

from qwen3_ascend_retrievers import LocalEngine, RemoteEngine, Reranker
from qwen3_ascend_retrievers.core.plan import Plan
from qwen3_ascend_retrievers.core.ranking import Score
from qwen3_ascend_retrievers.diagnosis import Finding, check_engine
from qwen3_ascend_retrievers.diagnosis.metrics import cache_hits
from qwen3_ascend_retrievers.diagnosis.score_checks import known_pairs
from qwen3_ascend_retrievers.engines.base import Call, EngineFacts
from qwen3_ascend_retrievers.errors import TemplateMismatchError
from qwen3_ascend_retrievers.known_pairs import CHINESE, GUIDE
from qwen3_ascend_retrievers.testing import FakeEngine


def examine(engine: Any, base_url: str | None = None, **settings: Any) -> dict[str, Finding]:
    with Reranker(engine, **settings) as reranker:
        found = list(check_engine(reranker, base_url))
    for one in found:
        assert one.colour == "green" or one.remedy, one
        assert one.colour != "red" or one.source, one
    return {one.name: one for one in found}


class Bent(FakeEngine):
    """Tiny's scores, bent by what a test says; tokens are tiny's own."""

    def __init__(self, bend: Any, max_length: int = 1200) -> None:
        super().__init__(max_length=max_length)
        self._inner, self._bend = LocalEngine("tiny", max_length=max_length), bend

    def facts(self) -> EngineFacts:
        return self._inner.facts()

    def encode(self, texts: Sequence[str]) -> Any:
        return self._inner.encode(texts)

    def score(self, plan: Plan, call: Call) -> list[Score]:
        scores = self._inner.score(plan, call)
        return [self._bend(one, plan, at) for at, one in enumerate(scores)]

    def close(self) -> None:
        self._inner.close()


def test_tiny_is_well_but_for_what_it_never_learnt() -> None:
    found = examine(LocalEngine("tiny", max_length=1200))
    # It was not trained on Chinese: its score there says nothing.
    assert {name for name, one in found.items() if one.colour != "green"} <= {"Chinese pair"}
    assert "not published" in found["guide's pair"].said
    assert "token ids are sent" in found["template"].said


def test_all_scores_alike_are_red() -> None:
    found = examine(Bent(lambda *_: Score.of_logit(0.01)))
    assert found["known pairs"].colour == "red"
    assert "27857" in str(found["known pairs"].source)


def test_a_wrong_order_is_red() -> None:
    found = examine(Bent(lambda one, *_: Score.of_logit(-one.logit)))
    assert found["guide's pair"].colour == "red"
    assert found["Chinese pair"].colour in ("green", "amber")


def test_a_deaf_engine_is_red_for_its_instruction() -> None:
    found = examine(FakeEngine())
    assert found["instruction"].colour == "red"
    assert found["long document"].colour == "amber"


def test_an_engine_that_refuses_instructions_is_red() -> None:
    def refuse(one: Score, plan: Plan, at: int) -> Score:
        if "recipe" in plan.queries[0].instruction:
            raise TemplateMismatchError("The server ignores `instruction`. Drop it.")
        return one

    found = examine(Bent(refuse))
    assert found["instruction"].colour == "red"
    assert found["speed"].colour == "green"


def test_wrong_cached_scores_are_red() -> None:
    def cached_wrong(one: Score, plan: Plan, at: int) -> Score:
        assert one.logit is not None
        return Score.of_logit(one.logit + 1.0 * (at > 0))

    found = examine(Bent(cached_wrong))
    assert found["prefix cache"].colour == "red"
    assert "--no-enable-prefix-caching" in str(found["prefix cache"].remedy)


def test_agreement_without_proof_is_amber() -> None:
    found = examine(Bent(lambda one, *_: one))
    assert found["prefix cache"].colour == "amber"


def test_a_document_that_is_scored_otherwise_when_cut_is_red() -> None:
    def bend(one: Score, plan: Plan, at: int) -> Score:
        return replace(one, logit=(one.logit or 0) + 2) if plan.passages[at].cut != "no" else one

    found = examine(Bent(bend))
    assert found["long document"].colour == "red"


def test_published_scores_are_compared_as_logits() -> None:
    scores = {
        GUIDE.relevant: 0.9943,
        GUIDE.irrelevant: 7e-07,
        CHINESE.relevant: 0.95,
        CHINESE.irrelevant: 0.05,
    }
    english, chinese = known_pairs(Reranker(FakeEngine(scores)), "Qwen/Qwen3-Reranker-8B")
    assert (english.colour, chinese.colour) == ("green", "green")
    assert "published 0.99443" in english.said
    off = Reranker(FakeEngine(scores | {GUIDE.irrelevant: 7e-05}))
    assert known_pairs(off, "Qwen/Qwen3-Reranker-8B")[0].colour == "amber"
    assert known_pairs(off, "Qwen/Qwen3-Reranker-4B")[0].colour == "green"


def test_a_server_that_proves_nothing_is_amber() -> None:
    with WordServer() as server:
        found = examine(RemoteEngine(server.url), server.url)
    assert found["template"].colour == "amber"
    assert found["prefix cache"].colour in ("amber", "red")


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that answers everything alike."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - theirs

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - theirs
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "name"),
    [(401, "authentication"), (404, "model name and route"), (400, "model name and route")],
)
def test_a_refusing_server_is_red_by_the_name_of_what_is_wrong(status: int, name: str) -> None:
    with answering(status, b'{"error": "no"}') as url:
        found = examine(RemoteEngine(url, max_retries=0), url)
    assert list(found) == [name]
    assert found[name].colour == "red"


def test_no_server_is_red() -> None:
    found = examine(RemoteEngine("http://127.0.0.1:9", max_retries=0), "http://127.0.0.1:9")
    assert found["reachability"].colour == "red"


def test_cache_hits_are_read_from_metrics() -> None:
    text = (
        b"# TYPE vllm:prefix_cache_hits_total counter\n"
        b'vllm:prefix_cache_hits_total{engine="0",model_name="m"} 128.0\n'
        b'vllm:prefix_cache_hits_total{engine="1",model_name="m"} 2.0\n'
        b'vllm:prefix_cache_hits_created{engine="0"} 1.7e9\n'
    )
    with answering(200, text) as url:
        assert cache_hits(f"{url}/v1/") == 130.0
    with answering(404, text) as url:
        assert cache_hits(url) is None
    with answering(200, b"vllm:prefix_cache_hits_total x\n") as url:
        assert cache_hits(url) is None
    assert cache_hits(None) is None
    assert cache_hits("http://127.0.0.1:9") is None
