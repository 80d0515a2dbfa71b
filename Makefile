# make demo | test | test-long | test-plugins | docs | bench | gpu | lint | clean. The first use of any creates
# .venv.
PYTHON ?= python3
BIN := .venv/bin
CORES ?= 2
export PATH := $(CURDIR)/$(BIN):$(PATH)
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test test-long test-plugins docs bench gpu lint lint-workflow format clean

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hawk needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/ready ## the whole workflow on the embedded model
	$(BIN)/python -m hawk demo --cores $(CORES)

test: .venv/ready ## what CI runs
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(CORES) --dist loadfile

test-long: .venv/ready ## everything, up to 80 minutes and 2 demos more; one test installs snakedeploy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(CORES) --dist loadfile -m "not gpu and not slurm and not plugins"
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slurm -rs

# Harnesses have bounds of their own: other environments.
PLUGINS := build/plugins-venv
$(PLUGINS)/ready: pyproject.toml
	$(PYTHON) -m venv $(PLUGINS)
	$(PLUGINS)/bin/pip install --quiet --disable-pip-version-check --editable '.[lmms-eval]' pytest
	touch $@

KIT := build/vlmeval-venv
$(KIT)/ready: pyproject.toml
	$(PYTHON) -m venv $(KIT)
	$(KIT)/bin/pip install --quiet --disable-pip-version-check --editable . ms-vlmeval==0.0.20 pytest
	touch $@

test-plugins: $(PLUGINS)/ready $(KIT)/ready ## the real lmms-eval and VLMEvalKit on the embedded models
	env -u PYTHONPATH $(PLUGINS)/bin/python -m pytest -m plugins tests/integrations/test_lmms_eval.py
	env -u PYTHONPATH $(KIT)/bin/python -m pytest -m plugins tests/integrations/test_vlmevalkit.py

docs: .venv/ready ## the documentation as a site that opens without a network: build/site/index.html
	$(BIN)/python docs/generate_outputs.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/ready ## speed, as ratios from one run, into docs/performance.md; on a machine that does nothing else
	$(BIN)/python tests/perf/bench.py

gpu: ## every figure that needs a GPU, under 10 minutes; .venv if there is one, else the machine's python
	$(PYTHON) tests/perf/gpu.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/lint-imports

# Where nothing but snakemake is installed, as on the machines of its workflow catalog.
LINT := build/lint-venv
$(LINT)/ready: constraints.txt
	$(PYTHON) -m venv $(LINT)
	$(LINT)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt snakemake
	touch $@

lint-workflow: $(LINT)/ready ## silent, or it fails
	env -u PYTHONPATH $(LINT)/bin/snakemake --lint

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

clean: ## outputs of the demo and caches; .venv stays
	rm -rf outputs/tiny .snakemake .pytest_cache .ruff_cache .mypy_cache build dist
