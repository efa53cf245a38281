# make demo: from nothing to a trained, evaluated and recorded model. make test: the tests.
# Everything runs in .venv, with the versions of constraints.txt.
PYTHON ?= python3.11
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

.PHONY: demo install test check bench lint types contracts clean

demo: install
	runforge sample digits
	dvc add --quiet data
	dvc repro
	@echo
	@python -m runforge.summary out/evaluation
	@echo
	@echo "report:  $(CURDIR)/out/evaluation/report.html (open it in a browser)"
	@echo "runs:    source .venv/bin/activate && mlflow ui, then open http://127.0.0.1:5000"

install: .venv/installed

# torch first and by exact version: an open range would pull another build of several gigabytes.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[develop]'
	touch $@

# Two processes, each whole files, so that what a file prepares is prepared once. They share the cores:
# threads had better sleep while they wait (decision 0019).
test: install
	OMP_WAIT_POLICY=passive pytest --numprocesses 2 --dist loadfile

check: lint types contracts test

lint: install
	ruff check
	ruff format --check

types: install
	mypy

contracts: install
	lint-imports

# The short form of each; one at a time, for the full one: python benchmarks/NAME.py
bench: install
	@for file in $(filter-out %/table.py %/turns.py %/bare.py %/bare_gpu.py,$(wildcard benchmarks/*.py)); do \
	  echo "$$file"; python $$file --quick || failed="$$failed $$file"; \
	done; test -z "$$failed" || { echo "not reached or failed:$$failed"; exit 1; }

clean:
	rm -rf .venv out samples
