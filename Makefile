# Needs make and Python 3.11, 3.12 or 3.13; everything else lands in .venv.
#
#   make demo    blend, train, prove, ask: the whole path on the embedded family
#   make test    the test suite
#   make check   ruff, mypy, deptry and the shape of the house
#   make lint    the same without the shape, which is part of the suite
#   make bench   this trainer and its peers side by side
#   make ember   train the embedded family again, from nothing
#   make lock    resolve the dependencies again
#
# PYTHON picks the interpreter. TORCH picks the torch build: by version, because which build is right depends on the
# machine; `make demo TORCH="torch==2.13.0 --index-url ADDRESS"` takes one from another index.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test check lint bench ember venv dev lock wheel clean

TORCH ?= torch==2.13.0
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.13,$(shell $(p) -c '$(FITS)' 2>/dev/null && echo $(p))))

VENV := .venv
PEER := .venv-peer
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
COMPILE := $(BIN)/python -m compileall -q -j 0
RUN := demo-$(shell date +%Y%m%d-%H%M%S)
QUESTION := Write a tapline program: Load the orders, then show the first 3.
EMBER := pretrained midtrained-warm midtrained posttrained

demo: venv
	$(BIN)/bloomery explain demo
	$(BIN)/bloomery run demo name=$(RUN)
	$(BIN)/bloomery ask runs/$(RUN) "$(QUESTION)"

test: dev
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

check: lint
	$(BIN)/python -m pytest -q tests/shape

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry src

bench: dev $(PEER)/.ready
	$(BIN)/python bench/train.py --peer $(PEER)/bin/python
	$(BIN)/python bench/data.py --peer $(PEER)/bin/python
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/ember.py
	PYTHONPATH=tests/support:tests/faults $(BIN)/python bench/faults.py
	PYTHONPATH=tests/support $(BIN)/python bench/graders.py

ember: venv
	for stage in $(EMBER); do \
	  test -d runs/ember-$$stage && $(BIN)/bloomery resume ember-$$stage || $(BIN)/bloomery run families/ember/recipes/$$stage.yaml; \
	  rm -rf families/ember/$$stage; $(BIN)/bloomery export ember-$$stage families/ember/$$stage; \
	done

venv: $(VENV)/.ready
dev: $(VENV)/.ready-dev

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The lock first, so that torch finds what it needs already there, with hashes. Byte code is compiled in any case:
# with PYTHONDONTWRITEBYTECODE set, as in many images, importing torch would otherwise take twice as long each time. On
# all cores, which pip does on one.
$(VENV)/.ready: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) --no-deps --require-hashes -r requirements.lock
	$(PIP) $(TORCH)
	$(PIP) --no-deps --no-build-isolation --no-index --editable .
	$(COMPILE) $(VENV)/lib src >/dev/null || true
	touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	$(PIP) --no-deps --require-hashes -r requirements-dev.lock
	$(COMPILE) $(VENV)/lib >/dev/null || true
	touch $@

# The peers' dependencies stay out of ours.
$(PEER)/.ready: | $(BIN)/python
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check trl==1.16.0
	touch $@

# Releases younger than a week are left alone: hijacked ones are usually found within days.
lock: | $(BIN)/python
	$(PIP) uv
	$(BIN)/uv pip compile pyproject.toml --group build --exclude-newer "7 days" -o requirements.lock
	$(BIN)/uv pip compile --group pyproject.toml:dev --exclude-newer "7 days" -c requirements.lock -o requirements-dev.lock

wheel: venv
	$(BIN)/python -m hatchling build

clean:
	rm -rf $(VENV) $(PEER) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
