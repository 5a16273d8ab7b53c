# Every target does the set-up it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo bench check test test-fast lint audit gpu gpu-quick clean

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
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(STAMP)
	$(BIN)/python -m pytest -m "not slow"

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
	rm -rf $(VENV) data/demo data/demo-texts experiments/pretraining/demo experiments/finetuning/demo experiments/finetuning/demo-scratch
