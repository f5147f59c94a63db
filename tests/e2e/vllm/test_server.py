"""A real vLLM server with the bundled model, started right and wrong: right scores or an error."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from qwen3_ascend_retrievers import LocalEngine, RemoteEngine, Reranker
from qwen3_ascend_retrievers.errors import AuthenticationError, StatusError, TemplateMismatchError
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as NodeRerank
from qwen3_ascend_retrievers.models.files import TINY_FOLDER
from support.doctor_runs import doctor_is_red
from support.parity import PAIRS, Pair, check_mutants, check_parity, expected_logits, logits_of
from support.vllm_server import template_text, vllm_server

MAX = 512
KEY, NAME = "sk-vllm-0123456789", "my-reranker"
TOLERANCE = 1e-3
CUSTOM = "Given a question about food, retrieve recipes that answer it"
_TEXT = """capital China Beijing gravity water egg boil 北京 首都 人口 東京 서울 Москва столица
القاهرة עיר 🙂 🇨🇳 👩‍👩‍👧 <|im_end|> <think> </think> <|im_start|> 1234 3.14 def f(x):
cafe\u0301 ."""
_WORDS = [*_TEXT.split(), "", "", "\n", "\n\n", "\t", "   "]


def pairs() -> list[Pair]:
    """200 pairs with all that is nasty, some longer than the model; the same each time."""
    dice = random.Random(3)
    pairs = list(PAIRS)
    while len(pairs) < 200:
        query = " ".join(dice.choices(_WORDS, k=dice.randint(1, 8))) + "?"
        length = dice.choice((0, 1, 5, 20, 60, 400))
        document = " ".join(dice.choices(_WORDS, k=length)) + dice.choice(("", "  ", "\n\n"))
        pairs.append((query, document))
    return pairs


@cache
def local_logits(instruction: str | None = None) -> tuple[float, ...]:
    """What LocalEngine makes of the pairs in float32."""
    with Reranker(LocalEngine("tiny", "cpu", "float32", MAX), instruction=instruction) as reranker:
        return tuple(logits_of(reranker)(pairs()))


def logits(url: str, instruction: str | None = None, **settings: Any) -> list[float]:
    with Reranker(
        RemoteEngine(url, **settings), instruction=instruction, max_length=MAX
    ) as reranker:
        return logits_of(reranker)(pairs())


def check(got: Sequence[float], expected: Sequence[float]) -> None:
    assert max(expected) - min(expected) > 2
    assert max(abs(a - b) for a, b in zip(got, expected, strict=True)) < TOLERANCE


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm") / "server.log"


# One server at a time: each belongs to the one class that uses it.
def template(folder: Path, newlines: int) -> str:
    path = folder / f"template-{newlines}.jinja"
    path.write_text(template_text(newlines), "utf-8")
    return str(path)


@pytest.fixture(scope="class")
def plain(log: Path) -> Iterator[str]:
    with vllm_server(log) as url:
        yield url


@pytest.fixture(scope="class")
def exact(log: Path) -> Iterator[str]:
    with vllm_server(log, "--chat-template", template(log.parent, 3)) as url:
        yield url


@pytest.fixture(scope="class")
def official(log: Path) -> Iterator[str]:
    with vllm_server(log, "--chat-template", template(log.parent, 2)) as url:
        yield url


@pytest.fixture(scope="class")
def guarded(log: Path) -> Iterator[str]:
    """With a key, a name of its own and little room."""
    arguments = ("--api-key", KEY, "--served-model-name", NAME)
    with vllm_server(log, *arguments, max_model_len=256) as url:
        yield url


@pytest.fixture(scope="class")
def embedding(log: Path) -> Iterator[str]:
    with vllm_server(log, overrides=False) as url:
        yield url


class TestPlain:
    """Started with the overrides and no template."""

    @pytest.mark.parametrize("protocol", ["auto", "rerank", "classify"])
    @pytest.mark.parametrize("tokenizer", [None, "tiny"])
    def test_200_pairs(self, plain: str, protocol: Any, tokenizer: str | None) -> None:
        check(logits(plain, protocol=protocol, tokenizer=tokenizer), local_logits())

    @pytest.mark.parametrize("tokenizer", [None, "tiny"])
    def test_the_parity_body_and_its_mutants(self, plain: str, tokenizer: str | None) -> None:
        engine = RemoteEngine(plain, tokenizer=tokenizer)
        with Reranker(engine, max_length=MAX) as reranker:
            body = logits_of(reranker)
            expected = expected_logits(TINY_FOLDER)
            check_parity(body, expected, absolute=TOLERANCE)
            check_mutants(body, expected, absolute=TOLERANCE)

    def test_an_instruction(self, plain: str) -> None:
        check(logits(plain, CUSTOM), local_logits(CUSTOM))

    async def test_async_callers(self, plain: str) -> None:
        query, documents = PAIRS[0][0], [document for _, document in PAIRS[:8]]
        async with Reranker(RemoteEngine(plain)) as reranker:
            rankings = await asyncio.gather(*(reranker.arank(query, documents) for _ in range(16)))
        orders = {tuple(result.index for result in ranking.results) for ranking in rankings}
        assert len(orders) == 1

    async def test_langchain(self, plain: str) -> None:
        from langchain_core.documents import Document

        texts = [document for _, document in PAIRS[:6]]
        documents = [Document(text, id=str(at)) for at, text in enumerate(texts)]
        with Reranker(LocalEngine("tiny", "cpu", "float32")) as local:
            expected = [str(result.index) for result in local.rank(PAIRS[0][0], texts, 3).results]
        compressor = Qwen3Rerank(base_url=plain, top_n=3)
        got = compressor.compress_documents(documents, PAIRS[0][0])
        assert [document.id for document in got] == expected
        agot = await compressor.acompress_documents(documents, PAIRS[0][0])
        assert [document.id for document in agot] == expected

    async def test_llama_index(self, plain: str) -> None:
        from llama_index.core.schema import NodeWithScore, TextNode

        texts = [document for _, document in PAIRS[:6]]
        nodes = [
            NodeWithScore(node=TextNode(id_=str(at), text=text)) for at, text in enumerate(texts)
        ]
        with Reranker(LocalEngine("tiny", "cpu", "float32")) as local:
            expected = [str(result.index) for result in local.rank(PAIRS[0][0], texts, 2).results]
        postprocessor = NodeRerank(base_url=plain)
        got = postprocessor.postprocess_nodes(nodes, query_str=PAIRS[0][0])
        assert [result.node.node_id for result in got] == expected
        agot = await postprocessor.apostprocess_nodes(nodes, query_str=PAIRS[0][0])
        assert [result.node.node_id for result in agot] == expected


class TestExactTemplate:
    """Started with a template file that ends in three newlines."""

    @pytest.mark.parametrize("protocol", ["rerank", "classify"])
    def test_200_pairs(self, exact: str, protocol: Any) -> None:
        check(logits(exact, protocol=protocol), local_logits())

    def test_an_instruction(self, exact: str) -> None:
        check(logits(exact, CUSTOM, protocol="rerank"), local_logits(CUSTOM))

    def test_it_is_proven(self, exact: str) -> None:
        with RemoteEngine(exact) as engine:
            assert engine.facts().template_verified is True

    def test_the_template_twice_is_refused(self, exact: str) -> None:
        with (
            RemoteEngine(exact, template="client") as engine,
            pytest.raises(TemplateMismatchError, match="twice"),
        ):
            engine.facts()


class TestOfficialTemplate:
    """Started with a template file that ends in two newlines, of which Jinja takes one."""

    def test_200_pairs_by_classify(self, official: str) -> None:
        check(logits(official), local_logits())

    def test_texts_are_refused(self, official: str) -> None:
        with (
            RemoteEngine(official, protocol="rerank") as engine,
            pytest.raises(TemplateMismatchError, match="three newlines"),
        ):
            engine.facts()

    def test_doctor_is_red(self, official: str) -> None:
        red = doctor_is_red(official)
        assert list(red) == ["texts to /v1/rerank"]
        assert "three newlines" in red["texts to /v1/rerank"]

    def test_the_server_itself_is_wrong(self, official: str) -> None:
        """Without the check the scores would be plausible, and wrong."""
        documents = [document for _, document in PAIRS[:4]]
        body = {"query": PAIRS[0][0], "documents": documents, "use_activation": False}
        reply = httpx.post(f"{official}/v1/rerank", json=body, timeout=120).json()
        wrong = {result["index"]: result["relevance_score"] for result in reply["results"]}
        assert max(abs(wrong[at] - local_logits()[at]) for at in wrong) > 10 * TOLERANCE


class _Blind(httpx.HTTPTransport):
    """A gateway that leads to /v1/rerank only, so that nobody can tell the maximum or count."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v1/rerank":
            return httpx.Response(404, json={"detail": "Not Found"})
        return super().handle_request(request)


class TestGuarded:
    """Started with --api-key, --served-model-name and a small --max-model-len."""

    def test_the_key_and_the_name(self, guarded: str) -> None:
        with RemoteEngine(guarded, api_key=KEY) as engine:
            facts = engine.facts()
            assert (facts.model, facts.max_length) == (NAME, 256)
            query, documents = PAIRS[0][0], [document for _, document in PAIRS[:10]]
            ranking = Reranker(engine).rank(query, documents)
        with Reranker(LocalEngine("tiny", "cpu", "float32", 256)) as local:
            expected = local.rank(query, documents)
        for a, b in zip(ranking.results, expected.results, strict=True):
            assert (a.index, a.span, a.cut) == (b.index, b.span, b.cut)
            assert a.logit == pytest.approx(b.logit, abs=TOLERANCE)

    @pytest.mark.parametrize("key", [None, "sk-wrong-0123456789"])
    def test_without_the_key(self, guarded: str, key: str | None) -> None:
        with RemoteEngine(guarded, api_key=key) as engine, pytest.raises(AuthenticationError):
            engine.facts()

    def test_doctor_is_red(self, guarded: str, tmp_path: Path) -> None:
        assert list(doctor_is_red(guarded)) == ["authentication"]
        (tmp_path / "key").write_text(KEY)
        red = doctor_is_red(guarded, "--api-key-file", str(tmp_path / "key"))
        assert list(red) == ["model"]
        assert "--max-model-len 8192" in red["model"]

    def test_another_name(self, guarded: str) -> None:
        engine = RemoteEngine(guarded, "another", KEY)
        with engine, pytest.raises(StatusError, match="another"):
            engine.facts()

    def test_what_is_too_long_for_an_unknowing_client(self, guarded: str) -> None:
        """The server's own words for too long are understood."""
        documents = ["Beijing is the capital. " * 45, "short"]
        with httpx.Client(transport=_Blind()) as client:
            engine = RemoteEngine(guarded, NAME, KEY, http_client=client)
            with Reranker(engine) as reranker:
                ranking = reranker.rank(PAIRS[0][0], documents)
        (cut,) = [result for result in ranking.results if result.index == 0]
        assert cut.cut == "estimated"
        assert cut.span == (0, len(documents[0]) // 2)


class TestWithoutOverrides:
    """Started as if it were an embedding model."""

    @pytest.mark.parametrize("tokenizer", [None, "tiny"])
    @pytest.mark.parametrize("template", ["auto", "client"])
    def test_it_is_refused_with_the_flags(
        self, embedding: str, tokenizer: str | None, template: Any
    ) -> None:
        with (
            RemoteEngine(embedding, tokenizer=tokenizer, template=template) as engine,
            pytest.raises(TemplateMismatchError, match="is_original_qwen3_reranker"),
        ):
            engine.facts()

    def test_doctor_is_red(self, embedding: str) -> None:
        red = doctor_is_red(embedding)
        assert list(red) == ["template"]
        assert "--hf-overrides" in red["template"]
