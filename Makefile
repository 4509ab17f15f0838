# Each target sets everything up by itself on a fresh machine: a virtual environment, the dependencies, then the work.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0
export HF_HUB_OFFLINE := 1

.PHONY: demo test test-slow lint clean

demo: $(STAMP)
	$(VENV)/bin/mmreflect demo $(ARGS)

test: $(STAMP) lint
	$(VENV)/bin/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile $(ARGS)

test-slow: $(STAMP) lint
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(STAMP): pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet torch torchvision
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev,video]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) outputs .mypy_cache .ruff_cache .pytest_cache dist
