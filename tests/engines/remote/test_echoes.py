"""What a server says back, the key in another spelling or a strange name, is shown with care."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from qwen3_ascend_retrievers import Reranker
from qwen3_ascend_retrievers.engines.remote.redaction import redact
from qwen3_ascend_retrievers.errors import InvalidInputError, ReplyError, RerankError
from support.remote_rankings import DOCUMENTS, QUERY, check_ranking
from support.rerank_answers import Setup, hash_logit
from support.rerank_faults import status

KEY = "sk-topsecret-0123456789"


def as_it_is(text: str) -> bytes:
    return json.dumps({"error": f"bad key {text}"}).encode()


ECHOES: dict[str, tuple[str, Callable[[str], bytes]]] = {
    "gson": ("sk-abcdef-12345==", lambda key: as_it_is(key).replace(b"=", rb"\u003d")),
    "upper case": ("sk-<abcdef>-12345", lambda key: as_it_is(key).replace(b"<", rb"\u003C")),
    "slashes": ("sk/abcdef/12345", lambda key: as_it_is(key).replace(b"/", rb"\/")),
    "a quote and a backslash": ('sk"abcdef\\12345', as_it_is),
    "JSON in JSON": ('sk"abcdef\\12345==', lambda key: as_it_is(as_it_is(key).decode())),
    "HTML": ("sk-abcdef-12345==", lambda key: f"<p>{key}</p>".encode()),
}


@pytest.mark.parametrize("code", [200, 401, 500])
@pytest.mark.parametrize("name", ECHOES)
async def test_a_key_that_is_echoed_in_another_spelling(
    serve: Any, connect: Any, name: str, code: int
) -> None:
    key, echo = ECHOES[name]
    server = serve(Setup(lists_models=False), lambda request: status(code, echo(key)))
    with pytest.raises(RerankError) as caught:
        await connect(server.url, api_key=key, max_retries=0).afacts()
    text = "".join(traceback.format_exception(caught.value))
    assert "[key]" in text
    assert "abcdef" not in text


def test_an_error_without_the_key_is_quoted_as_it_is() -> None:
    body = '{"error": "line one\\nline \\"two\\" \\u0041"}'
    assert redact(body, (KEY, "\\\\\\\\")) == body


async def test_a_model_that_is_called_like_the_key(
    serve: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    named = Setup(model=f"Bearer {KEY}", lists_models=False)
    facts = await connect(serve(named).url, api_key=KEY).afacts()
    assert facts.model == "Bearer [key]"
    server = serve()
    engine = connect(server.url, api_key=KEY)
    check_ranking(await Reranker(engine).arank(QUERY, DOCUMENTS))
    listed = server.answers.models
    server.setup.echo = lambda: f"Bearer {KEY}"
    server.setup.scorer = lambda ids: -hash_logit(ids)
    with pytest.raises(ReplyError, match=r"model 'Bearer \[key\]', not 'tiny'"):
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    two = [{"id": f"one {KEY}"}, {"id": f"other {KEY}"}]
    server.answers.models = lambda body: listed(body) | {"data": two}
    with pytest.raises(InvalidInputError, match=r"'one \[key\], other \[key\]'"):
        await connect(server.url, api_key=KEY).afacts()
    assert KEY not in caplog.text


async def test_a_model_with_an_endless_name(serve: Any, connect: Any) -> None:
    name = "z" * 100_000
    first, second = serve(Setup(model=name)), serve(Setup(scorer=lambda ids: -hash_logit(ids)))
    engine = connect([first.url, second.url], max_retries=0, cooldown=0.01)
    assert len((await engine.afacts()).model) < 500
    first.decide = lambda request: status(500)
    with pytest.raises(ReplyError, match="replicas of one model") as caught:
        await Reranker(engine).arank(QUERY, DOCUMENTS)
    assert len(str(caught.value)) < 1000
