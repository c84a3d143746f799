# Two commands do everything on a fresh machine: `make demo` and `make test`. On one with a GPU: `make gpu`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Installed only where no torch is there yet; any version that pyproject.toml admits serves.
TORCH ?= torch==2.13.0
DEMO := runs/demo
# Of `make gpu`: where results go, a folder of wheels to use where there is no network, and options of lsm-table.
OUT ?= results
WHEELS ?=
DEVICE ?= cuda
TABLE ?= paper
GPU_ARGS ?=
SITE := build/site
GPU_PYTHON = PYTHONPATH=$(CURDIR):$(CURDIR)/$(SITE) $(if $(wildcard $(VENV)/installed),$(BIN)/python,$(PYTHON))

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
	$(BIN)/pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
	$(BIN)/python tests/kernels.py

# Tests on the GPU, a profile and a table. What is done is not done again: after an interruption the same call continues, and
# the table ends with 75 as long as something is left. Without the virtual environment PYTHON is used, with the wheels of WHEELS.
gpu: $(OUT)/tests.xml $(OUT)/profile/comparison.json
	$(GPU_PYTHON) -m experiments.table table=$(TABLE) device=$(DEVICE) run_dir=$(OUT)/$(TABLE) generate=true $(GPU_ARGS)

$(OUT)/tests.xml: | $(SITE)/.packages
	LSM_TEST_DEVICE=$(DEVICE) $(GPU_PYTHON) -m pytest -m gpu --quiet -p no:cacheprovider --junitxml=$@.partial
	mv $@.partial $@

$(OUT)/profile/comparison.json: | $(SITE)/.packages
	$(GPU_PYTHON) -m experiments.profile benchmark=navier_stokes compare=[lsm,unet,fno] device=$(DEVICE) run_dir=$(@D)

$(SITE)/.packages:
	@mkdir -p $(OUT) $(SITE)
	test -z "$(WHEELS)" || $(GPU_PYTHON) -m pip install --quiet --no-index --no-deps --target $(SITE) $(WHEELS)/*.whl
	@$(GPU_PYTHON) -c "import hydra" 2>/dev/null || \
		{ echo "error: $(GPU_PYTHON) has no hydra-core; give WHEELS=FOLDER, or install first with make test"; exit 1; }
	@touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(SITE) $(DEMO)
