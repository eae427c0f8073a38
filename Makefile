# `make demo` and `make test` do all set-up on a fresh machine: Python >= 3.11, git, make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-long bench check format clean

demo: $(VENV)/.demo
	rm -rf runs/demo runs/demo-networks
	$(BIN)/lesionforge phantoms runs/phantoms --count 5 --seed 1
	$(BIN)/lesionforge generate configs/generate/demo.yaml
	$(BIN)/lesionforge generate configs/generate/phantom-networks.yaml output=runs/demo-networks cases.variants_per_case=4
	$(BIN)/lesionforge compare runs/demo runs/demo-networks --cases runs/phantoms --picture runs/demo/side_by_side.png

# Two at a time, those with a Ray cluster by file; but for those that watch the clock.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not cluster and not alone and not long" -n 2
	$(BIN)/python -m pytest -m "cluster and not alone and not long" -n 2 --dist loadfile tests/jobs
	$(BIN)/python -m pytest -m "alone and not long" tests/jobs

# The same claims, at their full size, and properties on examples that are new every time.
test-long: $(VENV)/.dev
	LESIONFORGE_KILLS=10 LESIONFORGE_NETWORK_CASES=6 $(BIN)/python -m pytest -m long
	$(BIN)/python -m pytest --hypothesis-profile=explore -m "not cluster and not alone and not long" tests/engine

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.preparation
	$(BIN)/python -m benchmarks.orchestration

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# An older pip takes minutes to resolve what is pinned anyway.
$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=25"

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[networks]"
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	touch $@ $(VENV)/.demo
