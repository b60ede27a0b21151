# Everything a newcomer needs: `make demo` and `make test`. `make` alone explains the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

DEMO_DATA := dataset/Synthetic
DEMO_RUN := output/demo
DEMO_RECIPE := train/recipes/synthetic_tiny.cfg
DEMO_EPOCHS := $(shell sed -n 's/^--epochs=//p' $(DEMO_RECIPE))
BENCHMARKS := reader crops build memory scale model network replicas oks_nms evaluation
PEOPLE := ../shared/dataset/COCO

.PHONY: help setup demo test bench overfit lint clean

help:
	@echo "make setup   create $(VENV), install what is needed, build the native extension"
	@echo "make demo    the whole path on drawn people: records, training, evaluation, a report (10 min at most)"
	@echo "make test    the test suite (about 15 min)"
	@echo "make bench   the benchmarks: ratios against bare loops, NumPy, pycocotools … (15 min at most)"
	@echo "make overfit 86 real people of $(PEOPLE) learnt by heart (about 4 min)"
	@echo "make lint    ruff: lint and format check"
	@echo "make clean   remove $(VENV), build files, the demo's data and its results"
	@echo
	@echo "Variables: PYTHON=$(PYTHON) (3.11 or newer); PEER=DIR, for bench: the official code, see BENCHMARKS.md"

setup: $(READY)

$(READY): requirements.txt requirements-dev.txt requirements-worker.txt constraints.txt pyproject.toml setup.py nms/_kernels.pyx
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is missing or older \
than Python 3.11; say which to use, for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check \
		-r requirements.txt -r requirements-dev.txt -c constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	$(BIN)/python pipelines/build_records.py --dataset synthetic --dataset_dir $(DEMO_DATA) \
		--input_size 128x192 --max_crop_scale 1.25 --workers 2
	$(BIN)/python train/main.py --flagfile $(DEMO_RECIPE) --dataset_dir $(DEMO_DATA) \
		--output_dir $(DEMO_RUN) --continue
	$(BIN)/python evaluate/main.py --dataset_dir $(DEMO_DATA) --output_dir $(DEMO_RUN) --epoch=$(DEMO_EPOCHS)

test: $(READY)
	$(BIN)/python -m pytest

bench: $(READY)
	@for benchmark in $(BENCHMARKS); do case $$benchmark in reader|network) peer="$(PEER:%=--peer %)";; *) peer=;; esac; \
		$(BIN)/python benchmarks/$$benchmark.py $$peer || exit 1; done

overfit: $(READY)
	@$(BIN)/python benchmarks/overfit.py --dataset_dir $(PEOPLE)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build dist *.egg-info nms/_kernels.c nms/*.so $(DEMO_DATA) $(DEMO_RUN)
	rm -rf .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
