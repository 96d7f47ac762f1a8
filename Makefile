# `make app` and `make test` set everything up on a fresh machine (Python 3.11–3.13, pip, make); the second run reinstalls nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CV2 := opencv-contrib-python-headless==$(shell sed -n 's/^opencv-contrib-python-headless==//p' requirements-dev.txt)

.PHONY: app test test-browser screenshots lint types docs wheel setup setup-dev chromium clean

app: $(VENV)/.installed  ## set up, then serve the web app on http://127.0.0.1:7860
	$(BIN)/python app.py

test: $(VENV)/.installed-dev  ## set up, then run the tests (those in a browser: make test-browser)
	$(BIN)/python -m pytest -m "not browser"

test-browser: $(VENV)/.installed-dev chromium  ## the tests that drive a real Chromium
	$(BIN)/python -m pytest -m browser tests/browser

screenshots: $(VENV)/.installed-dev chromium  ## pictures of every tab, light, dark and as a phone shows it, in screenshots/
	$(BIN)/python -m bench.screenshots

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy




docs: $(VENV)/.installed-dev  ## the site, in site/
	$(BIN)/python -m mkdocs build --strict -d site

wheel: $(BIN)/python  ## what `pip install .` gives, tried in an environment of its own
	.ci/wheel $(BIN)/python

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

# ensurepip is missing where Debian's python3-venv is: virtualenv, installed beside, makes the environment then.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install -q --target .tools virtualenv && PYTHONPATH=.tools $(PYTHON) -m virtualenv -q $(VENV); }

# The page, the review and what the presets need, at the versions of requirements.txt.
$(VENV)/.installed: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -c requirements.txt -e '.[web,review]'
	touch $@

# Everything. Three packages write the same cv2 folder; the headless one goes last, so that no display libraries are needed.
$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install -r requirements-dev.txt
	$(BIN)/python -m pip install -q --force-reinstall --no-deps $(CV2)
	touch $@

clean:
	rm -rf $(VENV) .tools

chromium:  ## for the browser tests: Debian's chromium, unless there is one
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
