# Every command of the project. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET := $(or $(CARGO_TARGET_DIR),target)
# Given to the demo: make demo ARGS=--once
ARGS ?=
# How long each fuzz target runs: make fuzz SECONDS=60
SECONDS ?= 20
# How many seeds the simulated fleet sails through in `make test`.
SEEDS ?= 500
# Where `make install` puts things: make install DESTDIR=/tmp/tree PREFIX=/usr
DESTDIR ?=
PREFIX ?= /usr

.PHONY: help
help: ## List the commands.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build both programs: target/release/millrace-agent and millrace-hub.
	cargo build --release -p millrace-agent -p millrace-hub

.PHONY: demo
demo: ## Run a plant in a box and prove that nothing was lost (ARGS=--once: without a terminal).
	cargo build --release -p millrace-agent -p millrace-hub -p millrace-demo
	$(TARGET)/release/millrace-demo $(ARGS)

.PHONY: rehearsal
rehearsal: # The demo with the programs of the tests, which are there already: what CI runs.
	cargo test -q --workspace --no-run
	$(TARGET)/debug/millrace-demo $(ARGS)

.PHONY: test
test: packages ## Run all tests, then 500 seeds of the simulated fleet.
	mkdir -p $(TARGET)
	status=0; cargo test --workspace --no-fail-fast 2>&1 | tee $(TARGET)/test.log || status=$$?; \
	awk '/^test result:/ { passed += $$4; failed += $$6 } END { printf "tests: %d passed, %d failed\n", passed, failed }' $(TARGET)/test.log; \
	exit $$status
	$(TARGET)/debug/millrace-hub-fleet swarm --seeds $(SEEDS)

.PHONY: packages
packages: # Tests run against a real broker of their own, on a free port; Debian's service stays off.
	.ci/packages

.PHONY: bench
bench: ## Measure the parts and the whole against their baselines; figures go to bench-results/ (ARGS=--quick).
	mkdir -p bench-results
	cargo build --release -p millrace-bench
	cargo build --profile dist -p millrace-agent -p millrace-hub
	cargo bench -p millrace-journal --bench append | tee bench-results/append.txt
	MILLRACE_BIN_DIR=$(TARGET)/dist $(TARGET)/release/millrace-bench --append bench-results/append.txt $(ARGS)

.PHONY: fuzz
fuzz: ## Fuzz every decoder for a while (SECONDS=60 each).
	.ci/fuzz $(SECONDS)

.PHONY: lint
lint: ## Check format, clippy and dependencies; writes nothing.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(MAKE) --no-print-directory deny

.PHONY: deny
deny: tools ## Check bans, licenses and sources of dependencies; needs no advisory database.
	cargo deny --log-level error check --hide-inclusion-graph bans licenses sources

.PHONY: audit
audit: tools ## Check dependencies against published advisories; needs the network.
	cargo deny check advisories

.PHONY: fix
fix: ## Format, and let clippy correct what it can.
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

.PHONY: units
units: ## Check the systemd units without installing them.
	systemd/check.sh

.PHONY: dist
dist: ## Build both programs as they are shipped: small, one file each.
	cargo build --profile dist -p millrace-agent -p millrace-hub
	@ls -l $(TARGET)/dist/millrace-agent $(TARGET)/dist/millrace-hub

.PHONY: install
install: dist ## Install programs, units and configs (DESTDIR, PREFIX); keeps configs that are there.
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin $(TARGET)/dist/millrace-agent $(TARGET)/dist/millrace-hub
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system systemd/millrace-agent.service systemd/millrace-hub.service
	install -D -m 0644 systemd/sysusers.d/millrace.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/millrace.conf
	install -D -m 0644 systemd/tmpfiles.d/millrace.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/millrace.conf
	for config in agent hub; do \
	    [ -e $(DESTDIR)/etc/millrace/$$config.toml ] || \
	        install -D -m 0644 systemd/$$config.toml $(DESTDIR)/etc/millrace/$$config.toml; \
	done
	@echo "installed; now: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload"

.PHONY: tools
tools: # cargo-deny, built without optimisation and debug information: that is minutes faster than it is slow.
	@cargo deny --version >/dev/null 2>&1 || \
	    CARGO_PROFILE_DEV_DEBUG=0 cargo install cargo-deny --version '^0.20' --locked --debug
