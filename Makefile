# `make demo`, `make test` and `make ui` need Python 3.11.4 or newer and make, nothing else.
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check
INSTALLED := .venv/installed
DEVELOPING := .venv/developing

.PHONY: demo ui test test-quick long check bench clean

demo: $(INSTALLED)
	@echo "Training, evaluating and reporting on generated images, as an MLflow run: some minutes on a processor."
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/mlflow run . --env-manager local

ui: $(INSTALLED)
	$(BIN)/mlflow server --host 127.0.0.1 --port $(PORT) --workers 1

# One thread a process: two spinning threads each on a busy machine are many times slower.
test: $(DEVELOPING)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

test-quick: $(DEVELOPING)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m "not slow"

# Kills, signals, a bad connection and full disks, five to ten times as many as in `make test`, and two machines (which
# are network namespaces, and need root): over an hour.
long: $(DEVELOPING)
	SSLMLFLOW_LONG=true OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --timeout 14400 tests/faults tests/machines

check: $(DEVELOPING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEVELOPING)
	$(BIN)/python -m benchmarks.loop
	$(BIN)/python -m benchmarks.views
	$(BIN)/python -m benchmarks.tracking
	$(BIN)/python -m benchmarks.outage
	$(BIN)/python -m benchmarks.umm_step
	$(BIN)/python -m benchmarks.metrics_cost
	$(BIN)/python -m benchmarks.protocol
	$(BIN)/python -m benchmarks.precision
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.report_scale
	$(BIN)/python -m benchmarks.waiting
	$(BIN)/python -m benchmarks.separation

MLproject: sslmlflow/config/*.py $(INSTALLED)
	$(BIN)/python -m sslmlflow.config.mlproject > $@

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into .venv, once: 3 to 4 GB to download on Linux (PyTorch brings CUDA), 0.5 GB on macOS."
	$(PYTHON) -m venv .venv
	$(PIP) install --constraint constraints.txt -e .
	touch $@

# What develops it: tests, checks, and lightly, which brings a training framework, to compare the losses with.
$(DEVELOPING): $(INSTALLED)
	$(PIP) install --constraint constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
