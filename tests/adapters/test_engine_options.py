"""`engine_options` in both adapters: what is refused, what arrives, and what is never shown."""

from __future__ import annotations

import copy
import inspect
import pickle
import ssl
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest
from langchain_core.load import dumps, loads
from rich.pretty import pretty_repr

import qwen3_ascend_retrievers
from qwen3_ascend_retrievers import LocalEngine, RemoteEngine, langchain, llama_index
from qwen3_ascend_retrievers.errors import (
    DeadlineExceededError,
    InvalidInputError,
    MissingDependencyError,
)
from qwen3_ascend_retrievers.testing import FakeEngine
from support.rerank_answers import Setup, rerank_only_setup
from support.rerank_faults import SLOW
from support.rerank_server import RerankServer

PACKAGE = qwen3_ascend_retrievers.__path__[0]
KEY = "tenant-secret-abcdef"
URL = "http://127.0.0.1:9"
HEADERS = {"X-Tenant": KEY}
BOTH = pytest.mark.parametrize(
    "kind", [langchain.Qwen3Rerank, llama_index.Qwen3Rerank], ids=["langchain", "llama_index"]
)

WRONG: list[tuple[dict[str, Any], Any, str]] = [
    ({"base_url": URL}, {"timeut": 3}, "RemoteEngine has no option timeut. Did you mean timeout?"),
    ({"base_url": URL}, {"Headers": HEADERS}, "Did you mean headers?"),
    ({"base_url": URL}, {"zzz": KEY}, "RemoteEngine has no option zzz. It has: async_http_client"),
    ({"base_url": URL}, {"device": "cpu"}, "device is not for RemoteEngine but for LocalEngine"),
    ({"base_url": URL}, {"dtype": "auto"}, "but for VLLMEngine and LocalEngine: leave it out"),
    ({"model": "tiny"}, {"headers": HEADERS}, "not for LocalEngine but for RemoteEngine"),
    ({}, {"divice": "cpu"}, "LocalEngine has no option divice. Did you mean device?"),
    ({"base_url": URL}, {"model": "m"}, "engine_options must not hold model: set the field."),
    ({"base_url": URL}, {"api_key": KEY}, "must not hold api_key: set the field."),
    ({"model": "tiny"}, {"max_length": 9}, "must not hold max_length: set the field."),
    ({}, {"top_n": 3}, "must not hold top_n: set the field."),
    ({"base_url": URL}, {"timeout": "5"}, "timeout must be a number of seconds above 0"),
    ({"model": "tiny"}, {"device": "tpu"}, "device"),
    ({"base_url": URL}, {"headers": KEY}, "headers must be a mapping of str to str"),
    ({"base_url": URL}, {"headers": [("X-Tenant", KEY)]}, "headers must be a mapping"),
    ({"base_url": URL}, {"headers": {"X": KEY.encode()}}, "headers must be a mapping"),
    ({"base_url": URL}, {"headers": {"X-Tenant": f"{KEY}\n"}}, "'X-Tenant' holds letters"),
    ({"base_url": URL}, {"headers": HEADERS, "timeout": 0}, "timeout must be"),
    ({"base_url": URL, "top_n": 0}, {"headers": HEADERS}, "top_n is 0"),
    ({"base_url": URL}, KEY, "engine_options: Input should be a valid dictionary."),
    ({"base_url": URL}, {3: KEY}, "engine_options"),
    ({"engine": FakeEngine()}, {"headers": HEADERS}, "engine and engine_options exclude each"),
]


def locals_of_frames(error: BaseException) -> Iterator[Any]:
    """The local variables of the package's frames, of the error and what it came from."""
    link: BaseException | None = error
    while link is not None:
        at: TracebackType | None = link.__traceback__
        while at is not None:
            if at.tb_frame.f_code.co_filename.startswith(PACKAGE):
                yield from at.tb_frame.f_locals.values()
            at = at.tb_next
        link = link.__cause__ or link.__context__


def check_nothing_is_shown(error: BaseException) -> None:
    values = [error, *locals_of_frames(error)]
    assert len(values) > 1
    for value in values:
        assert KEY not in f"{value!r} {value} {pretty_repr(value, expand_all=True)}"
    assert KEY not in f"{error.__cause__}"


@BOTH
@pytest.mark.parametrize(("fields", "options", "advice"), WRONG, ids=lambda case: str(case)[:40])
def test_wrong_options_are_refused_at_once(
    kind: Any, fields: dict[str, Any], options: Any, advice: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        kind(**fields, engine_options=options)
    assert advice in str(caught.value)
    check_nothing_is_shown(caught.value)


@BOTH
def test_wrong_options_are_refused_when_assigned(kind: Any) -> None:
    rerank = kind(base_url=URL, engine_options={"timeout": 5})
    for options in ({"timeut": KEY}, {"headers": {"X": f"{KEY}\n"}}, {"base_url": URL}, KEY):
        with pytest.raises(InvalidInputError) as caught:
            rerank.engine_options = options
        check_nothing_is_shown(caught.value)
    assert rerank.engine_options == {"timeout": 5}
    # Fields are assigned one after another, so what they are together is said at first use.
    rerank.base_url = None
    with pytest.raises(InvalidInputError, match="timeout is not for LocalEngine"):
        rerank.rerank(["a"], "q")
    rerank.engine = FakeEngine()
    with pytest.raises(InvalidInputError, match="engine and engine_options exclude each other"):
        rerank.rerank(["a"], "q")
    rerank.engine_options = {}
    assert len(rerank.rerank(["a"], "q")) == 1


@BOTH
def test_a_missing_engine_is_no_error_before_first_use(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    rerank = kind(model="tiny", engine_options={"dtype": "float32"})
    with pytest.raises(MissingDependencyError):
        rerank.rerank(["a"], "q")


@BOTH
def test_they_reach_the_server(kind: Any) -> None:
    options = {"headers": HEADERS, "protocol": "classify", "batch_size": 1}
    with RerankServer(Setup()) as server:
        rerank = kind(base_url=server.url, engine_options=options)
        assert len(rerank.rerank(["a", "b"], "q")) == 2
        rerank.close()
    assert {request.headers["x-tenant"] for request in server.requests} == {KEY}
    assert server.paths()[-2:] == ["/classify", "/classify"]


@BOTH
def test_a_timeout_ends_a_request(kind: Any) -> None:
    with RerankServer(rerank_only_setup(), lambda request: SLOW[0]) as server:
        rerank = kind(base_url=server.url, engine_options={"timeout": 0.2, "max_retries": 0})
        with pytest.raises(DeadlineExceededError, match=r"within 0\.2 s"):
            rerank.rerank(["a"], "q")
        rerank.close()


@BOTH
def test_they_reach_the_model_in_this_process(kind: Any) -> None:
    scores = {}
    for dtype in ("float32", "bfloat16"):
        options = {"dtype": dtype, "device": "cpu", "batch_tokens": 64}
        rerank = kind(model="tiny", max_length=512, engine_options=options)
        scores[dtype] = rerank.rerank(["a cat"], "cat")[0]["relevance_score"]
        engine = rerank._engine()
        assert isinstance(engine, LocalEngine)
        assert engine.config().items() >= {**options, "max_length": 512}.items()
        rerank.close()
    assert scores["float32"] != scores["bfloat16"]
    assert scores["float32"] == pytest.approx(scores["bfloat16"], abs=0.02)


@BOTH
def test_changed_options_mean_another_engine(kind: Any) -> None:
    rerank = kind(base_url=URL, engine_options={"timeout": 5, "headers": HEADERS})
    first = rerank._engine()
    rerank.engine_options = {"timeout": 5, "headers": dict(HEADERS)}
    assert rerank._engine() is first
    assert copy.copy(rerank)._engine() is first
    rerank.engine_options = {"timeout": 6, "headers": HEADERS}
    second = rerank._engine()
    assert (second is first, second.config()["timeout"]) == (False, 6)
    # Changed in place, which no field can notice.
    rerank.engine_options["headers"]["X-Tenant"] = "another"
    assert rerank._engine() is not second
    for engine in (first, second, rerank._engine()):
        engine.close()


@BOTH
def test_the_callers_own_options_are_left_alone(kind: Any) -> None:
    options = {"headers": dict(HEADERS), "timeout": 5}
    rerank = kind(base_url=URL, engine_options=options)
    rerank.engine_options["timeout"] = 6
    assert options == {"headers": HEADERS, "timeout": 5}
    assert rerank.engine_options["headers"]["X-Tenant"].get_secret_value() == KEY


def revived(rerank: Any) -> Any:
    """Written down by the framework, and read again."""
    if isinstance(rerank, llama_index.Qwen3Rerank):
        return llama_index.Qwen3Rerank.from_json(rerank.to_json())
    more: dict[str, Any] = {"valid_namespaces": ["qwen3_ascend_retrievers"]}
    if "allowed_objects" in inspect.signature(loads).parameters:
        more["allowed_objects"] = [langchain.Qwen3Rerank]
    with warnings.catch_warnings():
        # `loads` is marked as beta by LangChain.
        warnings.simplefilter("ignore")
        return loads(dumps(rerank), **more)


WAYS = {
    "framework": revived,
    "pickle": lambda rerank: pickle.loads(pickle.dumps(rerank)),
    "deepcopy": copy.deepcopy,
    "model_dump": lambda rerank: type(rerank)(
        **{name: rerank.model_dump()[name] for name in ("base_url", "model", "engine_options")}
    ),
}


@BOTH
@pytest.mark.parametrize("way", WAYS)
def test_options_come_back_without_headers(kind: Any, way: str) -> None:
    options = {"timeout": 5, "tokenizer": "tiny", "verify": False, "max_retries": None}
    again = WAYS[way](kind(base_url=URL, engine_options={**options, "headers": HEADERS}))
    assert again.engine_options == options
    assert again._engine().config().items() >= options.items()
    again.close()
    assert WAYS[way](kind(base_url=URL, engine_options={"headers": HEADERS})).engine_options == {}
    local = WAYS[way](kind(model="tiny", engine_options={"revision": Path("main")}))
    assert local.engine_options == {"revision": "main"}


@BOTH
@pytest.mark.parametrize("way", ["framework", "pickle", "deepcopy"])
def test_what_cannot_be_written_down_is_named(kind: Any, way: str) -> None:
    with httpx.Client() as client:
        for name, value in (("http_client", client), ("verify", ssl.create_default_context())):
            rerank = kind(base_url=URL, engine_options={name: value, "timeout": 5})
            assert isinstance(rerank._engine(), RemoteEngine)
            with pytest.raises(InvalidInputError, match=f"engine option {name} cannot be written"):
                WAYS[way](rerank)
            assert name in repr(rerank)
            rerank.close()


@BOTH
def test_a_header_is_nowhere_to_be_read(kind: Any) -> None:
    rerank = kind(base_url=URL, engine_options={"headers": HEADERS, "timeout": 5})
    rerank._engine()
    later = kind(base_url=URL)
    later.engine_options = {"headers": HEADERS}
    unmasked = rerank.model_copy(update={"engine_options": {"headers": dict(HEADERS)}})
    for written in (rerank, later, unmasked):
        outputs = [repr(written), str(written), pretty_repr(written), str(pickle.dumps(written))]
        outputs += [str(written.model_dump()), written.model_dump_json(), repr(revived(written))]
        outputs.append(repr(vars(written._handle)))
        is_langchain = isinstance(written, langchain.Qwen3Rerank)
        outputs.append(dumps(written) if is_langchain else written.to_json())
        assert not [text for text in outputs if KEY in text]
        assert "*" not in outputs[-1]
        written.close()
    assert KEY not in repr(vars(rerank))
    assert repr(rerank).startswith(f"Qwen3Rerank(base_url='{URL}', engine_options={{'headers': ")


@BOTH
def test_without_options_it_is_written_as_before(kind: Any) -> None:
    for rerank in (kind(base_url=URL), kind(base_url=URL, engine_options={})):
        is_langchain = isinstance(rerank, langchain.Qwen3Rerank)
        text = dumps(rerank) if is_langchain else rerank.to_json()
        assert "engine_options" not in text
        assert repr(kind(base_url=URL)) == f"Qwen3Rerank(base_url='{URL}')"
