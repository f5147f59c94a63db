"""Where a model's files are found, and the errors when they are not."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from qwen3_ascend_retrievers import LocalEngine, Reranker
from qwen3_ascend_retrievers.errors import InvalidInputError, MissingDependencyError, ModelError
from qwen3_ascend_retrievers.models import files as model_files
from qwen3_ascend_retrievers.models.files import (
    TinyModelWarning,
    fetch_model,
    find_file,
    local_folder,
    warn_if_tiny,
)
from qwen3_ascend_retrievers.models.tokenizer import answer_ids, load_tokenizer
from support.server_threads import served


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: no warning about tiny yet, and none silenced."""
    monkeypatch.setattr(model_files, "_tiny_warned", threading.Event())
    monkeypatch.delenv("QWEN3_RERANK_ALLOW_TINY")


@pytest.fixture
def hub_cache(tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache that holds somebody/tiny-reranker, and no way to the hub."""
    from huggingface_hub import constants

    repo = tmp_path / "models--somebody--tiny-reranker"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0123abcd" * 5)
    shutil.copytree(tiny_folder, repo / "snapshots" / ("0123abcd" * 5))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repo


def test_tiny_is_the_bundled_folder(tiny_folder: Path) -> None:
    assert local_folder("tiny") == tiny_folder
    assert find_file("tiny", "config.json") == tiny_folder / "config.json"
    assert fetch_model("tiny") == tiny_folder


def test_tiny_wins_over_a_folder_of_that_name(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").mkdir()
    assert local_folder("tiny") == tiny_folder
    assert local_folder("./tiny") == Path("tiny")


def test_a_hub_id_is_no_folder() -> None:
    assert local_folder("Qwen/Qwen3-Reranker-0.6B", "main") is None


@pytest.mark.parametrize(
    "model", ["/no/such/folder", "./here", "../up", "one", "a/b/c", "a b/c", "", "a\0b"]
)
def test_a_missing_folder(model: str) -> None:
    with pytest.raises(ModelError, match="no model folder"):
        local_folder(model)


@pytest.mark.parametrize("model", ["~nobody-of-this-name/x", "x" * 5000])
def test_a_name_that_is_no_path(model: str) -> None:
    with pytest.raises(ModelError, match="cannot be the path") as caught:
        local_folder(model)
    assert len(str(caught.value)) < 6000


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="revision"):
        find_file(str(tmp_path), "config.json", "main")


def test_the_hubs_cache(hub_cache: Path) -> None:
    path = find_file("somebody/tiny-reranker", "config.json")
    assert hub_cache in path.parents
    assert fetch_model("somebody/tiny-reranker", "main") == path.parent
    with Reranker(LocalEngine("somebody/tiny-reranker")) as reranker:
        assert reranker.rank("query", ["document"]).model == "somebody/tiny-reranker"


@pytest.mark.parametrize("model", ["somebody/another", "somebody/tiny-reranker"])
def test_what_the_cache_lacks(hub_cache: Path, model: str) -> None:
    for path in hub_cache.glob("snapshots/*/config.json"):
        path.unlink()
    with pytest.raises(ModelError, match=r"config.json could not be fetched.*HF_HUB_OFFLINE"):
        find_file(model, "config.json")


class Hub(BaseHTTPRequestHandler):
    """A hub whose every repository holds `files`, none of which can be fetched."""

    files: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "0123abcd" * 5)
        self.end_headers()

    def do_GET(self) -> None:
        # Of anything else huggingface_hub keeps the answer in the developer's own cache, for a day.
        if not self.path.startswith("/api/models/"):
            self.send_error(404)
            return
        # The answer to /api/models/NAME/tree/REVISION.
        tree = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in self.files]
        body = json.dumps(tree).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    from huggingface_hub import constants

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Hub)) as url:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield Hub


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["README.md", "Qwen3-Reranker-0.6B.Q8_0.gguf"], "is a GGUF model"),
        (["adapter_config.json", "adapter_model.safetensors"], "is a LoRA adapter"),
        (["onnx/model.onnx"], "is an ONNX model"),
        (["README.md"], r"config.json could not be fetched \(.*EntryNotFoundError\)"),
    ],
)
def test_a_repository_of_another_format(hub: type[Hub], files: list[str], message: str) -> None:
    hub.files = files
    with pytest.raises(ModelError, match=message):
        find_file("somebody/reranker", "config.json")


def test_a_repository_with_a_config_and_no_safetensors(hub_cache: Path) -> None:
    for path in hub_cache.glob("snapshots/*/*.safetensors"):
        path.unlink()
    with pytest.raises(ModelError, match="weights is missing"):
        fetch_model("somebody/tiny-reranker")


@pytest.mark.parametrize(
    ("model", "message"),
    [("a/Qwen3-Reranker-GGUF", "GGUF"), ("mlx-community/Qwen3-Reranker-4bit", "MLX")],
)
@pytest.mark.usefixtures("hub_cache")
def test_a_repository_that_is_named_after_a_format(model: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"could not be fetched.*By its name it is an? {message}"):
        find_file(model, "config.json")


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"qwen3-ascend-retrievers\[tokenizers\]"):
        find_file("Qwen/Qwen3-Reranker-0.6B", "config.json")


@pytest.mark.usefixtures("fresh_process")
def test_tiny_says_once_what_it_is() -> None:
    with pytest.warns(TinyModelWarning, match='model="Qwen/Qwen3-Reranker-0.6B"'):
        LocalEngine("tiny").facts()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LocalEngine("tiny").facts()


@pytest.mark.usefixtures("fresh_process")
def test_other_models_say_nothing(tiny_folder: Path) -> None:
    warn_if_tiny(str(tiny_folder))
    warn_if_tiny("Qwen/Qwen3-Reranker-0.6B")


@pytest.mark.usefixtures("fresh_process")
def test_whoever_means_tiny_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_RERANK_ALLOW_TINY", "1")
    warn_if_tiny("tiny")
    monkeypatch.setenv("QWEN3_RERANK_ALLOW_TINY", "0")
    with pytest.warns(TinyModelWarning):
        warn_if_tiny("tiny")


def test_a_tokenizer_adds_cuts_and_pads_nothing(random_folder: Path) -> None:
    tokenizer = load_tokenizer(str(random_folder), vocab_size=151_669)
    assert answer_ids(tokenizer) == (9693, 2152)
    short, long, empty = tokenizer.encode_batch(["ab 北京", "word " * 3000, ""])
    assert short.offsets[0] == (0, 2)
    assert short.offsets[-1] == (4, 5)
    assert len(long.ids) == 3001
    assert list(empty.ids) == []


def test_a_tokenizer_that_is_too_large_for_the_model() -> None:
    with pytest.raises(ModelError, match="not of the same model"):
        load_tokenizer("tiny", vocab_size=12_000)


def test_a_broken_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(ModelError, match="no readable tokenizer"):
        load_tokenizer(str(tmp_path))


def test_a_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer.json is missing"):
        load_tokenizer(str(tmp_path))


def test_another_models_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE({"y": 0, "e": 1, "s": 2}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"3 tokens of 'yes'.*no Qwen3 reranker's tokenizer"):
        load_tokenizer(str(tmp_path))


def test_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingDependencyError, match=r"qwen3-ascend-retrievers\[tokenizers\]"):
        load_tokenizer("tiny")
