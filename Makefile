# make setup               the virtual environment .venv, with what the tests need
# make demo [VIDEO=path]   tracks a generated clip, or your video, into outputs/
# make quick               the fast tests
# make test                all tests
# make extras              the tests that need extra packages, which it installs into .venv
# make lint                ruff
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test quick extras lint setup

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/python scripts/demo.py $(if $(VIDEO),--video "$(VIDEO)")

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not extras"

quick: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not extras"

extras: setup
	$(BIN)/python -m pip install --quiet --editable ".[dev,extras]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m extras

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
