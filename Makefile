# make demo      see it work: a real retriever's results, reranked, in both frameworks
# make test      the whole suite but vLLM's; no browser, no network after the installation
# make test-all  the same and tests/vllm against a real vLLM (CPU build) in its own environment
# make lint      ruff, mypy, import-linter        make format   let ruff rewrite the code
# make clean     remove both environments and all caches
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
# The stamps' names hold a checksum of what decides what is installed: a checkout or a rebase that
# changes only times installs nothing again.
KEY := $(shell cat pyproject.toml requirements-dev.txt | cksum | cut -d' ' -f1)
KEY_VLLM := $(shell cat pyproject.toml requirements-vllm.txt | cksum | cut -d' ' -f1)
READY := .venv/.installed-$(KEY)
READY_VLLM := .venv-vllm/.installed-$(KEY_VLLM)

.PHONY: help demo test test-vllm test-all lint format clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# torch goes first and pinned: left to the resolver, it may take a build with gigabytes of CUDA.
$(READY):
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@rm -f .venv/.installed-*
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements-dev.txt)"
	$(BIN)/python -m pip install --quiet -e '.[all,local]' -r requirements-dev.txt
	@touch $@

$(READY_VLLM):
	@test -x $(BIN_VLLM)/python || $(PYTHON) -m venv .venv-vllm
	@rm -f .venv-vllm/.installed-*
	$(BIN_VLLM)/python -m pip install --quiet "$$(grep '^torch==' requirements-vllm.txt)"
	$(BIN_VLLM)/python -m pip install --quiet -e '.[all]' -r requirements-vllm.txt
	@touch $@

demo: $(READY)
	@$(BIN)/python examples/quickstart.py

test: $(READY)
	$(BIN)/python -m pytest --ignore=tests/vllm --cov --cov-report=term-missing --cov-fail-under=100

test-vllm: $(READY_VLLM)
	$(BIN_VLLM)/python -m pytest tests/vllm

test-all: test test-vllm

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-vllm build dist .coverage .hypothesis .mypy_cache .pytest_cache \
		.ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
