# Every target sets up what it needs: uv in a private environment when absent, then .venv from requirements.lock.
.PHONY: setup demo pictures test quick torture bench bench-models bench-service check format lock clean
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= 2
# TORCH=cpu installs PyTorch's build without CUDA, from PyTorch's own package index.
TORCH ?= default
UV := $(shell command -v uv || echo .uv/bin/uv)
UV_VERSION := 0.13.9
BIN := .venv/bin

export DO_NOT_TRACK := 1
# Test workers share the cores: several OpenMP threads in each of them would wait for one another by spinning.
# Files go to workers in the order of tests/conftest.py, the longest first; by itself, xdist would begin with those of many tests.
test quick: export OMP_NUM_THREADS ?= 1

help:            ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/: *[^#]*## */\t/' | expand -t 16

setup: .venv/.ready  ## make .venv from requirements.lock; TORCH=cpu without CUDA

demo: .venv/.ready   ## the whole loop on real solar cells, in .demo/
	@$(BIN)/defectloop demo --workspace .demo

test: .venv/.ready   ## every test, the slow ones too
	@$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations 20 -m "slow or not slow"

quick: .venv/.ready  ## the fast tests only
	@$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

pictures: .venv/.ready  ## take the pictures of the docs from the demo's workspace; needs Chromium and a finished `make demo`
	@$(BIN)/python -m benchmarks.pictures --workspace .demo

MINUTES ?= 30

torture: .venv/.ready  ## kill commands at random for MINUTES=30 and compare how they end; SEED, ONLY and TRIAL repeat one
	@$(BIN)/python -m tests.torture --programs --seconds $$(($(MINUTES) * 60)) \
	    $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only "$(ONLY)") $(if $(TRIAL),--trial $(TRIAL))

# One module of benchmarks/ each; every one writes its section of docs/benchmarks-data.md.
BENCHMARKS := ingest snapshot gate

bench: .venv/.ready  ## ingest, audit, snapshots, near duplicates, into docs/benchmarks-data.md; some 30 minutes. DATASETS=FOLDER
	@for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name --write || exit 1; done
	@$(BIN)/python -m benchmarks.near_duplicates --write $(if $(DATASETS),--datasets $(DATASETS))

bench-models: .venv/.ready  ## what detectors reach and how fast they are, into docs/benchmarks.md; hours. DATASETS=FOLDER
	@$(BIN)/python -m benchmarks.speed --write
	@$(BIN)/python -m benchmarks.classification --write
	@$(BIN)/python -m benchmarks.defect_types --write --data $(DATASETS)/x_sdd/X-SDD/datas
	@$(BIN)/python -m benchmarks.segmentation --write --data $(DATASETS)/magnetic_tile
	@$(BIN)/python -m benchmarks.detection --write --data $(DATASETS)/neu_det
	@$(BIN)/python -m benchmarks.anomaly --write --data $(DATASETS)/mvtec_bottle_256

bench-service: .venv/.ready  ## the inspection service and the ledger, into docs/benchmarks.md; some 30 minutes, on an idle machine
	@$(BIN)/python -m benchmarks.service --write
	@$(BIN)/python -m benchmarks.endurance --write
	@$(BIN)/python -m benchmarks.ledger --write

check: .venv/.ready  ## format, lint, types, import contracts, docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/docs

format: .venv/.ready ## rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: .venv/.ready   ## resolve pyproject.toml anew into requirements.lock, and list the licences in docs/licences.md
	@$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet \
	    --extra demo --group dev --upgrade --output-file requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory setup
	@$(BIN)/python -m tests.docs.licences

clean:           ## remove the demo's workspace and the caches, keep .venv
	@rm -rf .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.uv/bin/uv:
	@echo "Setting up uv $(UV_VERSION) in .uv/ …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "defectloop needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

.venv/.ready: requirements.lock pyproject.toml | $(UV)
	@echo "Installing requirements.lock into .venv/ …"
	@test -x .venv/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv
ifeq ($(TORCH),cpu)
	@awk '/^[a-z]/ { gpu = /^(torch|torchvision|triton|cuda-[a-z]+|nvidia-[a-z0-9-]+)==/ } !gpu' requirements.lock > .venv/cpu.lock
	@$(UV) pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode .venv/cpu.lock
	@$(UV) pip install --quiet --python .venv/bin/python --torch-backend cpu --no-deps \
	    $$(grep -oE '^(torch|torchvision)==[0-9.]+' requirements.lock)
else
	@$(UV) pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode requirements.lock
endif
	@$(UV) pip install --quiet --python .venv/bin/python --no-deps --editable .
	@touch $@
