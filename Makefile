# `make help` lists the targets. Every one of them sets up what it needs first.

LISTEN ?= 127.0.0.1:8080
DATA ?= data
BENCH ?= direct
PEERS ?=
PYTEST ?=
SEEDS ?= 300

bin := .venv/bin

.DEFAULT_GOAL := help
.PHONY: setup setup-tests core core-check wasm wasm-check run dev cluster test test-long test-cluster check simulate simulate-sealed bench bench-peers fmt spec lock audit clean help

setup: ## make .venv from the lock; quick when nothing changed
	@scripts/setup

setup-tests:
	@scripts/setup --tests

core: setup ## build the encryption core (crypto/) into .venv; `setup` does it, too

core-check: setup ## format, lint and test the core's Rust, and look at its crates (needs rustfmt, clippy, cargo-deny)
	@scripts/core-lint
	cd crypto && cargo deny check bans licenses sources

wasm: ## build the core for the web anew, into crypto/web/ (Debian's Rust; takes some minutes)
	@scripts/wasm

wasm-check: ## build it, and fail if crypto/web/ is anything else, to the byte
	@scripts/wasm --check

run: setup ## start a server (LISTEN=127.0.0.1:8080 DATA=data)
	$(bin)/tidings serve --listen $(LISTEN) --data $(DATA)

dev: setup ## start a server with two users on it, alice and bob, and say how to chat
	@scripts/dev

cluster: setup ## run Cassandra, Redis, three nodes and HAProxy on this machine, and say how to chat
	@scripts/cluster

check: setup ## lint, format, types, imports, spec: all but the tests
	$(bin)/ruff check --quiet
	$(bin)/ruff format --check --quiet
	$(bin)/mypy --no-error-summary
	MYPYPATH=scripts $(bin)/mypy --no-error-summary scripts/spec
	@mkdir -p build
	@$(bin)/lint-imports >build/lint-imports.log 2>&1 || { cat build/lint-imports.log; exit 1; }
	$(bin)/python scripts/spec --check
	@scripts/wasm --stale

test: setup-tests check ## check, then all tests (PYTEST='-k codec' passes arguments on)
	cd crypto && node --test test/
	PYTHON=$(bin)/python scripts/tests $(PYTEST)

test-long: setup-tests ## the endless variants: power cuts and crashes by the dozen, planted bugs from the first seed
	TIDINGS_CUTS=20 $(bin)/pytest --timeout 1200 tests/durability/test_server.py
	$(bin)/tidings bench crash --times 40
	for fault in worker-killed hub-killed worker-stopped hub-stopped disk-full; do \
		$(bin)/tidings bench crash --workers 2 --fault $$fault || exit 1; done
	$(bin)/pytest -m long tests/simulation
	$(bin)/pytest -m long -s tests/integration
	TIDINGS_REDIS=$$(scripts/redis) $(bin)/pytest -m long tests/redis
	@scripts/toxiproxy
	TIDINGS_TIMES=20 TIDINGS_REDIS=$$(scripts/redis) $(bin)/pytest -m long tests/cluster

test-cluster: setup-tests ## the tests on real Redis, Cassandra and HAProxy, and bad networks; as root on Debian it installs them (no services)
	@scripts/toxiproxy
	PYTHON=$(bin)/python scripts/tests-cluster $(PYTEST)

simulate: setup ## many nodes, every fault, people in pairs and in groups, from seeds (SEEDS=300, or a range: SEEDS=900001-900300)
	@$(bin)/python -m tidings.testing.simulation $(SEEDS)

simulate-sealed: setup ## the same with clients that encrypt, devices and members that come and go (SEEDS=300)
	@$(bin)/python -m tidings.testing.simulation --sealed $(SEEDS)

bench: setup ## measure (BENCH=direct); JSON to stdout
	@$(bin)/tidings bench $(BENCH) --json

# Slow, and it installs other servers (not as services): no part of `make test`.
bench-peers: setup ## measure beside Centrifugo and ejabberd (PEERS='--json --rounds 3')
	@scripts/peers
	@$(bin)/python -m tidings.bench.peers $(PEERS)

fmt: setup ## format, and fix what ruff can fix
	$(bin)/ruff check --fix --quiet
	$(bin)/ruff format

spec: setup ## bring the generated parts of spec/, docs/ and the SDK up to date
	$(bin)/python scripts/spec

lock: setup ## write requirements.lock anew from pyproject.toml (needs the network)
	scripts/lock

# Strict: an index that has no advisories to give must not pass for a clean bill.
audit: setup ## look for known holes in the locked packages and crates (needs the network, cargo-deny)
	$(bin)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock
	cd crypto && cargo deny check advisories

clean: ## remove what the targets made, except data/
	rm -rf .venv build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
