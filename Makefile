# `make` lists what there is. Each goal does its own set-up in a virtual environment inside the
# checkout, says what it does, and does nothing twice.

PYTHON ?= python3
# An interpreter asked for by name has an environment of its own beside the usual one.
VENV ?= .venv$(addprefix -,$(filter-out python3,$(notdir $(PYTHON))))
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --no-input

COCOI_SHARED ?= $(abspath ../shared)
COCOI_LAB ?= $(COCOI_SHARED)/lab
export COCOI_SHARED COCOI_LAB

DEMO = infer models/samples/stop.png --embedded 6 --k 4 --kill 1 --check

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fleet check format bench lock clean

help:
	@echo 'make demo    infer a picture on six local agents, one of which is killed halfway'
	@echo 'make test    all tests on this machine alone, the slow ones too'
	@echo 'make test-fleet  every command on a fleet of emulated devices; needs root, Linux and the scripts in COCOI_LAB'
	@echo 'make check   format, lint, types, rules on imports'
	@echo 'make format  put the sources into the form that check wants'
	@echo 'make bench   measure, print ratios, write bench/out/bench.json'
	@echo 'make venv    only the set-up: $(VENV) with locked versions, cocoi in it'
	@echo 'make lock    resolve requirements/*.in anew (LOCK=--upgrade for newer versions)'
	@echo 'make clean   remove everything that the other goals have made'
	@echo
	@echo 'PYTHON=python3.13 make test    with another interpreter, in an environment of its own'

demo: $(VENV)/.cocoi
	@echo '==> cocoi $(DEMO)'
	@$(BIN)/cocoi $(DEMO)

test: $(VENV)/.dev
	@if [ -f '$(COCOI_SHARED)/data/expected.json' ]; \
	then echo '==> testing with the development data in $(COCOI_SHARED)'; \
	else echo '==> testing without development data: $(COCOI_SHARED) has none (COCOI_SHARED names the folder)'; fi
	@$(BIN)/pytest -m 'not lab' $(PYTEST)

# Somebody asked for these by name: a machine where they cannot run is an error, not a skip.
test-fleet: $(VENV)/.dev
	@echo '==> looking for what emulated devices need; as root on Debian, installing it'
	@tests/fleet_lab/prepare
	@echo '==> testing on emulated devices: containers with systemd and sshd, gone afterwards; minutes'
	@COCOI_LAB_NEEDED=1 $(BIN)/pytest -m lab tests/fleet_lab $(PYTEST)
	@echo '==> testing the rig of the benchmark: processes behind shaped links and quotas, gone afterwards'
	@COCOI_LAB_NEEDED=1 $(BIN)/pytest -m lab tests/rig $(PYTEST)

check: $(VENV)/.dev
	@echo '==> format'
	@$(BIN)/ruff format --check .
	@echo '==> lint'
	@$(BIN)/ruff check .
	@echo '==> types'
	@$(BIN)/mypy
	@echo '==> imports'
	@$(BIN)/lint-imports

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev
	@echo '==> measuring; bench/out/bench.json will hold the figures'
	@$(BIN)/python bench/run.py --json bench/out/bench.json

lock: $(VENV)/.dev
	@echo '==> resolving'
	@tools/lock $(abspath $(BIN)/pip-compile) $(LOCK)

clean:
	@echo '==> removing environments, caches and what was built'
	@rm -rf .venv .venv-python* build dist bench/out .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv: $(VENV)/.dev

# Stamps, each newer than what it was made from.

$(VENV)/.made: tools/make-venv
	@echo '==> making the virtual environment $(VENV)'
	@tools/make-venv '$(PYTHON)' '$(VENV)'
	@touch $@

$(VENV)/.run: $(VENV)/.made requirements/run.txt requirements/build.txt
	@echo '==> installing what cocoi runs with (requirements/run.txt, build.txt)'
	@$(PIP) install --quiet --require-hashes -r requirements/run.txt -r requirements/build.txt
	@touch $@

$(VENV)/.cocoi: $(VENV)/.run pyproject.toml
	@echo '==> installing cocoi from this checkout'
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.cocoi requirements/dev.txt
	@echo '==> installing what checking and testing need (requirements/dev.txt)'
	@$(PIP) install --quiet --require-hashes -r requirements/dev.txt
	@touch $@
