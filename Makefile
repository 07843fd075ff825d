# `make` lists the targets. All of them set up what they need, in .venv of this folder, and nothing outside of it.
# Every path is relative, so the folder may have blanks and quotes in its name.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3.11 python3# tried in this order; make setup PYTHON=/path/to/python for another one
PY := .venv/bin/python
TYPING := .typing/segsweep/orchestrator .typing/segsweep/trainables

.PHONY: help setup demo test test-slow drills lint bench wheel

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: .venv/.set-up $(TYPING) ## install everything into .venv (done once, again when pyproject or constraints change)

demo: setup ## sweep four models over two drawn datasets and print the leaderboard
	.venv/bin/segsweep launch search_spaces/demo.yaml

test: lint ## ruff, mypy and every test that is not slow; a process for each CPU, up to 4
	$(PY) -m pytest -m 'not slow' -n auto --maxprocesses 4 --dist loadfile

test-slow: setup ## the tests that take minutes
	$(PY) -m pytest -m slow

drills: setup ## every fault on real processes: killed drivers and workers, an MLflow that fails
	$(PY) -m pytest -m drill

lint: setup ## ruff (rules and format) and mypy --strict
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .typing

bench: setup ## measure what is promised about speed; fails where a bar is missed
	@missed=; for script in $$(grep -l -- --check benchmarks/*.py); do \
	    echo "== $$script"; $(PY) "$$script" --check || missed="$$missed $$script"; \
	done; [ -z "$$missed" ] || { echo "missed:$$missed" >&2; exit 1; }

wheel: setup ## dist/segsweep-*.whl, which cluster.yaml installs on every node
	@rm -rf dist build # setuptools would pack the modules that an older build left in build/
	$(PY) -m uv build --wheel

# uv is there once the environment is whole enough to go on, so it is the mark of that.
.venv/bin/uv: | constraints.txt
	@for python in $(PYTHON); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	[ -n "$$python" ] || { echo 'No Python 3.11 or newer among: $(PYTHON). Install one (Debian: apt install' \
	    'python3.11 python3.11-venv) or name it: make setup PYTHON=/path/to/python' >&2; exit 2; }; \
	"$$python" -m venv --clear .venv && $(PY) -m pip install --quiet uv -c constraints.txt

# Bytecode is compiled here: under PYTHONDONTWRITEBYTECODE, Python would compile torch anew at every start.
.venv/.set-up: pyproject.toml constraints.txt | .venv/bin/uv
	UV_COMPILE_BYTECODE=1 $(PY) -m uv pip install --python $(PY) -e '.[dev]' -c constraints.txt
	@touch $@

# mypy finds the flat folders under their real name, segsweep, through these links.
$(TYPING):
	@mkdir -p $(@D) && ln -sfn ../../$(@F) $@
