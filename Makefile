# The verbs of the project, for people and for CI alike. Each sets up what it needs by itself, in a private virtual
# environment; a machine needs no more than make and Python 3.11 with its venv module.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where `proto` writes the stubs; the freshness check points it elsewhere.
STUBS ?= client
# Passed on to the program behind a verb: make test ARGS="tests/types -k digest"
ARGS ?=

# How long `faults` attacks, in seconds, and the seed of what it does; without one it takes a random one and prints it.
DURATION ?= 600
SEED ?=

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
CONSTRAINTS := .ci/constraints.txt
# A worker that is not Python, for the tests.
NODE_WORKER := tests/worker/node
SYSTEM_AUTHORITIES := $(wildcard /etc/ssl/certs/ca-certificates.crt)
CHECKS := check-lint check-types check-protos check-imports check-stubs check-repository
SETUP_FAULT = { echo "$(1)" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help demo serve test check $(CHECKS) proto format bench faults build pin clean

help: ## Show the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(VENV)/.server ## See Lacewing do its work on a real data set
	@$(BIN)/python tests/demo/run.py $(ARGS)

serve: $(VENV)/.server ## Run a server; ARGS="--port 7400" passes flags
	@$(BIN)/lacewing serve $(ARGS)

test: $(VENV)/.development $(NODE_WORKER)/node_modules/.installed ## Run the tests; ARGS="tests/types -k digest" narrows them
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile $(ARGS)

check: $(VENV)/.development ## Check style, types, protos, imports, stubs and the rules of the repository
	@$(MAKE) --no-print-directory --keep-going --jobs 2 --output-sync=target $(CHECKS)
	@echo "All checks passed."

proto: $(VENV)/.development ## Regenerate the Python stubs from the protos
	@mkdir -p $(STUBS)/lacewing/v1
	@find $(STUBS)/lacewing/v1 -name '*_pb2*' -delete
	@$(BIN)/python -m grpc_tools.protoc -Iprotos \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=$(STUBS) --mypy_out=quiet:$(STUBS) \
	  --grpc_python_out=$(STUBS) --mypy_grpc_out=quiet,only_async:$(STUBS) protos/lacewing/v1/*.proto
	@# A proto without a service still gets an empty grpc file; those are noise.
	@for f in $(STUBS)/lacewing/v1/*_pb2_grpc.py; do grep -q 'class .*Stub' "$$f" || rm -f "$$f" "$${f}i"; done

format: $(VENV)/.development ## Bring code and protos into the one format
	@$(BIN)/ruff check --select I --fix --quiet
	@$(BIN)/ruff format --quiet
	@$(BIN)/buf format --write

bench: $(VENV)/.server ## Measure speed, CPU and memory; writes build/bench.json
	@$(BIN)/python tests/bench/run.py $(ARGS)

faults: $(VENV)/.development ## Attack real processes under load, and check what happened; DURATION=600 SEED=n
	@$(BIN)/python tests/faults/run.py --duration $(DURATION) $(if $(SEED),--seed $(SEED)) $(ARGS)

build: $(VENV)/.development ## Build the wheel and the source archive into dist/
	@rm -rf dist && mkdir -p build
	@$(BIN)/python -m build --outdir dist > build/build.log 2>&1 || { cat build/build.log >&2; exit 1; }
	@ls dist/*

pin: ## Take the newest versions of all dependencies and write them into the constraints
	@rm -rf build/pin
	@$(MAKE) --no-print-directory VENV=build/pin CONSTRAINTS=/dev/null build/pin/.development
	@sed -n '/^#/p' $(CONSTRAINTS) > build/pin/constraints.txt
	@build/pin/bin/python -m pip freeze --exclude-editable >> build/pin/constraints.txt
	@mv build/pin/constraints.txt $(CONSTRAINTS)
	@rm -rf build/pin
	@git --no-pager diff --stat $(CONSTRAINTS)

clean: ## Remove what the verbs made, the virtual environment too
	@rm -rf $(VENV) build dist $(NODE_WORKER)/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find client server tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The parts of `check`, each of which can be run alone.
check-lint: $(VENV)/.development
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet || { echo "make format brings these into form:"; $(BIN)/ruff format --check; exit 1; }

check-types: $(VENV)/.development
	@$(BIN)/mypy
	@# Tests are checked inside and out, but not asked to annotate what pytest calls.
	@$(BIN)/mypy --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls tests

check-protos: $(VENV)/.development
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code
	@$(BIN)/python tests/check/breaking.py

check-imports: $(VENV)/.development
	@$(BIN)/lint-imports --no-logo

check-stubs: $(VENV)/.development
	@rm -rf build/stubs
	@$(MAKE) --no-print-directory proto STUBS=build/stubs
	@diff -rq --exclude=__init__.py --exclude=__pycache__ build/stubs/lacewing/v1 client/lacewing/v1 \
	  || { echo "The stubs are not those of the protos: run make proto."; exit 1; }
	@echo "The stubs are fresh."

check-repository: $(VENV)/.development
	@$(BIN)/python tests/check/repository.py

# The virtual environment, in three steps: a current pip; what running needs; what working on the project needs.
$(VENV)/.base:
	@command -v $(PYTHON) > /dev/null || $(call SETUP_FAULT,Lacewing needs Python 3.11 or newer and finds no '$(PYTHON)': \
	install it (Debian: apt install python3 python3-venv) or name yours (make PYTHON=python3.12 …).)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || $(call SETUP_FAULT,Lacewing needs Python 3.11 or \
	newer and '$(PYTHON)' is older: install a newer one or name yours (make PYTHON=python3.12 …).)
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || $(call SETUP_FAULT,'$(PYTHON)' comes without its venv module: \
	apt install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])') (or python3-venv).)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.server: pyproject.toml $(CONSTRAINTS) | $(VENV)/.base
	@echo "Setting up $(VENV) to run Lacewing (once, half a minute) …"
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[server]' --group demo --group bench
	@touch $@

$(VENV)/.development: pyproject.toml $(CONSTRAINTS) | $(VENV)/.base
	@echo "Setting up $(VENV) to work on Lacewing (once, a minute) …"
	@$(PIP) install --constraint $(CONSTRAINTS) --editable '.[server,s3,pydantic,pandas,polars,pyarrow]' --group check
	@touch $@ $(VENV)/.server

# Only where there is npm: the tests tell what is missing, and what to install. Node.js trusts its own list of authorities;
# here it trusts those of the system as well, as pip does.
$(NODE_WORKER)/node_modules/.installed: $(NODE_WORKER)/package.json
	@if command -v npm > /dev/null; then \
	  NODE_EXTRA_CA_CERTS="$${NODE_EXTRA_CA_CERTS:-$(SYSTEM_AUTHORITIES)}" npm install --prefix $(NODE_WORKER) --no-audit --no-fund --loglevel=error && touch $@; fi
