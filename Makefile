# Everything that is done with this project, by name. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv demo ui test test-unit test-cluster test-nightly test-matrix wheel-test dist audit cluster-for-tests database-for-tests docker-for-tests busybox-for-tests browser-for-tests screenshots lint types imports format docs lock cluster-up cluster-down clean

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
CLUSTER_UP := $(PYTHON) dev/cluster up $(if $(KUBERNETES),--kubernetes $(KUBERNETES)) $(if $(CONTAINERD),--containerd $(CONTAINERD))
# More processes than cores: cluster tests wait more than they work.
JOBS ?= 4
# In the order of their names the long files, of cluster tests, come first, and no process is idle at the end.
SPREAD := --dist loadfile --no-loadscope-reorder
# Airflow starts a process for each task: without compiled modules each would compile them again.
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): requirements/dev.txt pyproject.toml dev/venv
	@PYTHON=$(PYTHON) dev/venv .venv requirements/dev.txt

venv: $(READY)  ## the virtual environment, from the locked requirements

demo:  ## a real DAG on a real cluster: log and result in this terminal
	@$(if $(KUBECONFIG),$(PYTHON) dev/which_cluster.py)
	@$(MAKE) -s venv
	@dev/demo

ui: $(READY)  ## Airflow's web interface with the example DAGs
	@dev/ui

cluster-up:  ## the embedded two-node Kubernetes, or KUBERNETES=1.37 CONTAINERD=2; its kubeconfig is .cluster/kubeconfig
	@$(CLUSTER_UP) || { status=$$?; test $$status = 1 || exit $$status; echo "the start failed; once more from nothing" >&2; $(CLUSTER_UP); }

cluster-for-tests:
	@$(if $(KUBECONFIG),$(PYTHON) dev/which_cluster.py,$(MAKE) -s cluster-up)

database-for-tests:
	@dev/postgresql

busybox-for-tests:
	@dev/busybox

docker-for-tests:
	@dev/docker

browser-for-tests:
	@dev/chromium

cluster-down:  ## remove the embedded Kubernetes and everything of it
	@$(PYTHON) dev/cluster down

lint: $(READY)  ## style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)  ## types
	@$(BIN)/mypy

imports: $(READY)  ## import contracts
	@$(BIN)/lint-imports --no-logo

format: $(READY)  ## put the code into the project's form, and list the tests of each requirement
	@$(BIN)/ruff check --fix . || true
	@$(BIN)/ruff format .
	@$(BIN)/python dev/traceability.py

test-unit: lint types imports busybox-for-tests  ## lint, types, import contracts, unit and contract tests: no cluster
	@$(BIN)/pytest -q -m "not nightly" -n 2 tests/unit tests/contract

test: lint types imports cluster-for-tests database-for-tests docker-for-tests busybox-for-tests browser-for-tests  ## everything that CI runs
	@$(BIN)/pytest -q -m "not nightly" -n $(JOBS) $(SPREAD)

test-cluster: $(READY) cluster-for-tests database-for-tests docker-for-tests browser-for-tests  ## the cluster tests alone
	@$(BIN)/pytest -q -m "not nightly" -n $(JOBS) $(SPREAD) tests/cluster

test-nightly: $(READY) cluster-for-tests database-for-tests docker-for-tests busybox-for-tests browser-for-tests  ## what takes long: tests of scale and endurance, then other versions
	@$(BIN)/pytest -q -m "nightly and not alone" -n $(JOBS) $(SPREAD)
	@$(BIN)/pytest -q -m alone
	@$(MAKE) -s test-matrix

screenshots: $(READY) cluster-for-tests database-for-tests browser-for-tests  ## the documentation's pictures of the web interface
	@SCREENSHOTS=docs/images $(BIN)/pytest -q tests/cluster/test_ui_on_airflow.py

docs: $(READY)  ## the documentation site, in site/; warnings are errors
	@$(BIN)/sphinx-build -q -W --keep-going -b html docs site

wheel-test: $(READY) cluster-for-tests  ## the wheel in an empty environment, without the source tree
	@$(BIN)/pytest -q tests/packaging

test-matrix: $(READY) cluster-for-tests database-for-tests docker-for-tests busybox-for-tests browser-for-tests  ## other versions of Airflow, Kubernetes and containerd; one of them: ROW=lowest
	@$(BIN)/python dev/test_matrix.py $(ROW)

dist: $(READY)  ## wheel and source distribution in dist/
	@rm -rf dist
	@$(BIN)/uv build -q --no-build-isolation --python $(BIN)/python -o dist

audit: $(READY)  ## known vulnerabilities of the locked requirements; asks an advisory service
	@$(BIN)/python dev/audit.py

lock: $(READY)  ## lock the requirements again
	@$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --group dev pyproject.toml -o requirements/dev.txt

clean: cluster-down  ## remove everything that the targets made in this folder
	@rm -rf .venv .airflow .cluster site dist
