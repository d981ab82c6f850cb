# Needs Python 3.11 to 3.14, git and make. Everything else goes into .venv.
#   make PYTHON=/path/to/python    uses that interpreter instead of the newest one found.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# The certificates of the machine, as pip uses them: behind a proxy there are no others.
export UV_SYSTEM_CERTS ?= true

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
READY := $(VENV)/.ready

# ------------------------------------------------------------------ the environment

# The newest interpreter that starts, is 3.11 to 3.14, and can make environments. A name on PATH is no
# proof: version managers leave stubs behind for versions that are not installed.
FIND_PYTHON = for p in $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3 python); do \
	if "$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1; \
	then command -v "$$p"; break; fi; done

$(READY): requirements.txt pyproject.toml
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then \
	  echo "No usable Python found. This needs Python 3.11, 3.12, 3.13 or 3.14 with its venv module" >&2; \
	  echo "(on Debian and Ubuntu: apt install python3-venv), or make PYTHON=/path/to/python." >&2; exit 1; fi; \
	if [ ! -x $(PY) ] || ! $(PY) -c '' 2>/dev/null; then \
	  echo "Making $(VENV) with $$python ($$("$$python" --version))"; \
	  rm -rf $(VENV); "$$python" -m venv $(VENV); fi; \
	echo "Installing the packages of requirements.txt into $(VENV)"; \
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps "$$(grep -m1 '^uv==' requirements.txt)"; \
	$(BIN)/uv pip install --quiet --python $(PY) --no-deps -r requirements.txt; \
	$(BIN)/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .; \
	touch $@

.PHONY: .venv
.venv: $(READY) ## make the environment

.PHONY: lock
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group site --group test --no-annotate --no-header
lock: $(READY) ## remake requirements.txt, taking the newest versions that pyproject.toml allows
	@$(BIN)/$(LOCK) --quiet --upgrade > $(VENV)/lock.txt
	@{ echo "# Remade by \`make lock\`: $(LOCK) --upgrade"; cat $(VENV)/lock.txt; } > requirements.txt

.PHONY: help
help: ## list the targets
	@grep -hE '^[.a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([^:]+):.*## (.*)/\1|\2/' | while IFS='|' read -r target text; do printf '  make %-10s %s\n' "$$target" "$$text"; done

# ------------------------------------------------------------------ the book

# One BLAS thread: the products are small, and sums come out the same on any number of cores.
JB := PYTHONWARNINGS= OPENBLAS_NUM_THREADS=1 $(BIN)/jupyter-book build . -n -W --keep-going
SITE := _build/html/.complete
SOURCES := $(shell find ngdlib book tests benchmarks/results \( -name '*.py' -o -name '*.json' -o -name '*.npz' -o -name '*.md' -o -name '*.bib' -o -path 'book/_*' \) \
	-type f ! -path '*/__pycache__/*' 2>/dev/null)
CHAPTERS := $(wildcard book/*/*.md)

# A failed build must not leave pages that the next one takes for done: their warnings would not come back.
define BUILD_FAILED
{ rm -rf _build/.doctrees _build/html/.complete; \
  mkdir -p _build/reports; cp -R _build/html/reports/. _build/reports/ 2>/dev/null || true; \
  echo "The book was not built; see above." >&2; exit 1; }
endef

$(SITE): $(READY) _config.yml _toc.yml $(SOURCES)
	@echo "Building the book (chapters run once, then only when they or ngdlib change)"
	@if [ -e $@ ] && [ -n "$(filter _toc.yml _config.yml,$?)" ]; then rm -rf _build/.doctrees _build/html; fi
	@$(JB) --quiet || $(BUILD_FAILED)
	@touch $@

.PHONY: book
book: $(SITE) ## build the website
	@echo "The book is in $(CURDIR)/_build/html ($$(du -sh _build/html | cut -f1)); open index.html or run: make serve"

PORT ?= 8000
.PHONY: serve
serve: book ## show the website on this machine
	@echo "Reading at http://localhost:$(PORT), until Ctrl-C"
	@$(PY) -m http.server $(PORT) --bind localhost --directory _build/html

.PHONY: page
page: $(READY) ## preview one chapter fast: make page P=book/02-approximations/exact
	@name=$(basename $(notdir $(P))); out=_build/preview/$$name; mkdir -p $$out; \
	printf 'format: jb-book\nroot: book/index\nchapters:\n  - file: %s\n' "$(basename $(P))" > $$out/toc.yml; \
	$(BIN)/jupyter-book build . -n --keep-going --toc $$out/toc.yml --path-output $$out > $$out/log.txt 2>&1 || \
	{ tail -40 $$out/log.txt; exit 1; }; \
	grep -a WARNING $$out/log.txt | grep -v IPKernelApp || echo "no warnings"; \
	echo "$$out/_build/html/$(basename $(P)).html"

# ------------------------------------------------------------------ notebooks

# Made in a folder of its own first, so that a test can compare; NOTEBOOKS=DIR writes them elsewhere.
NOTEBOOKS ?= .
.PHONY: notebooks
notebooks: book ## remake the notebooks beside the chapters
	@echo "Writing the notebooks of all chapters"
	@rm -rf _build/jupyter
	@PYTHONWARNINGS= $(BIN)/jupyter-book build . -n -W --keep-going --quiet --builder=custom --custom-builder=jupyter \
	  || $(BUILD_FAILED)
	@$(PY) book/_ext/notebooks.py _build/jupyter $(NOTEBOOKS)

.PHONY: lab
lab: $(READY) ## open JupyterLab with the chapters as notebooks (copies, in lab/)
	@$(PY) book/_ext/lab.py book lab
	@$(BIN)/jupyter lab --notebook-dir=lab

# ------------------------------------------------------------------ tests

CHROMIUM = command -v chromium || command -v chromium-browser || command -v google-chrome || \
	$(PY) book/_ext/chromium.py
.PHONY: chromium
chromium: $(READY)
	@if ! { $(CHROMIUM); } >/dev/null 2>&1; then \
	  echo "Installing Chromium for the browser tests"; mkdir -p _build; \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } </dev/null >_build/chromium.log 2>&1 || true; \
	  elif command -v apt-get >/dev/null && command -v sudo >/dev/null && sudo -n true 2>/dev/null; then \
	    { sudo -n apt-get update -q && sudo -n apt-get install -y -q --no-install-recommends chromium; } </dev/null >_build/chromium.log 2>&1 || true; \
	  fi; \
	  if ! { $(CHROMIUM); } >/dev/null 2>&1; then $(BIN)/playwright install chromium || true; fi; \
	  if ! { $(CHROMIUM); } >/dev/null 2>&1; then \
	    echo "No Chromium, and it could not be installed: install it (Debian: apt install chromium) and try again." >&2; exit 1; fi; fi

PYTEST := OPENBLAS_NUM_THREADS=1 $(PY) -m pytest
WORKERS ?= 2

.PHONY: lint
lint: $(READY) ## style and types
	@echo "Checking style and types"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "Not formatted; run: make format" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary

.PHONY: format
format: $(READY) ## put the code in the project's style
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

.PHONY: quick
quick: lint ## style, types and the tests that take seconds
	@$(PYTEST) -q -n $(WORKERS) -m "not slow and not browser and not book"

# The browser's tests apart: Playwright keeps an event loop in its process, and the widgets' tests start their own.
.PHONY: test
test: lint chromium book ## everything that CI runs
	@$(PYTEST) -q -n $(WORKERS) --dist loadgroup -m "not browser"
	@$(PYTEST) -q -n 1 -m browser

.PHONY: clean
clean: ## remove what was built (the environment stays; to remove that too: rm -rf .venv)
	@rm -rf _build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find ngdlib book tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
