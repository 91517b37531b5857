# make setup | test | lint | demo | clean. Everything lives in .venv; nothing outside is changed.
PYTHON ?= python3
# For a machine without an NVIDIA GPU, point pip at PyTorch's CPU builds (CONTRIBUTING.md).
TORCH := torch==2.13.0
PYTEST_FLAGS ?=
# A process for each core, up to four; the tests of a file stay together, with what they share.
PYTEST := -n auto --maxprocesses 4 --dist loadfile

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup test lint format fast demo clean

help: ## list what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(STAMP) ## make .venv with everything (once)

# torch first and pinned: left to the others, pip may take a build with gigabytes of CUDA. torchaudio
# must not come in: beside a CPU-only torch it fails to load and takes transformers' Whisper along.
$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "xlasr needs Python 3.10 or later; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt $(TORCH)
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torchaudio") and "torchaudio is in $(VENV) and breaks Whisper; remove $(VENV) and run make setup again")'
	@touch $@

lint: setup ## formatting, rules, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src

test: lint ## lint, types and all tests (the first time it fetches the test speech)
	$(BIN)/python -m pytest $(PYTEST) $(PYTEST_FLAGS)

fast: setup ## only the tests that need no fetched speech and take no time
	$(BIN)/python -m pytest $(PYTEST) -q -m "not real and not slow" $(PYTEST_FLAGS)

format: setup ## put the code into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: setup ## real Czech speech in, a measured recogniser and a report out
	$(BIN)/xlasr demo

clean: ## remove .venv and everything that can be made again (not the cache of fetched data)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
