# Two commands matter: `make demo` and `make test`. Each sets itself up from nothing.
#
# make demo   simulate salt water, study it, train for a ladder of scales; results below runs/demo
# make test   everything that must pass: lint, documentation, tests, the README's commands
# make fast   unit tests and physics, without what runs whole commands or compiles
# make lint   ruff and mypy
# make docs   the site, into build/docs; a warning is an error
# make slow   the slow tests
# make dist   wheel and sdist, checked and tried in an empty environment; into dist
# make clean  remove the environment, runs and what was built
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test fast lint docs slow dist clean

help:
	@sed -n 's/^# make/make/p' Makefile

# The study of salt water, end to end, then one training for a ladder of scales on the same frames,
# with its curve of error against cutoff, and the answer as a page; results below runs/demo. Budgets
# are in steps, so that a busy machine finds what an idle one does.
demo: $(STAMP)
	$(BIN)/scalewise study --out runs/demo
	cat runs/demo/solution-*/replica-*.extxyz > runs/demo/solution.extxyz
	$(BIN)/scalewise train runs/demo/solution.extxyz --ladder 3,5.5,long --out runs/demo/ladder \
		steps=1000 processes=2 data.group_key=replica data.test=0.4
	$(BIN)/scalewise curve runs/demo/ladder runs/demo/solution.extxyz --out runs/demo/curve \
		points=4 frames=30
	$(BIN)/scalewise report runs/demo/ladder runs/demo/curve --out runs/demo/answer.html --open

# Lint, types, documentation, tests, and the README's commands on a small configuration.
test: lint docs
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow and not gpu and not readme"
	$(BIN)/python -m pytest -q -n 2 -m readme

fast: $(STAMP)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m sphinx -q -b html -n -W --keep-going docs build/docs

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

dist: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dist]'
	$(BIN)/python tests/packaging/smoke.py

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) runs build dist
