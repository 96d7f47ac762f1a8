# `make app` and `make test` set everything up on a fresh machine (Python 3.11–3.13, pip, make); the second run reinstalls nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A worker for each core, but four at most: one holds up to 3 GB. A file's tests stay together, for they share servers, and
# files keep their order, for those that take long come first.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
UV := $(BIN)/uv pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-annotate --no-header -q

.PHONY: app bench test test-browser screenshots lint types docs wheel lock sbom vulnerabilities setup setup-dev chromium clean

app: $(VENV)/.installed  ## set up, then serve the web app on http://127.0.0.1:7860
	$(BIN)/python app.py

test: $(VENV)/.installed-dev  ## set up, then run the tests (those in a browser: make test-browser)
	$(PYTEST) -m "not browser"

test-browser: $(VENV)/.installed-dev chromium  ## the tests that drive a real Chromium
	$(PYTEST) --maxfail 9 -m browser tests/browser

bench: $(VENV)/.installed-dev  ## this program beside what people would use instead: time, memory, leaks
	$(BIN)/python -m bench.peers

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

lock: $(VENV)/.installed-dev  ## the locks anew, after a change of requirements*.txt or pyproject.toml
	$(UV) requirements-dev.txt -o requirements-dev.lock
	$(UV) pyproject.toml --extra web --extra review --extra openid --extra video --no-emit-package opencv-python -c requirements-dev.lock -o requirements.lock

sbom: $(VENV)/.installed-dev  ## sbom.json: what the app and the Docker image install (CycloneDX)
	$(BIN)/uvx --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
	  --output-reproducible -o sbom.json

# --strict: without it, what the index knows nothing of is passed over, and a mirror makes that everything.
vulnerabilities: $(VENV)/.installed-dev  ## what is known of the locked versions
	@$(BIN)/uvx pip-audit==2.10.1 --strict -r requirements-dev.lock --require-hashes --disable-pip || { \
	  echo "Above: what is vulnerable, or the first package that could not be asked about. Only the package index itself"; \
	  echo "knows vulnerabilities; a mirror of it, or no network, means that nothing was checked."; exit 1; }

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

# ensurepip is missing where Debian's python3-venv is: virtualenv, installed beside, makes the environment then.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  $(PYTHON) -m pip install -q --target .tools virtualenv && PYTHONPATH=.tools $(PYTHON) -m virtualenv -q $(VENV); }

# The page, the review and what the presets need, each file with the hash that the lock names. The lock is complete but
# for opencv-python, for which the headless one stands in: so pip adds nothing to it. editable_mode=compat: else
# `python -m anonymize` in a folder that holds a clone named anonymize would take the clone's folder for the package.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	touch $@

# Everything. Three packages write the same cv2 folder; the headless one goes last, so that no display libraries are needed.
$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --require-hashes -r requirements-dev.lock
	sed -n '/^opencv-contrib-python-headless==/,/[^\\]$$/p' requirements-dev.lock > $(VENV)/cv2.txt
	$(BIN)/python -m pip install -q --force-reinstall --no-deps --require-hashes -r $(VENV)/cv2.txt
	touch $@

clean:
	rm -rf $(VENV) .tools

chromium:  ## for the browser tests: Debian's chromium, unless there is one
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
