# The project's only task vocabulary: people, hooks and CI all call these.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Extras of pyproject.toml to install too, such as EXTRAS=spark.
EXTRAS ?=

RESOLVE = $(BIN)/uv pip compile --quiet pyproject.toml --group dev --universal --python-version 3.11

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types format up down bench lock clean

help:  ## list the tasks
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) $(EXTRAS:%=$(STAMP)-%)  ## create .venv and install the lock into it (with EXTRAS=spark: Spark too)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v=sys.version_info[:2]; sys.exit(0 if (3,11)<=v<=(3,13) else "Python 3.11 to 3.13 is needed, this is %d.%d: run make PYTHON=python3.12 setup" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.txt | cut -d' ' -f1)"
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

$(STAMP)-%: $(STAMP) requirements-%.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-$*.txt
	@touch $@

demo: setup  ## live through eight nights of the sample fleet, through Airflow; ends in var/demo/report.html
	$(BIN)/mlops demo

# tests/faults forks, so its processes must not have run anything else; with ARGS that name tests, only those are run.
test: setup  ## the whole suite, README examples included
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)
	$(if $(filter-out -%,$(ARGS)),,$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS) tests/faults)

lint: setup  ## style, imports between rooms, docstrings of tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/interrogate -q tests

types: setup  ## mypy --strict
	$(BIN)/mypy

format: setup  ## rewrite the code in the house style
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

up: setup  ## Airflow, MLflow, Feast and data docs on this machine, no Docker; prints addresses and the login
	$(BIN)/mlops up

down: setup  ## end what `make up` started
	$(BIN)/mlops down

bench: setup  ## the measures of benchmarks/, as tables with medians
	$(BIN)/python -m benchmarks

# requirements-spark.txt: the same resolution with the extra; of it, what requirements.txt does not pin already.
lock: setup  ## resolve requirements.txt anew for Python 3.11 to 3.13
	$(RESOLVE) --custom-compile-command "make lock" -o requirements.txt
	$(RESOLVE) --extra spark --constraint requirements.txt --no-annotate --no-header | grep -vxFf requirements.txt > requirements-spark.txt

clean:  ## forget all state of the embedded parts (var/)
	rm -rf var
