# make demo | test | check | bench | model | experiments | docs | vendor: each creates .venv first, if it does not exist.
# make dist | wheels | fresh | lowest | publish-docs: for a release, as CONTRIBUTING.md says.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PLATFORMS := linux-x86_64 linux-aarch64 macos-x86_64 macos-arm64 windows-x86_64

.PHONY: demo test check bench model experiments docs vendor dist wheels fresh lowest publish-docs clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/stormcell demo --out demo

# Two processes with one thread each: threads of both would wait for each other.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --durations=10

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

# A wheel for each platform, with C kernels, in the folder dist. Zig's compiler comes as a package.
wheels: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --requirement requirements-wheels.lock
	for platform in $(PLATFORMS); do \
		STORMCELL_WHEEL=$$platform $(BIN)/python -m build --wheel --no-isolation --outdir dist || exit 1; \
	done

# The map's files from other projects, at the versions in the script. Needs npm; the results are committed.
vendor: $(INSTALLED)
	$(BIN)/python tools/vendor.py

# The sdist, the wheel that is built from it, and a check of their metadata. Needs no network.
dist: $(INSTALLED)
	rm -f dist/stormcell-*.tar.gz dist/stormcell-*-none-any.whl
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

# Installs the wheel in dist elsewhere, with the Python that PYTHON names, and tries what README shows.
fresh:
	$(PYTHON) tools/fresh.py

# Tests the lower bounds of pyproject.toml. UV_TORCH_BACKEND=cpu takes PyTorch without CUDA.
lowest: $(INSTALLED)
	$(BIN)/python tools/lowest.py

# Adds this version of the site to those on the branch gh-pages, which is not pushed.
publish-docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mike deploy --update-aliases \
		$$($(BIN)/python -c 'import stormcell; print(stormcell.__version__)') latest
	$(BIN)/mike set-default latest

clean:
	rm -rf $(VENV) $(VENV)-lowest-* demo dist site

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
