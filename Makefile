# Every task of a developer or of CI is one of these targets. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

AREAS := cli client cluster common export load models protos server web
MODELS := direction_simple direction_stacked direction_bidirectional
CHECKPOINTS ?= checkpoints
REPOSITORY ?= repository
SERVE_FLAGS ?=
EXPORT_FLAGS ?=
LOAD_FLAGS ?= --rate 250,500,1000,2000,4000 --slo p99=20ms --length 1:64 --duration 5
BENCH_FLAGS ?=
GROWTH_FLAGS ?=
ZOO_FLAGS ?=
MUTANTS_FLAGS ?=
CONFORMANCE_FLAGS ?=
DIST_FLAGS ?=
GPU_FLAGS ?=
GPU_VENV ?= .venv-gpu
IMAGE ?= localhost/rnnserve:latest
IMAGE_BASE ?= docker.io/library/python:3.13-slim-trixie
IMAGE_PYTHON ?= 3.13
IMAGE_BUILD ?= podman build --format docker
COMMIT ?=
FUZZ_INPUTS ?= 100000
FUZZ_REQUESTS ?= 1000000
RULES_SECONDS ?= 600

# Tests run in parallel, in one process more than there are cores, because tests also wait. The tests of a file run in one
# process, because they share fixtures. Tests that run make must not inherit this make's jobs. Tests start hundreds of
# processes, which share bytecode.
TEST_JOBS ?= $(shell expr $$(nproc) + 1)
TEST_FLAGS ?=
PYTEST := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest
COVERED := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL $(BIN)/coverage run -m pytest
# In the order of the folders. By default, files with few tests start last, but these are the slow ones.
PARALLEL := --numprocesses $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(TEST_FLAGS)
CAMPAIGN := PYTHONPATH=tests $(BIN)/python -m

# Checks that aren't worth their effort in tests: annotations of every test and fixture; None, because an unexpected None
# fails the test anyway; unreachable code, because mypy still believes an assert about a property after a call has
# changed it.
MYPY_TESTS := --follow-imports silent --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls \
	--allow-any-generics --no-warn-return-any --no-strict-optional --no-warn-unreachable \
	--disable-error-code var-annotated --disable-error-code func-returns-value

# `export` is also a folder. Without .PHONY, `make export` would report that it is up to date.
.PHONY: help setup docs docs-serve export verify serve test test-full test-all coverage drills drills-long check mutants fuzz \
	operators rules conformance format picture dist protos demo-model load zoo ray-test bench compare growth gpu gpu-setup image \
	image-test clean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

setup: $(VENV)/.installed ## create .venv and install the project into it

# Check the version of Python $(1). For an old one, pip would only report "ResolutionImpossible".
define need_python
{ $(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "make: rnnserve needs Python 3.11 or newer, and $(1) is $$($(1) --version 2>&1 || true). $(2)" >&2; exit 1; }; }
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	@if test -e $(BIN)/python; then $(call need_python,$(BIN)/python,Remove $(VENV) and try again.); \
		else $(call need_python,$(PYTHON),Choose another: make setup PYTHON=python3.12); fi
	@echo "make: installing the project into $(VENV): about a minute, and 1.2 GB on disk" >&2
	@test -e $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(CHECKPOINTS)/%/checkpoint.json: | setup
	@$(BIN)/rnnserve train $* --checkpoints $(CHECKPOINTS)

export: setup $(MODELS:%=$(CHECKPOINTS)/%/checkpoint.json) ## train missing models, then export, verify and publish all of them
	$(BIN)/rnnserve export $(MODELS) --checkpoints $(CHECKPOINTS) --repository $(REPOSITORY) $(EXPORT_FLAGS)

$(REPOSITORY)/%/config.pbtxt: $(CHECKPOINTS)/%/checkpoint.json | setup
	@$(BIN)/rnnserve export $* --checkpoints $(CHECKPOINTS) --repository $(REPOSITORY) $(EXPORT_FLAGS)
	@$(BIN)/rnnserve verify $(REPOSITORY) $*
	@touch $@

verify: setup ## verify all versions in the repository again
	$(BIN)/rnnserve verify $(REPOSITORY)

serve: setup $(MODELS:%=$(REPOSITORY)/%/config.pbtxt) ## train, export and verify missing models; serve gRPC on 127.0.0.1:8001 and a page on :8000
	@echo 'make: when the server is ready, open the page at the address in its log, or send a request from a second terminal:' >&2
	@echo "    echo '[[[-1, -1], [-1, 1], [1, 1]], [[1, 1], [-1, 1]]]' | $(BIN)/rnnserve infer direction_simple" >&2
	$(BIN)/rnnserve serve $(REPOSITORY) $(SERVE_FLAGS)

load: setup $(MODELS:%=$(REPOSITORY)/%/config.pbtxt) ## start a server and load-test it; write load.html and load.json
	$(BIN)/rnnserve load --serve $(REPOSITORY) --html load.html --json load.json $(LOAD_FLAGS)

test: setup ## run the core tests: the first test of every promise, in five minutes
	$(PYTEST) $(PARALLEL)

test-full: setup ## run the broader tests in tests/full, in ten minutes
	$(PYTEST) $(PARALLEL) tests/full

test-all: test test-full ## run the core tests, then the full tests

coverage: setup ## run all tests, measure their coverage, and print the report
	$(BIN)/coverage erase
	@# Two runs, because pytest leaves out a folder inside another folder from its arguments.
	$(COVERED) $(PARALLEL) tests
	$(COVERED) $(PARALLEL) tests/full
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

drills: setup ## attack servers; other clients must notice little of it
	$(PYTEST) tests/campaigns/drills

drills-long: setup ## run the drills that take minutes
	$(PYTEST) tests/campaigns/drills -m long

check: setup ## check style, types, import contracts, generated stubs, prose and manifests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# In parallel: the sources, and the tests with separate options and a separate cache.
	$(BIN)/mypy & sources=$$!; status=0; \
	$(BIN)/mypy $(MYPY_TESTS) --cache-dir .mypy_cache/tests tests || status=$$?; wait $$sources && exit $$status
	$(BIN)/lint-imports
	$(BIN)/python protos/generate.py --check
	$(BIN)/python docs/tools/write_reference.py --check
	$(BIN)/python docs/tools/prose.py --check
	$(BIN)/hadolint deploy/Containerfile
	$(BIN)/python deploy/check.py

ray-test: setup ## install Ray (200 MB) and test `rnnserve ray` on three nodes; needs root for network namespaces
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,ray]'
	$(PYTEST) -m 'long or not long' tests/cluster tests/full/cluster

mutants: setup ## change the code in one place at a time, and print the changes that no test notices
	$(CAMPAIGN) campaigns.mutants judge $(MUTANTS_FLAGS)

fuzz: setup ## read mutated inputs, and send mutated requests to all transports, for half an hour
	$(PYTEST) tests/campaigns/fuzzing
	$(CAMPAIGN) campaigns.fuzzing read --inputs $(FUZZ_INPUTS)
	$(CAMPAIGN) campaigns.fuzzing differential --requests $(FUZZ_REQUESTS)

operators: setup ## compare every operator of torch on extreme values, in ten minutes
	$(PYTEST) $(PARALLEL) tests/campaigns/operator_grid

rules: setup ## test the rules of the graph analysis on random graphs, for RULES_SECONDS
	$(CAMPAIGN) campaigns.rule_validator --seconds $(RULES_SECONDS)

conformance: setup ## test the server with other clients from package registries
	$(PYTEST) -v -rs tests/campaigns/conformance $(CONFORMANCE_FLAGS)

format: setup ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## write the generated pages in docs/, and build the site in site/
	$(BIN)/python docs/tools/write_reference.py
	$(BIN)/python docs/tools/build_site.py

docs-serve: setup ## build the site, and show it at http://127.0.0.1:8080/
	$(BIN)/python docs/tools/build_site.py --serve

picture: setup $(MODELS:%=$(REPOSITORY)/%/config.pbtxt) ## take new screenshots of the page; needs Debian's chromium
	$(BIN)/python -m pip install --quiet playwright
	$(BIN)/python docs/tools/picture.py $(REPOSITORY)

dist: setup ## build the last commit's wheel and sdist twice into dist/, compare them, and test them in new environments
	$(BIN)/python deploy/dist.py $(DIST_FLAGS)

demo-model: setup ## make the packaged model of `rnnserve demo` again
	$(BIN)/python load/make_demo_model.py

protos: setup ## generate the stubs from the .proto files
	$(BIN)/python protos/generate.py

zoo: setup ## publish the modules of examples/zoo, and print the results
	$(BIN)/python examples/zoo $(ZOO_FLAGS)

bench: setup ## compare the speed with Triton and others; BENCH_FLAGS=--quick for a short run
	$(BIN)/python -m benchmarks $(BENCH_FLAGS)

compare: setup ## compare the speed with another commit: make compare COMMIT=main
	@test -n "$(COMMIT)" || { echo "make compare: name a commit, for example COMMIT=HEAD~1"; exit 1; }
	$(BIN)/python -m benchmarks --against '$(COMMIT)' $(BENCH_FLAGS)

gpu-setup: ## create .venv-gpu with onnxruntime-gpu, for `make gpu`
	test -x $(GPU_VENV)/bin/python || $(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@# Both packages have the same files, so removing one would break the other.
	$(GPU_VENV)/bin/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu
	$(GPU_VENV)/bin/python -m pip install --quiet --constraint constraints.txt 'onnxruntime-gpu[cuda,cudnn]'

gpu: ## verify and measure on CUDA, without a network (docs/operate/gpu.md)
	@test -x $(GPU_VENV)/bin/python || { echo "make gpu: $(GPU_VENV) does not exist; create it with make gpu-setup (docs/operate/gpu.md)"; exit 1; }
	$(GPU_VENV)/bin/python -m benchmarks.gpu $(GPU_FLAGS)

growth: setup ## measure the cost of requests of growing sizes, beside its lower bounds
	$(BIN)/python -m benchmarks.growth $(GROWTH_FLAGS)

image: setup ## build the container image with podman (or IMAGE_BUILD); IMAGE names it, IMAGE_BASE is its base
	rm -rf .image/context
	@# The image is built without a network or a compiler, from wheels for its Python.
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir .image/context/wheels .
	$(BIN)/python -m pip download --quiet --only-binary :all: --python-version $(IMAGE_PYTHON) --constraint constraints.txt \
		--dest .image/context/wheels "$$(echo .image/context/wheels/rnnserve-*.whl)[server,web]"
	$(IMAGE_BUILD) --file deploy/Containerfile --build-arg BASE=$(IMAGE_BASE) --tag $(IMAGE) .image/context

image-test: setup ## build the image on a Debian base, and run it; needs root, buildah, podman, runc and debootstrap
	$(PYTEST) tests/full/deploy/test_image.py -m long

clean: ## remove everything that these targets made, including models
	rm -rf $(VENV) $(CHECKPOINTS) $(REPOSITORY) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf .coverage .coverage.* .docs site .venv-bench* .venv-perf .venv-conformance .venv-gpu .bench .image benchmarks/results load.html load.json
