# Two commands do everything:   make book   make test
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Exactly the files whose hashes are recorded.
LOCKED := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r
# CHAPTER=b6 restricts `make test` and `make execute` to chapters whose name starts with b6.
CHAPTER ?=
CHOSEN  := $(basename $(notdir $(wildcard book/$(CHAPTER)*.md)))
JOBS    ?= 2
# What `make mutants` changes: modules of the library, room/module.
MODULE  ?= curvature/trace symmetry/orbits feasibility/pairs

ifeq ($(CHOSEN),)
$(error no chapter starts with "$(CHAPTER)"; the book has $(basename $(notdir $(wildcard book/*.md))))
endif

# Worker processes share the cores, so each computes with one thread; results do not depend on it.
export OMP_NUM_THREADS ?= 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export JUPYTER_PLATFORM_DIRS := 1
# Every test starts processes that load PyTorch, 5 s each where modules are never kept compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: book lint test execute pages pdf verify mutants lock benchmarks clean help

help:
	@echo "make book         set up, execute the chapters that changed, render _build/html/index.html"
	@echo "make test         set up, run lint, unit tests, doctests and the regression test of every chapter"
	@echo "make test CHAPTER=b6   only the regression test of the chapters whose name starts with b6"
	@echo "make execute      execute the chapters that changed (CHAPTER=name: that one, changed or not)"
	@echo "make lint         format, lint and types: ruff and mypy"
	@echo "make pages        the rendered book in an installed Chromium: links, mathematics, contrast, phone, search"
	@echo "make pdf          the rendered book as one PDF, printed by an installed Chromium"
	@echo "make verify       compute a sample of the recorded full-scale results again and compare"
	@echo "make mutants      small changes of a module that its tests do not notice (MODULE=curvature/trace: that module)"
	@echo "make lock         the .lock files from the requirements that changed, with hashes"
	@echo "make benchmarks   comparisons with peers, printed as ratios"
	@echo "make clean        remove the environment and the rendered book"

$(READY): requirements.txt pyproject.toml tools/environment.py
	@$(PYTHON) tools/environment.py $(VENV) requirements.txt .

execute: $(READY)
	@$(BIN)/python book/execute.py --jobs $(JOBS) $(if $(CHAPTER),$(CHOSEN))

book: $(READY)
	@start=$$(date +%s); { $(BIN)/python book/render.py --check && echo "== nothing has changed"; } || { \
	$(MAKE) --no-print-directory execute && \
	echo "== rendering, warnings are errors" && \
	$(BIN)/python book/render.py; } && \
	echo "== the book is at $(CURDIR)/_build/html/index.html ($$(( $$(date +%s) - start )) s)"

test: $(READY) $(if $(CHAPTER),,lint) $(filter book,$(MAKECMDGOALS))
	@for name in $(if $(CHAPTER),$(CHOSEN)); do test -f book/$$name.ipynb || \
	    { echo "book/$$name.md has not been executed yet: make execute CHAPTER=$$name" >&2; exit 1; }; done
	@start=$$(date +%s); \
	echo "== $(if $(CHAPTER),chapters $(CHAPTER)*: every cell re-executed and compared,unit tests, doctests, and every cell of every chapter re-executed and compared)" && \
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --nbval --nbval-current-env --nbval-cell-timeout 900 \
	    $(if $(CHAPTER),$(CHOSEN:%=book/%.ipynb),tests src book) && \
	echo "== all passed ($$(( $$(date +%s) - start )) s)"

lint: $(READY)
	@start=$$(date +%s); $(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/mypy && \
	echo "== format, lint and types are right ($$(( $$(date +%s) - start )) s)"

$(VENV)/.browser: $(READY) requirements-browser.lock
	@$(LOCKED) requirements-browser.lock
	@touch $@

pages: $(VENV)/.browser book
	@$(BIN)/python -m pytest -q -rs tests/test_pages.py

pdf: $(VENV)/.browser book
	@$(BIN)/python book/print.py

verify: $(READY)
	@LONG_PROPERTIES=1 $(BIN)/python -m pytest -q -m "" -n $(JOBS) tests
	@$(BIN)/python -m flat_or_weak verify

$(VENV)/.mutation: $(READY) requirements-mutation.lock
	@$(LOCKED) requirements-mutation.lock
	@touch $@

mutants: $(VENV)/.mutation
	@JOBS=$(JOBS) $(BIN)/python tools/mutation.py $(MODULE)

# Versions that are locked stay, unless the requirements say otherwise; to renew all, delete the .lock files first.
lock: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@for name in requirements requirements-browser requirements-mutation; do \
	    touch $$name.lock && cp $$name.lock $$name.lock.tmp && \
	    $(BIN)/uv pip compile $$name.txt $$(test $$name = requirements || echo --constraint requirements.lock) --universal \
	        --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet -o $$name.lock.tmp && \
	    (echo "# Every package that \`$$name.txt\` leads to, on every platform, with the hashes of its files; made by \`make lock\`."; \
	     cat $$name.lock.tmp) > $$name.lock && rm $$name.lock.tmp || exit 1; done

benchmarks: $(READY)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) _build .pytest_cache .hypothesis .mypy_cache .ruff_cache
