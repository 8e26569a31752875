# `make demo` and `make test` need Python 3.10 to 3.14 and nothing else: they make `.venv` themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help install demo test test-isa coverage lint clean
help:            ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: $(VENV)/.installed  ## make .venv with the package and its test tools

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[lite,test]'
	@# mmcv asks for opencv-python, which needs an X library: the build without, of the same version, takes its place.
	$(BIN)/pip freeze | sed -n 's/^opencv-python==/opencv-python-headless==/p' \
		| xargs -r $(BIN)/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps
	touch $@

demo: install    ## train, evaluate and draw a small BRS-DETR on synthetic shapes, on the CPU
	$(BIN)/brs-detr demo

lint: install    ## ruff, import contracts, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

test: lint       ## everything that continuous integration runs
	$(BIN)/pytest --numprocesses auto --dist loadfile

test-isa: install  ## the numerical tests as other processors and numbers of threads would run them
	$(BIN)/python tools/test_isa.py

coverage: install  ## the tests again, with the lines that none of them reaches
	$(BIN)/pytest --numprocesses auto --dist loadfile --cov --cov-report=term-missing

clean:           ## remove .venv and the caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage
