# Everything one does here. `make help` explains; each goal sets up what it needs by itself.
#
# A virtual environment is made in .venv and stamped, so the second time is quick. Nothing outside
# the tree is touched. PYTHON may name an interpreter: make test PYTHON=/opt/python3.13/bin/python3

VENV := .venv
PY := $(VENV)/bin/python
# The first of these that is 3.11 or newer.
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in $(CANDIDATES); do \
	$$each -c '$(NEW_ENOUGH)' >/dev/null 2>&1 && { echo $$each; break; }; done)
PIP := $(PY) -m pip --disable-pip-version-check --quiet
CODE := paxos transports statemachines jepsen_like tests $(wildcard benchmarks examples)
# Two workers per `make test`: measured best on 2 cores; `make test WORKERS=8` on a larger machine.
WORKERS ?= 2
SEEDS ?= 0:300

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help:  ## Show this.
	@echo 'make <goal>; each goal installs what it needs into $(VENV) first.'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'A first visit:   make demo    three replicas, a killed leader, nothing lost (under a minute)'
	@echo 'Before a commit: make fix check test'
	@echo 'One test:        $(VENV)/bin/python -m pytest tests/core -k promise'

.PHONY: demo
demo: $(VENV)/.runtime  ## Start three replicas, kill the leader under load, show that nothing is lost.
	$(VENV)/bin/paxos demo

.PHONY: test
test: $(VENV)/.dev  ## Run every test but the nightly ones; paxos/core and the codec need all branches.
	$(PY) -m pytest -n $(WORKERS) --cov --cov-report=term

.PHONY: nightly
nightly: $(VENV)/.dev  ## Run the tests that take long, with many more random examples.
	HYPOTHESIS_PROFILE=nightly $(PY) -m pytest -n $(WORKERS) -m 'nightly or not nightly'

.PHONY: check
check: $(VENV)/.dev  ## Format, lint, types, import contracts; changes no file.
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/mypy --strict $(CODE)
	$(PY) -m pytest -q tests/architecture

.PHONY: fix
fix: $(VENV)/.dev  ## Format, and mend what lint can mend by itself.
	$(VENV)/bin/ruff format $(CODE)
	$(VENV)/bin/ruff check --fix $(CODE)

.PHONY: simulate
simulate: $(VENV)/.runtime  ## Look for a broken invariant in simulated clusters: make simulate SEEDS=0:2000
	$(PY) -m jepsen_like simulate --seeds $(SEEDS)

.PHONY: bench
bench: $(VENV)/.dev  ## Fill docs/performance.md: growth, and then etcd, ZooKeeper and PySyncObj beside us, about 90 minutes at most; on a quiet machine.
	rm -f benchmarks/results/growth.json  # should it fail, the page says so and shows no old figures
	-$(PY) -m benchmarks.growth --json benchmarks/results/growth.json
	$(PY) -m benchmarks.peers --page

.PHONY: wheel
wheel: $(VENV)/.dev  ## Build the wheel into dist/.
	$(PIP) wheel --no-deps --wheel-dir dist .

.PHONY: clean
clean:  ## Remove everything made here, the virtual environment too.
	rm -rf $(VENV) dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up -----------------------------------------------------------------------------------

$(VENV)/.made:
	@test -n '$(PYTHON)' || { \
		echo 'make: no Python 3.11 or newer found (tried: $(CANDIDATES)).' >&2; \
		echo '      Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { \
		echo 'make: PYTHON=$(PYTHON) is not Python 3.11 or newer.' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'make: $(PYTHON) lacks venv; on Debian: apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.made pyproject.toml
	$(PIP) install --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install --editable '.[test,dev]'
	@touch $@
