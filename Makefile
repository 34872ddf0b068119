# make demo | test | check | bench | model | experiments | docs | vendor: each creates .venv first, if it does not exist.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test check bench model experiments docs vendor clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/stormcell demo --out demo

test: $(INSTALLED)
	$(BIN)/python -m pytest --durations=10

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.layers --docs
	$(BIN)/python -m benchmarks

# The model that is shipped, from the radar files of the data folder: hours, resumable.
model: $(INSTALLED)
	$(BIN)/python -m benchmarks.model --ship --docs

experiments: $(INSTALLED)
	$(BIN)/python -m benchmarks.experiments

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The map's files from other projects, at the versions in the script. Needs npm; the results are committed.
vendor: $(INSTALLED)
	$(BIN)/python tools/vendor.py

clean:
	rm -rf $(VENV) demo site

# pysteps must be compiled. Without it, the baselines pysteps-sprog, anvil and steps are missing.
$(INSTALLED): requirements.lock requirements-pysteps.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Stormcell needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@if echo 'int main(void) { return 0; }' | $(CC) -fopenmp -x c -o $(VENV)/openmp - 2>/dev/null; then \
		echo "compiling pysteps, for pysteps-sprog, anvil and steps"; \
		$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-pysteps.lock \
			|| echo "pysteps could not be compiled: continuing without pysteps-sprog, anvil and steps"; \
	else \
		echo "no C compiler with OpenMP: continuing without pysteps, so without pysteps-sprog, anvil and steps"; \
	fi
	@touch $@
