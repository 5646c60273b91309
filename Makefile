# Recommender Systems with Language Models: A Measured Course.
# Every target makes the environment in .venv first, if it is not there. See CONTRIBUTING.md.
# Use another Python: make setup PYTHON=/path/to/python3.12
# Pass options on:    make test ARGS=--fast

PY := .venv/bin/python
ARGS ?=
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup book test lab execute labs lint format bench serve lock clean

help:  ## this list
	@echo "Targets:"
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | \
	  awk -F '|' '{ printf "  make %-9s %s\n", $$1, $$2 }'

# python3 may be missing, or a launcher that finds nothing to launch.
setup:  ## make the environment in .venv (once; a few minutes)
	@for p in python3 python3.13 python3.12 python3.11 python; do \
	  if $$p -c "" >/dev/null 2>&1; then exec $$p tools/bootstrap.py; fi; \
	done; \
	echo "setup: no Python found. Install Python 3.11, 3.12 or 3.13." >&2; exit 1

book: setup  ## check the stored outputs and build the site into _build/html
	@$(PY) -m tools.book $(ARGS)

test: setup  ## every check: style, tests, all cells of all notebooks (ARGS=--fast: no cells)
	@$(PY) -m tools.test $(ARGS)

lab: setup  ## open the labs in JupyterLab, as copies in my-labs/
	@mkdir -p my-labs && cp -Rn labs/. my-labs/ 2>/dev/null || true
	@$(PY) -m jupyterlab $(ARGS) my-labs

execute: setup  ## run notebooks in place, the stale ones only
	@$(PY) -m tools.execute $(ARGS)

labs: setup  ## make labs/ anew from solutions/
	@$(PY) -m tools.labs $(ARGS)

lint: setup  ## check the style of code and notebooks
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

format: setup  ## mend the style of code and notebooks
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .

bench: setup  ## compare with public libraries (benchmarks/, an environment of its own)
	@$(PY) -m benchmarks $(ARGS)

serve: setup  ## show the built site at an address on this machine
	@$(PY) -m tools.serve $(ARGS)

lock: setup  ## pin requirements.in into lock.txt (ARGS=--upgrade: take the newest that fit)
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m uv pip compile --quiet $(ARGS) \
	  requirements/requirements.in --output-file requirements/lock.txt
	@echo "requirements/lock.txt is up to date. Now: make setup, make test."

clean:  ## remove what was built; .venv stays
	rm -rf _build .cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
