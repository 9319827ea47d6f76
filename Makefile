# Two commands, each enough by itself on a fresh machine (Python >= 3.10, a C++20 compiler, CMake, a package index):
#
#   make demo    install, build, then search the documentation of this machine's own Python
#   make test    install, build, then run the Python tests and the examples in docstrings
#
# Variables: PYTHON (interpreter that makes .venv), TORCH_VERSION and TORCH_INDEX (another torch than the one in
# constraints/torch.txt, or another package index to take it from, such as the one with PyTorch's CPU builds).

PYTHON ?= python3
TORCH_VERSION ?=
TORCH_INDEX ?=

BIN := .venv/bin
ENGINE := CMakeLists.txt $(shell find engine -name '*.cc' -o -name '*.h' -o -name CMakeLists.txt)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
IS_NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 10))'
TORCH_CHOICE := torch=$(or $(TORCH_VERSION),constrained) index=$(or $(TORCH_INDEX),default)

.PHONY: demo test test-large test-integrations test-cpp sanitize lint types format peers pylate-env clean FORCE
.DELETE_ON_ERROR:

demo: .venv/.demo
	@$(BIN)/serotine demo

test: .venv/.dev
	$(BIN)/python -m pytest

# An index with a file beyond 4 GiB: 10 GB of disk and some minutes. Not part of CI; `make test` skips it.
test-large: .venv/.dev
	SEROTINE_LARGE=1 $(BIN)/python -m pytest tests/indexes/plaid/test_large.py

# Contracts with other frameworks, which are not part of CI: `make test` skips what is not installed. Each is installed
# on its own, so that one that is not to be had leaves the others; its tests are then skipped with the reason.
test-integrations: .venv/.dev
	@for extra in rerankers langchain llama-index haystack pyterrier mcp; do \
		$(PIP) --editable ".[$$extra]" || echo "$$extra cannot be installed: its tests are skipped" >&2; \
	done
	@$(PIP) langchain-classic || echo "langchain-classic cannot be installed: its test is skipped" >&2
	$(BIN)/python -m pytest tests/integrations -rs

# The environment, in steps whose stamps make a second run start at once.
$(BIN)/python:
	@$(PYTHON) $(IS_NEW_ENOUGH) || { echo "Python >= 3.10 is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv .venv

# Looked at in every run, written only when another torch is asked for than last time.
.venv/.torch-choice: FORCE | $(BIN)/python
	@test "$$(cat $@ 2>/dev/null)" = '$(TORCH_CHOICE)' || echo '$(TORCH_CHOICE)' > $@

# An installed torch of the right version satisfies pip wherever it came from, hence --force-reinstall with an index.
.venv/.torch: constraints/torch.txt .venv/.torch-choice
	@$(BIN)/python $(IS_NEW_ENOUGH) || \
		{ echo ".venv has a Python before 3.10: make clean, then make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Installing torch into .venv (once, a minute or two)"
	@$(PIP) $(if $(TORCH_INDEX),--force-reinstall --index-url $(TORCH_INDEX)) \
		$(if $(TORCH_VERSION),torch==$(TORCH_VERSION),--constraint constraints/torch.txt torch)
	@touch $@

.venv/.demo: .venv/.torch pyproject.toml $(ENGINE)
	@echo "Building the engine and installing Serotine into .venv"
	@$(PIP) --editable '.[demo]'
	@touch $@

.venv/.dev: .venv/.torch pyproject.toml $(ENGINE)
	@echo "Building the engine and installing Serotine and its development tools into .venv"
	@$(PIP) --editable '.[dev]'
	@touch $@ .venv/.demo

# The engine's own tests: no Python in the process. `sanitize` runs them under ASan and UBSan.
test-cpp: .venv/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --preset release
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build --preset release
	PATH="$(CURDIR)/$(BIN):$$PATH" ctest --preset release

sanitize: .venv/.dev
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --preset asan-ubsan
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build --preset asan-ubsan
	PATH="$(CURDIR)/$(BIN):$$PATH" ctest --preset asan-ubsan

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	find engine -name '*.cc' -o -name '*.h' | xargs $(BIN)/clang-format --dry-run --Werror

types: .venv/.dev
	$(BIN)/mypy

format: .venv/.dev
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format
	find engine -name '*.cc' -o -name '*.h' | xargs $(BIN)/clang-format -i

# What benchmarks/engines.py compares with, in an environment of its own: it needs another torch. 5 GB; not part of CI.
peers: build/peers-env/.installed

build/peers-env/.installed: benchmarks/peers/engines.txt
	@$(PYTHON) -m venv build/peers-env
	build/peers-env/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# PyLate itself: what the golden vectors in tests/golden come from. Another 5 GB; not part of CI either.
pylate-env: build/pylate-env/.installed

build/pylate-env/.installed: benchmarks/peers/pylate.txt
	@$(PYTHON) -m venv build/pylate-env
	build/pylate-env/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

clean:
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache serotine-demo
