# Two commands do everything on a fresh machine: make quickstart, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: quickstart test test-all test-tensorflow test-oldest test-newest lint bench docs clean

quickstart: $(READY)
	$(BIN)/crossgraft quickstart

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

test-all: $(READY) lint
	$(BIN)/pytest

# TensorFlow wants an older h5py than the one that is tested with the rest, so it has an environment of its own.
test-tensorflow: .venv-tensorflow/.ready
	OMP_NUM_THREADS=1 .venv-tensorflow/bin/python -m pytest tests/test_keras.py tests/test_keras_hub.py tests/test_keras_export.py tests/test_handing_on.py

.venv-tensorflow/.ready: pyproject.toml constraints.txt
	test -x .venv-tensorflow/bin/python || $(PYTHON) -m venv .venv-tensorflow
	grep -v '^h5py' constraints.txt > .venv-tensorflow/constraints.txt
	.venv-tensorflow/bin/python -m pip install --constraint .venv-tensorflow/constraints.txt --editable '.[tensorflow]' jax keras-hub beartype pytest
	touch $@

# The lowest versions that pyproject.toml allows, and the newest there are; ONLY="tests/test_x.py ..." runs a part.
test-oldest: .venv-oldest/.ready
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -m "not slow" $(ONLY)

test-newest:
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --upgrade --upgrade-strategy eager --editable '.[dev]'
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -m "not slow" $(ONLY)

.venv-oldest/.ready: pyproject.toml
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python tests/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --constraint .venv-oldest/constraints.txt --editable '.[dev]'
	touch $@

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(READY)
	for script in benchmarks/[a-z]*.py; do $(BIN)/python $$script || exit 1; done

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-tensorflow .venv-oldest .venv-newest .pytest_cache .mypy_cache .ruff_cache build dist src/*.egg-info
