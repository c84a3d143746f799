# Two commands do everything on a fresh machine: `make demo` and `make test`. On one with a GPU: `make gpu`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Installed only where no torch is there yet; any version that pyproject.toml admits serves.
TORCH ?= torch==2.13.0
DEMO := runs/demo
# Of `make gpu`: where results go, and a folder of wheels to use where there is no network.
OUT ?= results
WHEELS ?=
SITE := build/site

.PHONY: demo test gpu lint clean

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

demo: $(VENV)/installed
	$(BIN)/lsm-generate benchmark=darcy preset=quick
	$(BIN)/lsm-train benchmark=darcy preset=quick run_dir=$(DEMO) resume=auto
	$(BIN)/lsm-evaluate checkpoint=$(DEMO)
	$(BIN)/lsm-visualize checkpoint=$(DEMO)
	@echo
	@echo "figures:    $(DEMO)/figures/"
	@echo "table:      $(DEMO)/evaluation/test/samples.csv, metrics.json"
	@echo "checkpoint: $(DEMO)/checkpoints/best.ckpt"

test: $(VENV)/installed
	$(BIN)/pytest --quiet $(PYTEST_ARGS)
	$(BIN)/python tests/kernels.py

# Uses the virtual environment where it is there, else the packages of PYTHON, torch for CUDA among them, and those in WHEELS;
# ends with 75 while there is more to do.
gpu: GPU_PYTHON = $(if $(wildcard $(VENV)/installed),$(BIN)/python,$(PYTHON))
gpu: export PYTHONPATH = $(CURDIR):$(CURDIR)/$(SITE)
gpu:
	test -z "$(WHEELS)" -o -d $(SITE) || \
		$(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --target $(SITE) $(WHEELS)/*.whl
	@$(GPU_PYTHON) -c "import hydra" 2>/dev/null || \
		{ echo "error: $(GPU_PYTHON) has no hydra-core; give WHEELS=FOLDER, or install first with make test"; exit 1; }
	$(GPU_PYTHON) -m experiments.playbook out=$(OUT) $(GPU_ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(SITE) runs/demo
