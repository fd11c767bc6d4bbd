# Shows, checks and tests Footplate. The machine needs Python 3.11 or newer (with venv), make and git.
PYTHON = python3
BIN = .venv/bin
# Some machines switch bytecode off for everything; what is measured and tested here is how it is used: with it.
RUN = env PYTHONDONTWRITEBYTECODE=
PYTEST = $(RUN) FOOTPLATE_CHECK_TREE=1 $(BIN)/python -m pytest

.PHONY: help demo check test static bench soak docs constraints clean

help:
	@echo 'make demo         train on real handwritten digits, from nothing; prints accuracy and report'
	@echo 'make test         everything that continuous integration runs'
	@echo 'make check        format, lint, types, import contracts, unit tests (two minutes at most)'
	@echo 'make bench        start-up, journal and training-step benchmarks, with their limits'
	@echo 'make soak         long kills and drills'
	@echo 'make docs         write the generated pages of docs/ again'
	@echo 'make constraints  write constraints.txt from what is installed in .venv'
	@echo 'make clean        remove what tests, demos and tools have left (.venv stays)'

# One resolve for everything: installing step by step ends with broken requirements.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo 'Installing Footplate and PyTorch into .venv; this takes a minute or two, once.'
	$(PYTHON) -m venv .venv
	$(RUN) $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,mlflow,tensorboard,wandb,plots,dev]'
	touch $@

demo: .venv/installed
	mkdir -p .work/demo
	cd .work/demo && $(RUN) ../../$(BIN)/footplate init quickstart --force && $(RUN) ../../$(BIN)/footplate train
	@echo && echo "The page about it: $$(ls -td $(CURDIR)/.work/demo/runs/*/report.md | head -1)"
	@echo "To use it in this shell: . $(CURDIR)/$(BIN)/activate"

static: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: static
	$(PYTEST) -n auto tests/unit

# A file stays with one process: its tests share what is expensive, such as trainings and groups of processes.
test: static
	$(PYTEST) -n auto --dist loadfile

# What we compare with lives in an environment of its own: it is no part of the product.
.work/peers/installed: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv .work/peers
	$(RUN) .work/peers/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[train]' --requirement benchmarks/requirements.txt
	touch $@

# Its dependencies cannot be had together with those of the other peers.
.work/trackio/installed:
	$(PYTHON) -m venv .work/trackio
	$(RUN) .work/trackio/bin/python -m pip install --quiet 'trackio>=0.20'
	touch $@

bench: .venv/installed .work/peers/installed .work/trackio/installed
	$(RUN) $(BIN)/python benchmarks/startup.py
	$(RUN) $(BIN)/python benchmarks/journal.py
	$(RUN) $(BIN)/python benchmarks/shipping.py
	$(RUN) $(BIN)/python benchmarks/checkpoint.py
	$(RUN) .work/peers/bin/python benchmarks/step_time.py

soak: .venv/installed
	$(PYTEST) -m soak --timeout=3600

docs: .venv/installed
	for script in tools/write_*docs.py; do $(RUN) $(BIN)/python "$$script" || exit 1; done

constraints: .venv/installed
	$(BIN)/python tools/write_constraints.py

clean:
	rm -rf .work runs dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests tools benchmarks examples -name __pycache__ -exec rm -rf {} +
