# `make run` starts the service, `make test` tests it. Both install what they need the first time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PYTHON := $(VENV)/bin/python
MANAGE := $(PYTHON) manage.py
PIP := $(PYTHON) -m pip --disable-pip-version-check --no-input
# Shows pip's progress on one line of the terminal; pip's errors go to stderr as they are.
PROGRESS := awk '/^ *(Collecting|Downloading|Using|Building|Installing)/ \
	{ printf "\r\033[K  %s", substr($$0, 1, 76); fflush() } END { printf "\r\033[K" }'
ifeq ($(shell test -t 1 || echo no),no)
PROGRESS := cat > /dev/null
endif
say = @printf '\033[1m%s\033[0m\n' $(1)

# Processes that run the tests side by side; WORKERS=0 runs them in one, as a debugger needs it. The end-to-end tests
# wait for their services half of the time, so two cores have work for a third process. `tests/conftest.py` orders the
# groups.
PROCESSES := 2
test: PROCESSES := 3
# The tests start many processes: without bytecode on disk, each would compile the sources again.
unexport PYTHONDONTWRITEBYTECODE
PYTEST = $(PYTHON) -m pytest --numprocesses $(or $(WORKERS),$(PROCESSES)) --dist loadgroup --no-loadscope-reorder
NATIVE := inference/engine/native
CXX_SOURCES = $(wildcard $(NATIVE)/*.cpp $(NATIVE)/*.h tests/*.cpp)
CLANG_FORMAT := $(VENV)/bin/clang-format

.PHONY: help run test test-fast test-postgresql coverage sanitize check format bench trial soak fuzz clients upstream lock audit sbom licences

help:
	@echo 'make run         start the service; takes PORT=8123 LLM_MODEL=/some/folder HOST= API_KEY= DATABASE_URL='
	@echo 'make test        run all tests; ARGS="-k generate" goes to pytest, WORKERS=0 runs them in one process'
	@echo 'make test-fast   run the tests that need no server, browser, model or process of their own'
	@echo 'make test-postgresql   run the tests that use the database on the PostgreSQL server at TEST_POSTGRES_URL'
	@echo 'make coverage    measure which lines the tests run (without the end-to-end tests)'
	@echo 'make sanitize    run the kernels with the address, undefined-behaviour and thread sanitizers of GCC'
	@echo 'make check       lint, format, types, imports, missing migrations, deployment settings'
	@echo 'make format      format the Python and C++ sources'
	@echo 'make trial       try the service for minutes at a time (slow clients, ...); ARGS="--list" names the trials'
	@echo 'make soak        everything at once for ten minutes, and whether anything was lost; ARGS="--seconds 3600"'
	@echo 'make fuzz        try requests of all kinds on the real service for minutes; ARGS="--max-time 3600" goes to schemathesis'
	@echo 'make clients     try what people use with OpenAI'"'"'s API on the service (lm-eval, LangChain, ...); ARGS="node" picks one'
	@echo 'make upstream    try the service in front of other engines (nodes alone, behind nginx and on Ray Serve, vLLM for CPUs); ARGS="node" picks one'
	@echo 'make lock        write requirements/lock/ anew, after a change of requirements/'
	@echo 'make audit       look for known vulnerabilities of the locked packages'
	@echo 'make sbom        write the bill of materials of .venv (CycloneDX) to var/sbom.json'
	@echo 'make licences    write docs/licences.md anew'
	@echo 'make bench       compare the speed with other engines; PEERS="openvino vllm" adds some, ARGS="--rounds 1" is passed on'

run: $(VENV)/.run $(VENV)/.native
	@$(MANAGE) preflight --before-setup
	@if [ -z "$${LLM_MODEL:-}" ] && [ "$${LLM_BACKEND:-}" != upstream ]; then LLM_MODEL=$$($(MANAGE) quickstart_model); export LLM_MODEL; fi; \
	exec $(MANAGE) setup --serve

test: $(VENV)/.dev $(VENV)/.native
	@$(MANAGE) quickstart_model > /dev/null
	@$(PYTEST) $(ARGS)

test-fast: $(VENV)/.dev $(VENV)/.native
	@$(PYTEST) -m 'not slow' --ignore tests/e2e $(ARGS)

# The user in the URL needs the right to create databases: pytest-django creates one and drops it.
test-postgresql: $(VENV)/.dev $(VENV)/.native
	@DATABASE_URL=$${TEST_POSTGRES_URL:-postgres://postgres@127.0.0.1:5432/postgres} \
		$(PYTEST) -m django_db --ignore tests/e2e $(ARGS)

coverage: $(VENV)/.dev $(VENV)/.native
	@$(MANAGE) quickstart_model > /dev/null
	@$(PYTEST) --ignore tests/e2e --cov --cov-report term:skip-covered $(ARGS)

# The thread sanitizer has a program of its own: under Python it would report PyTorch's threads, which are not compiled
# with it. Python loads the kernels of the second run, so the sanitizer's library is loaded before Python, and leaks are
# not reported, because Python has some. A finding ends the process, so pytest must not hold its output back.
SANITIZE := -O1 -g -fno-omit-frame-pointer -fno-sanitize-recover=all
SANITIZED := $(CURDIR)/var/sanitize

sanitize: $(VENV)/.dev
	@mkdir -p $(SANITIZED)
	$(call say,'The thread pool ...')
	@$(CXX) -std=c++20 -pthread $(SANITIZE) -fsanitize=thread -I $(NATIVE) -o $(SANITIZED)/pool_threads \
		tests/pool_threads.cpp $(NATIVE)/*.cpp
	@$(SANITIZED)/pool_threads
	$(call say,'The kernels (compiling takes some minutes) ...')
	@export KERNELS_DIR=$(SANITIZED) KERNELS_FLAGS='$(SANITIZE) -fsanitize=address,undefined,float-cast-overflow'; \
	$(PYTHON) -m inference.engine.native --required; \
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so.6)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(PYTHON) -m pytest --capture sys -m 'not slow' $(ARGS) \
		tests/test_native*.py tests/test_layer_*.py tests/test_bfloat16.py tests/test_int8.py tests/test_int4.py tests/test_tiles.py \
		tests/test_sampler.py tests/test_activation.py tests/test_float32.py tests/test_narrow_weights.py tests/test_one_arithmetic.py

check: $(VENV)/.dev
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy .
	@$(CLANG_FORMAT) --dry-run --Werror $(CXX_SOURCES)
	@$(VENV)/bin/lint-imports --no-logo --no-cache
	@$(MANAGE) makemigrations --check --dry-run
	@$(MANAGE) check --deploy

format: $(VENV)/.dev
	@$(PYTHON) -m ruff check --fix-only .
	@$(PYTHON) -m ruff format .
	@$(CLANG_FORMAT) -i $(CXX_SOURCES)

bench: $(VENV)/.bench $(VENV)/.native
	@for peer in $(PEERS); do \
		$(MAKE) var/bench/venv-$$peer/.ready || echo "$$peer could not be installed: it is left out."; \
	done
	@$(PYTHON) -m benchmarks.throughput $(if $(PEERS),--peers $(PEERS)) $(ARGS)

trial: $(VENV)/.run $(VENV)/.native
	@$(PYTHON) -m benchmarks.trial $(ARGS)

soak: $(VENV)/.dev $(VENV)/.native
	@$(PYTHON) -m benchmarks.soak $(ARGS)

fuzz: $(VENV)/.dev $(VENV)/.native
	@FUZZ_ARGS="$(or $(ARGS),--max-time 300)" $(PYTHON) -m pytest --capture no tests/e2e/test_fuzz.py

clients: $(VENV)/.dev $(VENV)/.native var/clients/venv/.ready
	@$(PYTHON) -m benchmarks.clients $(ARGS)

# nginx is left out where it is not installed, vLLM and Ray Serve where their packages cannot be had.
upstream: $(VENV)/.dev $(VENV)/.native
	@$(MAKE) var/upstream/venv/.ready || echo 'vLLM could not be installed: it is left out.'
	@$(MAKE) var/upstream/ray/.ready || echo 'Ray Serve could not be installed: it is left out.'
	@$(PYTHON) -m benchmarks.upstream $(ARGS)

# --- The supply chain. torch is in no lock file: its index of CPU builds is another one, and it is installed from there alone.
TOOLS := var/supply-chain/venv
COMPILE := $(TOOLS)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--quiet --no-emit-package torch
# Those that name every package that they install.
COMPLETE := clients bench-openvino upstream-vllm
RESOLVED := service base quickstart tracing bench dev supply-chain ray

lock: $(TOOLS)/.ready
	@for name in $(RESOLVED); do $(COMPILE) requirements/$$name.txt -o requirements/lock/$$name.txt; done
	@for name in $(COMPLETE); do $(COMPILE) --no-deps requirements/$$name.txt -o requirements/lock/$$name.txt; done

audit: $(TOOLS)/.ready
	@$(TOOLS)/bin/python -m requirements.supply_chain.audit

sbom: $(TOOLS)/.ready $(VENV)/.run
	@$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --output-format JSON --output-file var/sbom.json $(PYTHON)
	@echo 'var/sbom.json'

licences: $(VENV)/.dev
	@$(PYTHON) -m requirements.supply_chain.licences > docs/licences.md

$(TOOLS)/.ready: $(VENV)/.venv requirements/lock/supply-chain.txt
	$(call say,'Installing the tools for the supply chain ...')
	@rm -rf $(@D) && mkdir -p $(dir $(@D)) && $(PYTHON) -m venv $(@D)
	@$(PEER_PIP) install --no-deps --require-hashes -r requirements/lock/supply-chain.txt | $(PROGRESS) || { \
		echo 'NOT DONE: the tools for the supply chain could not be installed, for the reason above; they come from' \
			'the package index that pip uses.' >&2; exit 1; }
	@touch $@

# --- The virtual environment. A stamp is newer than the requirements that it installed.

$(VENV)/.venv:
	@python=$$(for name in python3.11 python3.12 python3.13 python3; do \
		"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null && echo "$$name" && break; \
	done) || { echo 'Python 3.11 or newer is needed and was not found: install it, then run make again.' >&2; exit 1; }; \
	"$$python" -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.venv $(addprefix requirements/,cpu.txt lock/base.txt lock/quickstart.txt)
	$(call say,'Installing the packages (the first time: some minutes, about 400 MB) ...')
	@$(PIP) install --retries 1 --no-deps -r requirements/cpu.txt | $(PROGRESS)
	@$(PIP) install --no-deps --require-hashes -r requirements/lock/base.txt -r requirements/lock/quickstart.txt | $(PROGRESS)
	@touch $@

$(VENV)/.native: $(VENV)/.run $(wildcard inference/engine/native/*.cpp inference/engine/native/*.h)
	@$(PYTHON) -m inference.engine.native
	@touch $@

$(VENV)/.dev: $(VENV)/.bench requirements/lock/dev.txt
	$(call say,'Installing the packages for tests and checks ...')
	@$(PIP) install --no-deps --require-hashes -r requirements/lock/dev.txt | $(PROGRESS)
	@touch $@

$(VENV)/.bench: $(VENV)/.run requirements/lock/bench.txt
	$(call say,'Installing the packages for benchmarks ...')
	@$(PIP) install --no-deps --require-hashes -r requirements/lock/bench.txt | $(PROGRESS)
	@touch $@

# Peers with a virtual environment of their own, because they need other versions than the service.
PEER_PIP = $(@D)/bin/python -m pip --disable-pip-version-check --no-input

var/bench/venv-openvino/.ready: $(VENV)/.venv requirements/cpu.txt requirements/lock/bench-openvino.txt
	$(call say,'Installing OpenVINO GenAI (some minutes, about 600 MB) ...')
	@mkdir -p var/bench && $(PYTHON) -m venv $(@D)
	@$(PEER_PIP) install --retries 1 --no-deps -r requirements/cpu.txt | $(PROGRESS)
	@$(PEER_PIP) install --no-deps --require-hashes -r requirements/lock/bench-openvino.txt | $(PROGRESS)
	@touch $@

var/bench/venv-llama_cpp/.ready: $(VENV)/.venv requirements/bench-llama_cpp.txt
	$(call say,'Building llama.cpp (cmake and a C++ compiler, ten minutes and more) ...')
	@mkdir -p var/bench && $(PYTHON) -m venv $(@D)
	@$(PEER_PIP) install -r requirements/bench-llama_cpp.txt | $(PROGRESS)
	@touch $@

# vLLM is that of `make upstream`.
var/bench/venv-vllm/.ready: var/upstream/venv/.ready
	@mkdir -p var/bench && ln -sfn ../upstream/venv $(@D)

# The clients see the packages of .venv, so that the large ones are there once; what they install has precedence.
SITE_PACKAGES = -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
OPENAI_NODE := openai@6.49.0

var/clients/venv/.ready: $(VENV)/.dev requirements/lock/clients.txt
	$(call say,'Installing the clients (some minutes, about 700 MB) ...')
	@rm -rf $(@D) && mkdir -p var/clients/node && $(PYTHON) -m venv $(@D)
	@$(PYTHON) $(SITE_PACKAGES) > "$$($(@D)/bin/python $(SITE_PACKAGES))/service.pth"
	@$(PEER_PIP) install --no-deps --require-hashes -r requirements/lock/clients.txt | $(PROGRESS)
	@if command -v npm > /dev/null; then \
		npm install --silent --no-audit --no-fund --prefix var/clients/node $(OPENAI_NODE); \
	else echo 'npm is not installed: the client for Node.js is left out.'; fi
	@touch $@

var/upstream/venv/.ready: $(VENV)/.dev requirements/lock/upstream-vllm.txt
	$(call say,'Installing vLLM for CPUs (some minutes, about 1.3 GB) ...')
	@rm -rf $(@D) && mkdir -p var/upstream && $(PYTHON) -m venv $(@D)
	@$(PYTHON) $(SITE_PACKAGES) > "$$($(@D)/bin/python $(SITE_PACKAGES))/service.pth"
	@$(PEER_PIP) install --no-deps --require-hashes -r requirements/lock/upstream-vllm.txt | $(PROGRESS)
	@touch $@

var/upstream/ray/.ready: $(VENV)/.dev requirements/lock/ray.txt
	$(call say,'Installing Ray Serve (about 300 MB) ...')
	@rm -rf $(@D) && mkdir -p var/upstream && $(PYTHON) -m venv $(@D)
	@$(PEER_PIP) install --no-deps --require-hashes -r requirements/lock/ray.txt | $(PROGRESS)
	@touch $@
