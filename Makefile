# The front door. `make drill` and `make test` need Python 3.11+ and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# A Python named on the command line is meant: a .venv of another one gives way.
WHICH := import sys; print(sys.base_prefix, sys.version)
ifneq ($(origin PYTHON),file)
ifneq ($(shell $(BIN)/python -c '$(WHICH)' 2>/dev/null),$(shell $(PYTHON) -c '$(WHICH)' 2>/dev/null))
STALE := $(shell rm -f $(READY) $(VENV)/.ready-dev)--clear
endif
endif

# Where it is set, every pytest that a test starts would rewrite all plugins' asserts anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: drill test fuzz soak lint matrix bench clean
.DELETE_ON_ERROR:

# Drills on real input; ends with the DR section, build/drill.html and build/drill.json.
drill: $(READY)
	$(BIN)/python -m pytest example_drills --dr-tier=critical \
		--html=build/drill.html --self-contained-html --dr-report=build/drill.json $(ARGS)

# The whole test suite, without what takes minutes; a process for each core (ARGS=-n0: one in all).
test: $(READY)
	$(BIN)/python -m pytest -n auto $(ARGS)

# The property tests over new examples, twenty times as many.
fuzz: $(READY)
	$(BIN)/python -m pytest -n auto -m 'hypothesis and not soak' --hypothesis-profile=fuzz $(ARGS)

# What takes minutes, with what each step took: large trees against rsync, a million files. Needs
# rsync, and in the folder of temporary files twice the room of /usr/lib, 12 GiB at least.
soak: $(READY)
	$(BIN)/python -m pytest -m soak -rP --durations=0 $(ARGS)

# Style, types, and the direction of the rooms' imports.
lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The built wheel under each supported Python, and under the lowest dependencies; without the tests
# that show the same under each.
matrix: $(VENV)/.ready-dev
	$(BIN)/tox run $(ARGS)

# Speed against peers measured in the same run.
bench: $(READY)
	$(BIN)/python tests/benchmarks/plugin_cost.py
	$(BIN)/python tests/benchmarks/failover_cost.py
	$(BIN)/python tests/benchmarks/haproxy_cost.py
	$(BIN)/python tests/benchmarks/simulated_cost.py
	$(BIN)/python tests/benchmarks/canary_cost.py
	$(BIN)/python tests/benchmarks/proxy_cost.py

$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) is not on this machine; name a Python 3.11 or newer: make $(MAKECMDGOALS)" \
			"PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "pytest-drdrill needs Python 3.11 or newer; $$($(PYTHON) --version 2>&1) was found." \
			"Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(STALE) $(VENV) || { \
		echo "$(PYTHON) can't make a virtual environment; on Debian and Ubuntu, install python3-venv" >&2; \
		exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.ready-dev: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf build dist $(VENV) .tox .pytest_cache .mypy_cache .ruff_cache .hypothesis
