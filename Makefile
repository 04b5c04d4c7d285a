# `make run` starts the service, `make test` tests it; both set up what they need, once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PYTHON := $(VENV)/bin/python
MANAGE := $(PYTHON) manage.py
PIP := $(PYTHON) -m pip --disable-pip-version-check --no-input
# Rewrites one line of the terminal with what pip is at; pip's errors go past it.
PROGRESS := awk '/^ *(Collecting|Downloading|Using|Building|Installing)/ \
	{ printf "\r\033[K  %s", substr($$0, 1, 76); fflush() } END { printf "\r\033[K" }'
ifeq ($(shell test -t 1 || echo no),no)
PROGRESS := cat > /dev/null
endif
say = @printf '\033[1m%s\033[0m\n' $(1)

.PHONY: help run test test-postgresql check bench

help:
	@echo 'make run     start the service; PORT=8123 LLM_MODEL=/some/folder HOST= API_KEY= DATABASE_URL= are taken'
	@echo 'make test    run the tests; ARGS="-k generate" goes to pytest'
	@echo 'make test-postgresql   those of them that use the database, on the server at TEST_POSTGRES_URL'
	@echo 'make check   lint, format, types, missing migrations, settings'
	@echo 'make bench   speed against other engines; PEERS=openvino adds one, ARGS="--rounds 1" goes to the benchmark'

run: $(VENV)/.run $(VENV)/.native
	@$(MANAGE) preflight --before-setup
	@if [ -z "$${LLM_MODEL:-}" ]; then LLM_MODEL=$$($(MANAGE) quickstart_model); export LLM_MODEL; fi; \
	exec $(MANAGE) setup --serve

test: $(VENV)/.dev $(VENV)/.native
	@$(MANAGE) quickstart_model > /dev/null
	@$(PYTHON) -m pytest $(ARGS)

# Its user has to be allowed to make databases; pytest-django makes one and drops it.
test-postgresql: $(VENV)/.dev $(VENV)/.native
	@DATABASE_URL=$${TEST_POSTGRES_URL:-postgres://postgres@127.0.0.1:5432/postgres} \
		$(PYTHON) -m pytest -m django_db --ignore tests/e2e $(ARGS)

check: $(VENV)/.dev
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy .
	@$(MANAGE) makemigrations --check --dry-run
	@$(MANAGE) check --deploy

bench: $(VENV)/.bench $(patsubst %,var/bench/venv-%/.ready,$(PEERS))
	@$(PYTHON) -m benchmarks.throughput $(if $(PEERS),--peers $(PEERS)) $(ARGS)

# --- The virtual environment. A stamp is newer than the requirements that it stands for.

$(VENV)/.venv:
	@python=$$(for name in python3.11 python3.12 python3.13 python3; do \
		"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo "$$name" && break; \
	done) || { echo 'Python 3.11 or newer is needed and was not found: install it, then run make again.' >&2; exit 1; }; \
	"$$python" -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.venv $(addprefix requirements/,cpu.txt base.txt quickstart.txt constraints.txt)
	$(call say,'Installing the packages (the first time: some minutes, about 400 MB) ...')
	@$(PIP) install --retries 1 --no-deps -r requirements/cpu.txt | $(PROGRESS)
	@$(PIP) install -r requirements/base.txt -r requirements/quickstart.txt | $(PROGRESS)
	@touch $@

$(VENV)/.native: $(VENV)/.run $(wildcard inference/engine/native/*.cpp inference/engine/native/*.h)
	@$(PYTHON) -m inference.engine.native
	@touch $@

$(VENV)/.dev: $(VENV)/.bench requirements/dev.txt
	$(call say,'Installing the packages for tests and checks ...')
	@$(PIP) install -r requirements/dev.txt | $(PROGRESS)
	@touch $@

$(VENV)/.bench: $(VENV)/.run requirements/bench.txt
	$(call say,'Installing the packages for benchmarks ...')
	@$(PIP) install -r requirements/bench.txt | $(PROGRESS)
	@touch $@

# Peers that have a virtual environment to themselves, since they want other versions than the service.
PEER_PIP = $(@D)/bin/python -m pip --disable-pip-version-check --no-input

var/bench/venv-openvino/.ready: $(VENV)/.venv requirements/cpu.txt requirements/bench-openvino.txt
	$(call say,'Installing OpenVINO GenAI (some minutes, about 600 MB) ...')
	@mkdir -p var/bench && $(PYTHON) -m venv $(@D)
	@$(PEER_PIP) install --retries 1 --no-deps -r requirements/cpu.txt | $(PROGRESS)
	@$(PEER_PIP) install --no-deps -r requirements/bench-openvino.txt | $(PROGRESS)
	@touch $@

var/bench/venv-llama_cpp/.ready: $(VENV)/.venv requirements/bench-llama_cpp.txt
	$(call say,'Building llama.cpp (cmake and a C++ compiler, ten minutes and more) ...')
	@mkdir -p var/bench && $(PYTHON) -m venv $(@D)
	@$(PEER_PIP) install -r requirements/bench-llama_cpp.txt | $(PROGRESS)
	@touch $@
