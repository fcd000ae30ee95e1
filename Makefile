# The commands of the project. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help install install-dev install-clients install-peers serve test test-fast test-reliability test-cluster test-browser fuzz lint format lock audit manifests clean bench

CONFIG ?= config/local.yaml
BENCHMARKS ?= scheduling batching png overhead serving footprint
BIN := .venv/bin
# The tests that need no running service, two at a time, each with a thread of torch.
ALONE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit tests/k8s tests/elements --numprocesses 2 --dist worksteal

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

serve: install ## install what is missing, then serve on port 8000 (CONFIG=config/local.yaml)
	@$(BIN)/python -m serve_app $(CONFIG)

test: install-dev install-clients lint ## lint, then the tests; those of several nodes are in test-cluster
	$(ALONE)
	$(BIN)/python -m pytest tests/serve tests/clients tests/browser
	$(BIN)/python -m pytest tests/reliability

test-fast: install-dev ## the tests that need no running service
	$(ALONE)

test-reliability: install-dev ## faults and overload, each until the number means something: a quarter of an hour
	$(BIN)/python -m pytest tests/reliability --long

test-cluster: install-dev ## a cluster of three nodes, of which one dies
	$(BIN)/python -m pytest tests/cluster

test-browser: install-dev install-clients ## the page in Chromium, also as on a phone
	$(BIN)/python -m pytest tests/elements tests/browser --long

fuzz: install-dev ## the tests of parsers and of the OpenAPI document with four times the cases
	$(BIN)/python -m pytest tests/unit --long

lint: install-dev ## formatting, style, types and layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install-dev ## format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: install-dev $(if $(filter serving,$(BENCHMARKS)),install-peers) ## run the benchmarks, or some (BENCHMARKS="batching png"); each prints its ratios last
	@for name in $(BENCHMARKS); do printf '\n== %s\n' $$name; $(BIN)/python -m benchmarks.$$name || exit; done

lock: ## write the lock files anew (OPTIONS=--upgrade for newer packages)
	@scripts/lock.sh $(OPTIONS)

audit: install-dev ## look up known vulnerabilities of what is locked
	@scripts/audit.sh

manifests: install-dev ## write what the config files say into the Kubernetes manifests
	@$(BIN)/python -m scripts.manifests

install:
	@scripts/install.sh

install-dev:
	@scripts/install.sh --dev

install-clients: install-dev
	@scripts/install-clients.sh

install-peers: install-dev
	@scripts/install-peers.sh

clean: ## delete what was installed and cached here (not the models in ~/.cache/easel)
	rm -rf .venv .venv-clients .venv-peers .tools tests/clients/javascript/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
