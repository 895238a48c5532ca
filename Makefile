# make demo    real images to a served classifier, in a few minutes
# make test    the whole test suite, with lint and types
# make check   the fast subset, under two minutes
# make lock    renew requirements/requirements.lock after a change of setup.py

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCK := requirements/requirements.lock
DEMO_DIR ?= demo

export TF_CPP_MIN_LOG_LEVEL ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check lint types lock clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/python examples/digits.py --output_dir=$(DEMO_DIR)

test: lint types
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# Exact versions and hashes: no dependency is resolved at installation. setuptools comes from the lock as well.
$(INSTALLED): $(LOCK) setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lock:
	uv pip compile requirements/lock.in --override requirements/overrides.txt --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --no-emit-package tpu-images --quiet -o $(LOCK)

clean:
	rm -rf $(VENV) $(DEMO_DIR) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
