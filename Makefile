# The verbs of this project. They need GNU make, and Python 3.11 or newer with venv; the rest is
# installed into .venv, pinned by hash. Paths are relative, so the folder's own may hold spaces.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON := .venv/bin/python
INSTALLED := .venv/.installed
IN_BACKEND := cd backend && ../$(PYTHON)
COMPILE := $(IN_BACKEND) -m uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-strip-extras --no-emit-index-url --no-emit-find-links --no-header
# How many processes share the tests.
JOBS ?= auto
# How many requests `make fuzz` makes up for each operation.
EXAMPLES ?= 2000
# How many processes `make kills` kills.
KILLS ?= 200
# What `make faults` does by chance follows from it; each run tells its own.
SEED ?=
# Or short: the same, with few kills and short pauses.
FORM ?= whole
# How many tenants `make fleet-test` makes.
TENANTS ?= 200
# Handed to the program behind the verb: make test ARGS="-k tour -x"
ARGS ?=

# A venv that does not start (its Python was removed) counts as not installed.
ifeq ($(shell $(PYTHON) -c 'print("starts")' 2>/dev/null),)
.PHONY: $(INSTALLED)
endif

.PHONY: help
help: ## List these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: $(INSTALLED) ## Start the whole product on this machine (PORT=4999)
	@exec $(PYTHON) scripts/run.py $(ARGS)

.PHONY: up
up: ## Start the whole product in containers (PROFILE=minimal, or full)
	@python3 scripts/up.py $(if $(PROFILE),--profile $(PROFILE)) $(ARGS)

.PHONY: tour
tour: $(INSTALLED) ## Do the main job over HTTP against `make run`
	@$(PYTHON) scripts/tour.py $(ARGS)

.PHONY: test
test: $(INSTALLED) ## Run the tests in parallel (ARGS="-k name -x")
	@$(IN_BACKEND) -m pytest -n $(JOBS) $(ARGS)

.PHONY: fuzz
fuzz: $(INSTALLED) ## Send each route requests made up from the contract (EXAMPLES=2000)
	@$(IN_BACKEND) -c 'import schemathesis'
	@cd backend && FUZZ_EXAMPLES=$(EXAMPLES) ../$(PYTHON) -m pytest -n $(JOBS) tests/core/test_fuzz.py $(ARGS)

.PHONY: kills
kills: $(INSTALLED) ## Kill the API beside the commit of a POST that is repeated (KILLS=200)
	@cd backend && IDEMPOTENCY_KILLS=$(KILLS) ../$(PYTHON) -m pytest tests/domains/idempotency/test_killed.py $(ARGS)

.PHONY: faults
faults: $(INSTALLED) ## Break what is beneath the whole product, piece by piece (FORM=short, SEED=1)
	@cd backend && FAULTS=$(FORM) SEED=$(SEED) ../$(PYTHON) -m pytest tests/faults -n 0 -s $(ARGS)

.PHONY: fleet-test
fleet-test: $(INSTALLED) ## Try everything on a fleet, on both PostgreSQLs (TENANTS=200)
	@$(PYTHON) scripts/fleet_test.py --server embedded --tenants $(TENANTS) $(ARGS)
	@$(PYTHON) scripts/fleet_test.py --server real --tenants $(TENANTS) $(ARGS)

.PHONY: coverage
coverage: $(INSTALLED) ## Run the tests and report the lines they miss
	@$(IN_BACKEND) -m pytest -n $(JOBS) --cov --cov-report=term-missing $(ARGS)

.PHONY: lint
lint: $(INSTALLED) ## Check style, types and the contracts between packages
	@$(IN_BACKEND) -m ruff check . ../scripts ../bench
	@$(IN_BACKEND) -m ruff format --check . ../scripts ../bench
	@$(IN_BACKEND) -m mypy
	@$(IN_BACKEND) -m mypy ../scripts
	@$(IN_BACKEND) ../scripts/new_migration.py --check
	@$(IN_BACKEND) -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'

.PHONY: security
security: $(INSTALLED) ## Look for dangerous code, secrets in the tree, and known vulnerabilities
	@$(IN_BACKEND) -m bandit -q -ll -c pyproject.toml -r app *.py ../scripts
	@$(PYTHON) scripts/find_secrets.py
	@$(PYTHON) scripts/audit_packages.py

.PHONY: alerts
alerts: $(INSTALLED) ## Play what happens to the alert rules, by promtool (built once, needs Go)
	@$(IN_BACKEND) -m embedded.promtool

.PHONY: format
format: $(INSTALLED) ## Format the code, mend what can be mended
	@$(IN_BACKEND) -m ruff check --fix-only -q . ../scripts ../bench
	@$(IN_BACKEND) -m ruff format . ../scripts ../bench

.PHONY: bench
bench: $(INSTALLED) ## Measure (bench/)
	@$(PYTHON) bench/run.py $(ARGS)

.PHONY: load
load: $(INSTALLED) ## Measure the API under load, beside its peers (half an hour; ARGS=--quick)
	@$(PYTHON) bench/load.py $(ARGS)

.PHONY: soak
soak: $(INSTALLED) ## Watch the API at work for an hour: does it grow?
	@$(PYTHON) bench/load.py --soak 3600 $(ARGS)

.PHONY: lock
lock: $(INSTALLED) ## Pin the dependencies of backend/pyproject.toml
	@$(COMPILE) pyproject.toml --extra tracing -o requirements.lock
	@$(COMPILE) pyproject.toml --extra tracing --extra dev -o requirements-dev.lock
	@$(COMPILE) pyproject.toml --extra tracing --extra containers -o requirements-containers.lock

.PHONY: clean
clean: ## Remove the virtual environment and caches; the data in .data stay
	@rm -rf .venv backend/.{mypy,ruff,pytest,import_linter}_cache .{mypy,ruff,pytest}_cache
	@rm -rf backend/.coverage* backend/htmlcov
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is the last thing written and the first removed, so that an interrupted installation
# begins anew, from an empty folder. A changed lock is installed over what is there.
$(INSTALLED): backend/requirements-dev.lock
	@set -eu -o pipefail; \
	python=; \
	for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Tenantry needs Python 3.11 or newer, and found $$(python3 --version 2>/dev/null || echo none)." >&2; \
		exit 1; \
	fi; \
	if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
		echo "$$python has no venv module. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
		exit 1; \
	fi; \
	if ! { [ -e $@ ] && $(PYTHON) -m pip --version >/dev/null 2>&1; }; then \
		echo "Creating .venv with $$("$$python" --version)"; \
		rm -f $@; \
		"$$python" -m venv --clear .venv; \
	fi; \
	rm -f $@; \
	echo "Installing what backend/requirements-dev.lock pins (a minute or two, once)"; \
	$(PYTHON) -m pip install --disable-pip-version-check --no-input --progress-bar off \
		--require-hashes -r $< \
		| awk 'BEGIN { "grep -c == $<" | getline all } \
			/^Collecting / && ++n % 10 == 0 { printf "  %d of %d\n", n, all; fflush() } \
			/^Installing / { print "  Unpacking"; fflush() }'; \
	touch $@
