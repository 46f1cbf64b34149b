# The verbs of this repository; `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# A stamp is older than what it depends on when the set-up is stale.
DEV := $(VENV)/.hrat-dev
LIGHT := $(VENV)/.hrat-light
DOCS := $(VENV)/.hrat-docs

# pip reads its own settings (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL, pip.conf ...), which say where the wheels are.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

# The circuit simulator of the tests; HRAT_NGSPICE names another one that is there already.
export HRAT_NGSPICE ?= $(CURDIR)/.ngspice/bin/ngspice

# Two workers with one thread each: more threads than cores make PyTorch's small operations slower.
PYTEST := OMP_NUM_THREADS=1 MPLBACKEND=Agg HRAT_REQUIRE_NGSPICE=1 HRAT_REQUIRE_MODELS=1 \
    $(BIN)/python -m pytest -n auto --maxprocesses 2 --dist worksteal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help setup ngspice browser laws test test-full check format demo bench docs clean

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(DEV)  ## create or refresh .venv with all that development needs
	@echo "$(VENV) is up to date"

ngspice: $(HRAT_NGSPICE)  ## put ngspice 44 into .ngspice (Linux); needed by tests and by solver="spice"
	@$(HRAT_NGSPICE) --version

browser:  ## install Chromium, for the tests of the report's page (Debian and Ubuntu, as root)
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then chromium --version; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing chromium ..."; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null; \
	else echo "no chromium and chromedriver in PATH: the tests that need a browser are skipped"; fi

laws: $(DEV) $(HRAT_NGSPICE)  ## the six laws, on networks that stand for the others (a minute)
	@HYPOTHESIS_PROFILE=fast $(PYTEST) tests/laws -m "not slow and not needs_data and not wide"

test: $(DEV) $(HRAT_NGSPICE) browser check  ## check, then the tests that take seconds (as .ci/run does)
	@$(PYTEST)

test-full: $(DEV) $(HRAT_NGSPICE) browser check  ## check, then every test, the slow ones and those on full data sets too
	@$(PYTEST) -m ""

check: $(DEV)  ## lint, formatting, types, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

format: $(DEV)  ## mend formatting and what lint can mend by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: $(LIGHT)  ## train, deploy, program and simulate a small network
	@$(BIN)/hrat demo

bench: $(DEV)  ## measure speed against plain PyTorch and other tools, into docs/benchmarks (half an hour)
	@$(BIN)/python benchmarks/run.py

docs: $(DOCS)  ## build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:  ## remove .venv, caches and build output
	rm -rf $(VENV) .bench .ngspice build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set-up ----------------------------------------------------------------------------------------------------------

$(DEV): pyproject.toml constraints.txt
	$(venv)
	@echo "installing hrat[dev] into $(VENV) ..."
	@$(INSTALL) -e ".[dev]"
	@# Another solver for the tests to compare with; without pycairo, which its drawings need and which has no wheels.
	@$(INSTALL) --no-deps badcrossbar pathvalidate sigfig
	@touch $(LIGHT) $@

$(LIGHT): pyproject.toml constraints.txt
	$(venv)
	@echo "installing hrat[data] into $(VENV) ..."
	@$(INSTALL) -e ".[data]"
	@touch $@

$(DOCS): pyproject.toml constraints.txt
	$(venv)
	@echo "installing hrat[docs] into $(VENV) ..."
	@$(INSTALL) -e ".[docs]"
	@touch $@

$(HRAT_NGSPICE):
	$(PYTHON) scripts/get_ngspice.py .ngspice

# A .venv that is there is kept and brought up to date; one whose interpreter is gone or too old is made anew.
define venv
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "hrat needs Python 3.11 to 3.13, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)" >&2; \
	    echo "name another one: make PYTHON=python3.12 ..." >&2; \
	    exit 1; }
	@$(BIN)/python -c 'import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
	    echo "creating $(VENV) with $$($(PYTHON) --version)"; \
	    $(PYTHON) -m venv --clear $(VENV); }
endef
