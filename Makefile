# Two commands matter: `make demo` and `make test`. Each sets itself up from nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint slow clean

# The study of salt water, end to end, then one potential for all scales of the same solution, and
# what each scale is worth; results below runs/demo.
DEMO := runs/demo
LADDER := --ladder 3,5,long --minutes 2.5 processes=2 data.group_key=replica data.test=0.4
demo: $(STAMP)
	$(BIN)/scalewise study --out $(DEMO)
	cat $(DEMO)/solution-*/replica-*.extxyz > $(DEMO)/frames.xyz
	$(BIN)/scalewise train $(DEMO)/frames.xyz $(LADDER) --out $(DEMO)/ladder
	$(BIN)/scalewise curve $(DEMO)/ladder $(DEMO)/frames.xyz points=4 --out $(DEMO)/curve

# Lint, types, the fast tests, and the README's commands on a small configuration.
test: lint
	$(BIN)/python -m pytest -q -n 2 --dist worksteal
	$(BIN)/python -m pytest -q -n 2 -m readme

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
