# Everything a newcomer needs: `make demo` and `make test`. `make` alone explains the rest.

PYTHON ?= python3
PYTHONS := 3.11 3.12 3.13
VENV := .venv
BIN := $(VENV)/bin
VERSION := -c 'import sys; print("%d.%d" % sys.version_info[:2])'
READY := $(VENV)/.ready

DEMO_DATA := dataset/Synthetic
DEMO_RUN := output/demo
DEMO_RECIPE := train/recipes/synthetic_tiny.cfg
DEMO_EPOCHS := $(shell sed -n 's/^--epochs=//p' $(DEMO_RECIPE))
BENCHMARKS := reader crops build memory scale model network replicas oks_nms evaluation
COCO := ../shared/dataset/COCO

.PHONY: help setup demo test test-fast coverage smoke bench overfit lint docs clean asked-for

help:
	@echo "make setup   create $(VENV), install what is needed, build the native extension"
	@echo "make demo    the whole path on synthetic people: records, training, evaluation, a report (10 min at most)"
	@echo "make test    the test suite (20 min on 2 cores)"
	@echo "make test-fast  those of its tests that take no more than a few seconds each (about 8 min)"
	@echo "make coverage  the same, and which lines and branches of ours it ran; nothing fails for a number"
	@echo "make smoke   what CI runs on every Python: the commands' help, a tiny build, training, evaluation (2 min)"
	@echo "make bench   the benchmarks: ratios against bare loops, NumPy, pycocotools … (15 min at most)"
	@echo "make overfit 86 real people of $(COCO) learned by heart (about 4 min)"
	@echo "make lint    ruff: lint and format check; mypy: types"
	@echo "make docs    the pages of docs/ and a reference out of the docstrings, as HTML in build/docs (half a minute)"
	@echo "make clean   remove $(VENV), build files, the demo's data and its results"
	@echo
	@echo "Variables: PYTHON=$(PYTHON), one of Python $(PYTHONS); VENV=$(VENV), where its packages go: with more than one"
	@echo "           Python, one each (make test-fast PYTHON=python3.13 VENV=.venv-3.13);"
	@echo "           PEER=DIR, for bench: the official code, see BENCHMARKS.md"

setup: $(READY)

# What is there already is used, whatever "python3" is; but a Python that was asked for is never another one.
asked-for:
	@test "$(origin PYTHON)" = file || test ! -x $(BIN)/python || \
		test "$$($(BIN)/python $(VERSION))" = "$$($(PYTHON) $(VERSION) 2>/dev/null)" || { echo "$(VENV) is of Python \
$$($(BIN)/python $(VERSION)), not of $(PYTHON); add a folder of its own, for example VENV=.venv-other"; exit 1; }

$(READY): requirements.txt requirements-dev.txt requirements-worker.txt constraints.txt pyproject.toml setup.py \
		nms/_kernels.pyx | asked-for
	@echo " $(PYTHONS) " | grep -qF " $$($(PYTHON) $(VERSION) 2>/dev/null) " || { echo "$(PYTHON) is missing or none of \
Python $(PYTHONS); say which to use, for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check \
		-r requirements.txt -r requirements-dev.txt -c constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	$(BIN)/python pipelines/build_records.py --dataset synthetic --dataset_dir $(DEMO_DATA) \
		--input_size 128x192 --max_crop_scale 1.25 --workers 2
	$(BIN)/python train/main.py --flagfile $(DEMO_RECIPE) --dataset_dir $(DEMO_DATA) \
		--run_dir $(DEMO_RUN) --continue
	$(BIN)/python evaluate/main.py --dataset_dir $(DEMO_DATA) --run_dir $(DEMO_RUN) --epoch=$(DEMO_EPOCHS)

test: $(READY)
	$(BIN)/python -m pytest

test-fast: $(READY)
	$(BIN)/python -m pytest -m "not slow"

coverage: $(READY)
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term-missing:skip-covered

smoke: $(READY)
	$(BIN)/python -m pytest -m smoke

bench: $(READY)
	@for benchmark in $(BENCHMARKS); do case $$benchmark in reader|network) peer="$(PEER:%=--peer %)";; *) peer=;; esac; \
		$(BIN)/python benchmarks/$$benchmark.py $$peer || exit 1; done

overfit: $(READY)
	@$(BIN)/python benchmarks/overfit.py --dataset_dir $(COCO)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt -c constraints.txt
	$(BIN)/python docs/reference.py
	@echo "open build/docs/index.html"

clean:
	rm -rf $(VENV) .venv-* build dist *.egg-info nms/_kernels.c nms/*.so $(DEMO_DATA) $(DEMO_RUN)
	rm -rf .pytest_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
