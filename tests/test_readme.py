"""The READMEs: every example with its output, both whole chains, all settings and presets.

tests/test_docs.py runs the Python examples, and proves that both languages have the same.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from llama_index.core.llms import MockLLM

from qwen3_ascend_retrievers import INSTRUCTIONS
from qwen3_ascend_retrievers.langchain import Qwen3Rerank as LangChainRerank
from qwen3_ascend_retrievers.llama_index import Qwen3Rerank as LlamaIndexRerank
from support.cli_runs import invoke
from support.notebook_runs import numbers, words
from support.pages import CHINESE, ENGLISH, Block, blocks, output_of, read, run_block, shown_default

EXAMPLES = [block for block in blocks(ENGLISH) if block.language in {"python", "bash"}]
COMMANDS = [block for block in EXAMPLES if block.code.startswith("printf ")]
SETTINGS = re.compile(r"^\| `(\w+)` \| (`[^`]+`|-) \| (`[^`]+`|-) \|", re.MULTILINE)

both_readmes = pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=lambda page: page.name)


def test_the_two_commands_come_first() -> None:
    first = blocks(ENGLISH)[0].code.split("\n")
    assert [line.split("#")[0].strip() for line in first] == ["make demo", "make test", ""]


def test_every_example_says_what_it_prints() -> None:
    silent = [block.code.split()[:2] for block in EXAMPLES if output_of(block) is None]
    # What makes the environment, and what installs.
    assert silent == [["make", "demo"], ["pip", "install"]]


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_a_command_prints_what_the_page_says(block: Block) -> None:
    piped, _, command = block.code.partition("|\n")
    documents = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, check=True)
    script, *arguments = shlex.split(command)
    assert script == "qwen3-rerank"
    printed = invoke(*arguments, stdin=documents.stdout, columns=100).stdout
    shown = output_of(block) or ""
    assert words(printed) == words(shown)
    # Another build of torch differs in the last digit.
    assert numbers(printed) == pytest.approx(numbers(shown), abs=0.001)


def chain(name: str) -> Block:
    """The one example that has the LLM of that name."""
    (block,) = [block for block in EXAMPLES if name in block.code]
    return block


def check_prompt(prompt: str) -> None:
    best = prompt.index("The capital of China is Beijing.")
    assert best < prompt.index("Shanghai is in China.")
    assert "Gravity" not in prompt
    assert "What is the capital of China?" in prompt


def test_langchain_s_chain_gives_its_llm_the_reranked_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stand-in answers the same to any prompt, so that what it is given is looked at."""
    prompts: list[str] = []

    def noted(model: Any, messages: Any, *arguments: Any, **more: Any) -> str:
        prompts.append(messages[0].content)
        return "Beijing."

    monkeypatch.setattr(FakeListChatModel, "_call", noted)
    run_block(chain("FakeListChatModel"), "")
    (prompt,) = prompts
    check_prompt(prompt)


def test_llama_index_s_chain_gives_its_llm_the_reranked_texts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    block = chain("MockLLM")
    assert "max_tokens=1" in block.code
    # Without a limit this stand-in answers with its prompt.
    monkeypatch.setattr(MockLLM, "__init__", _without_limit(MockLLM.__init__))
    run_block(block, "")
    check_prompt(capsys.readouterr().out.partition("The LLM:")[2])


def _without_limit(initialise: Any) -> Any:
    return lambda model, max_tokens=None, **more: initialise(model, **more)


@both_readmes
def test_every_setting_is_there_with_both_defaults(page: Path) -> None:
    adapters = (LangChainRerank.model_fields, LlamaIndexRerank.model_fields)
    names = {name for fields in adapters for name in fields} - {"callback_manager"}
    defaults = {
        name: [
            f"`{shown_default(fields[name].default)}`" if name in fields else "-"
            for fields in adapters
        ]
        for name in names
    }
    assert {name: cells for name, *cells in SETTINGS.findall(read(page))} == defaults


@both_readmes
def test_every_preset_is_there(page: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|`]+) \|$", read(page), re.MULTILINE)
    assert dict(rows) == INSTRUCTIONS


@both_readmes
def test_the_picture_is_there_for_light_and_dark(page: Path) -> None:
    pictures = re.findall(r'src(?:set)?="([^"]+)"', read(page))
    assert pictures == ["docs/assets/report-dark.png", "docs/assets/report.png"]


@both_readmes
def test_langchain_classic_is_named_before_it_is_needed(page: Path) -> None:
    before, _, _ = read(page).partition("from langchain_classic")
    paragraph = before.removesuffix("```python\n").rstrip().rpartition("\n\n")[2]
    assert re.search(r"`pip install [^`]*langchain-classic`", paragraph)
    assert {"`ContextualCompressionRetriever`", "`EnsembleRetriever`"} <= set(
        re.findall("`[^`]+`", paragraph)
    )
