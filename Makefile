# make run    install the pinned packages, then collect tweets
# make test   all checks of CI
# make bench  run the benchmarks; writes pgbench/results.md
# make screenshots   take the README's pictures of the real pages
# make fmt    format the code and apply safe fixes
# make install [PREFIX=/opt/twitterstream]   install or upgrade as a service; see deploy/README.md
# make lock   pin the newest versions of all dependencies (needs uv)
#
# To use another Python: make run PYTHON=/path/to/python

PYTHON ?= python3
WORKERS ?= 4

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input \
	--root-user-action=ignore --require-hashes

# Where `make install` puts things; DESTDIR is prepended to all of them, for packaging.
PREFIX ?= /opt/twitterstream
SYSCONFDIR ?= /etc/twitterstream
STATEDIR ?= /var/lib/twitterstream
UNITDIR ?= /etc/systemd/system
DESTDIR ?=
INSTALL_VENV ?=
USERADD ?= yes

COMPILE := uv pip compile pyproject.toml --upgrade --quiet --python-version 3.11 --universal \
	--generate-hashes --no-header --no-emit-index-url

.PHONY: run test bench screenshots fmt lock install

run: .venv/installed .venv/installed-web
	@exec $(BIN)/python twitterstream.py run

test: .venv/installed-dev .venv/installed-web-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

bench: .venv/installed-dev
	@exec $(BIN)/python -m pgbench

screenshots: .venv/installed-dev .venv/installed-web-dev
	$(BIN)/pytest -q test/browser/screenshots.py

fmt: .venv/installed-dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

install:
	@PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' STATEDIR='$(STATEDIR)' UNITDIR='$(UNITDIR)' \
	  DESTDIR='$(DESTDIR)' PYTHON='$(PYTHON)' INSTALL_VENV='$(INSTALL_VENV)' USERADD='$(USERADD)' \
	  sh deploy/install.sh

lock:
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --extra dev --output-file requirements-dev.lock

# The stamps are written last, so an interrupted installation is resumed.
.venv/installed: requirements.lock | .venv/bin/python
	@echo "Installing requirements.lock into .venv (once) ..."
	@$(INSTALL) --requirement requirements.lock
	@touch $@

.venv/installed-dev: requirements-dev.lock | .venv/bin/python
	@echo "Installing requirements-dev.lock into .venv (once) ..."
	@$(INSTALL) --requirement requirements-dev.lock
	@touch $@ .venv/installed

# Browser packages; see web/npm.sh.
NPM := PYTHON='$(PYTHON)' NPM_VENV=.venv/npm sh web/npm.sh

.venv/installed-web: web/package-lock.json | .venv/bin/python
	@echo "Installing web/package-lock.json into web/node_modules (once) ..."
	@$(NPM)
	@touch $@

.venv/installed-web-dev: web/package-lock.json | .venv/bin/python
	@echo "Installing web/package-lock.json into web/node_modules (once) ..."
	@$(NPM) --dev
	@touch $@ .venv/installed-web

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is not Python 3.11 or newer. Choose another one:" \
	    "make run PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot create a virtual environment. Install its venv package" \
	    "(Debian, Ubuntu: apt install python3-venv), or choose another Python:" \
	    "make run PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
