"""The proof file: what is in it and what never is, and that only a whole one is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qwen3_ascend_retrievers import LocalEngine, RemoteEngine, Reranker
from qwen3_ascend_retrievers.errors import InvalidInputError
from qwen3_ascend_retrievers.models.known_pairs import GUIDE
from qwen3_ascend_retrievers.testing import FakeEngine
from qwen3_ascend_retrievers.tools.diagnosis import (
    EngineRecord,
    Finding,
    Proof,
    check_engine,
    compare_proofs,
    read_proof,
)
from qwen3_ascend_retrievers.tools.diagnosis.pairs import known_pairs

RECORD = EngineRecord(
    config={"engine": "remote", "base_url": "http://npu:8000"},
    model="Qwen/Qwen3-Reranker-0.6B",
    max_length=8192,
    details={"dialect": "vllm: said so"},
)
FINDINGS = (
    Finding("guide's pair", "green", "well", measured={"relevant logit": 7.6, "published": None}),
    Finding("prefix cache", "amber", "unseen", "Look.", "a page", {"cached tokens in use": False}),
)


def written(proof: Proof, path: Path) -> Path:
    path.write_text(json.dumps(proof.as_json()), "utf-8")
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A proof file."""
    return written(Proof.of(FINDINGS, RECORD), tmp_path / "there.json")


def test_it_is_read_as_it_was_written(whole: Path) -> None:
    proof = read_proof(whole)
    assert (proof.engine, tuple(proof.findings)) == (RECORD, FINDINGS)
    assert proof.machine["python"].startswith("CPython")
    assert "qwen3-ascend-retrievers" in proof.versions
    assert proof.as_json() == json.loads(whole.read_text("utf-8"))
    assert proof.as_json()["colour"] == "amber"


def test_a_loaded_model_is_proven_with_all_numbers() -> None:
    with Reranker(LocalEngine("tiny", "cpu", "float32", 1200)) as reranker:
        findings = list(check_engine(reranker))
        engine = EngineRecord.of(reranker, is_ready=True)
    assert (engine.model, engine.max_length) == ("tiny", 1200)
    assert engine.details == {"device": "cpu", "dtype": "float32"}
    assert str(engine.weights).startswith("sha256 of samples: ")
    measured = {finding.name: finding.measured for finding in findings}
    assert measured["guide's pair"]["relevant score"] > 0.9  # type: ignore[operator]
    assert measured["prefix cache"]["cached tokens in use"] is True
    assert measured["long document"]["prompt tokens"] == 1200
    speed = measured["speed"]
    assert speed["pairs per second"] == pytest.approx(  # type: ignore[operator]
        speed["tokens per second"] * speed["pairs"] / speed["prompt tokens"]  # type: ignore[operator]
    )
    assert Proof.of(findings, engine).public().engine == engine


def test_the_published_scores_are_beside_those_of_the_pair() -> None:
    scores = {GUIDE.relevant: 0.9990, GUIDE.irrelevant: 5.1e-06}
    finding, _ = known_pairs(Reranker(FakeEngine(scores)), "Qwen/Qwen3-Reranker-0.6B")
    assert finding.measured["relevant published"] == 0.99950
    assert finding.measured["relevant from published"] == pytest.approx(-0.694, abs=1e-3)
    assert finding.measured["irrelevant from published"] == pytest.approx(0, abs=1e-9)


def test_no_key_no_header_and_no_home_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "ann"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    engine = RemoteEngine(
        "http://127.0.0.1:9",
        api_key="sk-very-secret",
        headers={"X-Token": "sk-other"},
        tokenizer=f"{home}/models/qwen",
        verify=f"{home}/ca.pem",
    )
    with Reranker(engine) as reranker:
        record = EngineRecord.of(reranker, is_ready=False)
    record = replace(
        record, config={**record.config, "vllm_args": {"hf_token": "sk-third", "seed": 1}}
    )
    error = Finding("model", "red", f"{home}/model is missing; see {home}, not {home}a/x", "Fetch.")
    text = json.dumps(Proof.of([error], record).as_json())
    assert "sk-" not in text
    assert str(home) + "/" not in text
    content = json.loads(text)
    assert content["engine"]["config"]["tokenizer"] == "~/models/qwen"
    assert content["engine"]["config"]["vllm_args"] == {"hf_token": None, "seed": 1}
    assert content["findings"][0]["said"] == f"~/model is missing; see ~, not {home}a/x"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "cut short"),
        (lambda text: "", "cut short"),
        (lambda text: "[" * 100_000, "cut short"),
        (lambda text: "\xff\xfe", "no JSON"),
        (lambda text: "[]", "no schema_version"),
        (lambda text: '{"colour": "green", "findings": []}', "no schema_version"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "version 2"),
        (lambda text: text.replace('"findings"', '"findigns"'), "damaged: KeyError"),
        (lambda text: text.replace('"green"', '"blue"'), "damaged: ValueError at colour"),
        (lambda text: text.replace("7.6", "NaN"), "damaged: ValueError"),
        (lambda text: text.replace("7.6", '"7.6"'), "damaged: ValueError"),
        (lambda text: text.replace("8192", '"8192"'), "damaged: TypeError"),
        (lambda text: text.replace('"well"', "17"), "damaged: TypeError"),
        (lambda text: " " * 5_000_001, "too long"),
    ],
)
def test_a_file_that_is_no_whole_proof_is_named(whole: Path, change: Any, message: str) -> None:
    whole.write_bytes(change(whole.read_text("utf-8")).encode("latin-1"))
    with pytest.raises(InvalidInputError) as caught:
        read_proof(whole)
    assert str(whole) in str(caught.value)
    assert message in str(caught.value)
    assert "doctor --json > FILE" in str(caught.value) or "same release" in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.json", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_proof(tmp_path / name)


def by_name(there: Proof, here: Proof) -> dict[str, Any]:
    return {value.name: value for value in compare_proofs(there, here)}


def changed(finding: Finding, **measured: Any) -> Proof:
    return Proof.of([replace(finding, measured=finding.measured | measured)], RECORD)


@pytest.mark.parametrize(
    ("logit", "difference", "is_marked"),
    [(7.6, "", False), (7.4, "-0.2", False), (7.9, "+0.3", True), (None, "", False)],
)
def test_scores_are_marked_beyond_what_bf16_explains(
    logit: Any, difference: str, is_marked: bool
) -> None:
    there = Proof.of(FINDINGS[:1], RECORD)
    values = by_name(there, changed(FINDINGS[0], **{"relevant logit": logit}))
    row = values["guide's pair: relevant logit"]
    assert (row.difference, row.is_marked) == (difference, is_marked)
    assert row.there == "7.6"


def test_speed_is_compared_and_never_marked() -> None:
    speeds = [
        Proof.of([Finding("speed", "green", "", measured={"pairs per second": rate})], None)
        for rate in (10.0, 1000.0)
    ]
    row = by_name(*speeds)["speed: pairs per second"]
    assert (row.there, row.here, row.difference, row.is_marked) == ("10", "1000", "+990", False)


def test_a_check_of_another_colour_is_marked_and_an_absent_one_is_not() -> None:
    there, here = Proof.of(FINDINGS, RECORD), Proof.of([replace(FINDINGS[1], colour="red")], None)
    values = by_name(there, here)
    assert (values["prefix cache"].there, values["prefix cache"].here) == ("amber", "red")
    assert values["prefix cache"].is_marked
    assert not values["guide's pair"].is_marked
    assert (values["guide's pair"].there, values["guide's pair"].here) == ("green", "-")
    assert values["prefix cache: cached tokens in use"].there == "no"
    assert values["dialect"].here == "-"


def test_the_address_is_not_compared(whole: Path) -> None:
    there = read_proof(whole)
    elsewhere = replace(RECORD, config={**RECORD.config, "base_url": "http://other:8000"})
    values = compare_proofs(there, Proof.of(FINDINGS, elsewhere))
    assert [value.name for value in values if value.difference] == []
