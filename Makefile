# make demo   the whole way on real data: DFT output -> model -> leaderboard
# make test   the tests that need nothing but Python, a compiler and make
#
# Both make .venv when there is none. Works with GNU make 3.81; relative paths only.

PYTHON = .venv/bin/python
ONE_THREAD = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	NUMBA_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
QUICK = not slow and not external and not browser and not deepmd and not backends \
	and not services and not postgres
INSTALLED_BY = pyproject.toml constraints.txt tools/bootstrap.sh

# Rooms whose array annotations are checked by `make shapes`; numba's functions and the
# switch, which takes any array library, stay outside.
SHAPED := dpbench.frames,dpbench.metrics,dpbench.models,dpbench.md
SHAPED := $(SHAPED),dpbench.kernels.batch,dpbench.kernels.environment
SHAPED := $(SHAPED),dpbench.kernels.layers,dpbench.kernels.activations
SHAPED := $(SHAPED),dpbench.kernels.contraction.reference
SHAPED := $(SHAPED),dpbench.kernels.contraction.products
SHAPED := $(SHAPED),dpbench.kernels.neighbours.search
SHAPED := $(SHAPED),dpbench.kernels.neighbours.cell
SHAPED := $(SHAPED),dpbench.kernels.neighbours.reference

.PHONY: help demo test test-full shapes lint docs clean

help:
	@echo 'make demo       run the whole way on real data that ships with dpbench'
	@echo 'make test       run the tests (two at a time, about ten minutes)'
	@echo 'make test-full  run every test whose needs are met here, with more kills and fuzz'
	@echo 'make shapes     run the numerical tests with every array annotation checked'
	@echo 'make lint       style, types, import contracts, spelling, fresh references'
	@echo 'make docs       renew the generated pages of docs/'
	@echo 'make clean      remove .venv, the demo and every cache'

demo: .venv/runtime.stamp
	$(PYTHON) -m dpbench demo

test: .venv/dev.stamp
	$(ONE_THREAD) $(PYTHON) -m pytest -n 2 -m "$(QUICK)"

test-full: .venv/dev.stamp
	$(ONE_THREAD) DPBENCH_KILLS=50 DPBENCH_FLIPS=20 DPBENCH_FUZZ=1500 \
		$(PYTHON) -m pytest -n 2

shapes: .venv/dev.stamp
	$(ONE_THREAD) $(PYTHON) -m pytest -q -n 2 -m "$(QUICK)" \
		-W ignore::hypothesis.errors.HypothesisDeprecationWarning tests/kernels tests/models \
		tests/metrics tests/md --jaxtyping-packages=$(SHAPED),beartype.beartype

lint: .venv/dev.stamp
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports
	.venv/bin/codespell
	$(PYTHON) tools/make_references.py --check

docs: .venv/dev.stamp
	$(PYTHON) tools/make_references.py

.venv/runtime.stamp: $(INSTALLED_BY)
	sh tools/bootstrap.sh runtime
	@touch $@

.venv/dev.stamp: $(INSTALLED_BY)
	sh tools/bootstrap.sh dev
	@touch .venv/runtime.stamp $@

clean:
	rm -rf .venv demo build dist dpbench.egg-info .pytest_cache .mypy_cache \
		.ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
