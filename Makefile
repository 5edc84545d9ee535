# Everything runs in .venv, which the first target makes; nothing else has to be installed but Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tests start hundreds of processes: what one of them compiled serves all.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test prove prove-ray lowest mutants peers lint docs clean constraints browser

demo: $(STAMP)
	$(BIN)/medshards demo

test: $(STAMP) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# The long proofs: hundreds of kills, thousands of damages.
prove: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow
	MEDSHARDS_FUZZ=500 $(BIN)/python -m pytest -n 2 tests/curate/test_fuzz.py

# Which changes of a room's code its tests do not notice: make mutants ROOM=vocab ONLY=vocabulary.py
mutants: $(STAMP)
	tests/mutants.sh $(CURDIR)/$(BIN)/python $(ROOM) $(ONLY)

# Builds on a Ray cluster of two nodes, processes on this machine.
prove-ray: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[ray]'
	$(BIN)/python -m pytest -m slow tests/shards/cluster/test_ray.py

# The curating rooms with the lowest versions that pyproject.toml allows, in an environment of its own.
lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)-lowest/bin/uv pip install --quiet --python $(VENV)-lowest/bin/python --resolution lowest-direct --editable '.[test]'
	$(VENV)-lowest/bin/python -m pytest tests/common tests/vocab tests/curate tests/shards/build tests/shards/encode

# What benchmarks/peers.py compares, in an environment of its own; without what they ask for and do not need here.
peers:
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,s3,dev]'
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement benchmarks/peers.txt
	$(VENV)-peers/bin/python -m benchmarks.peers

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n 2

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev]'
	touch $(STAMP)

# The pages that are written from the code.
docs: $(STAMP)
	$(BIN)/python -m medshards.train.reference > docs/config.md.new
	mv docs/config.md.new docs/config.md

# What the tests of the site drive; they skip without it.
browser:
	command -v chromium || $$(command -v sudo) apt-get install --yes chromium

# The versions that `make` installs, as they are now in .venv.
constraints: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,s3,dev]'
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-lowest demo
