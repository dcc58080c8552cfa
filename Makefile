# make setup               the virtual environment .venv, with what the tests need
# make demo [VIDEO=path]   tracks a generated clip, or your video, into outputs/
# make quick               the fast tests
# make test                all tests
# make extras              the tests that need extra packages, which it installs into .venv
# make lowest              the fast tests with the lowest versions of all packages, on Python 3.10
# make lint                ruff
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CLIENTS := $(VENV)/clients

LOWEST_PYTHON ?= python3.10
LOWEST := .venv-lowest

.PHONY: demo test quick extras lowest lint setup

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
	test -d $(CLIENTS) || \
	    $(BIN)/python -m pip install --quiet --no-deps --target $(CLIENTS) autosegmentor==3.0.1
	@command -v chromium >/dev/null || echo "no chromium: the page is not tested (apt-get install chromium)"
	QT_QPA_PLATFORM=offscreen OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -m extras

lowest:
	@if ! $(LOWEST_PYTHON) -c "" 2>/dev/null; then \
	    echo "skipped: no $(LOWEST_PYTHON) here, pass LOWEST_PYTHON=PATH"; exit 0; fi; \
	$(LOWEST_PYTHON) -m venv $(LOWEST) && \
	$(LOWEST)/bin/python -m pip install --quiet uv && \
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python \
	    --resolution lowest-direct --editable ".[dev]" && \
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile \
	    -m "not slow and not extras"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
