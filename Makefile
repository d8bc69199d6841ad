# Two commands: `make demo` and `make test`. `make` alone lists the rest.
# One cargo profile (release) and one target folder outside the checkout: RocksDB's C++ is compiled once, not once a clone.

SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tol
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PATH := $(CACHE)/tools:$(PATH):$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help demo test run build lint bench conformance kafka-up kafka-down check-config

help: ## lists the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1~\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '~' 2> /dev/null || sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1  \2/p' $(firstword $(MAKEFILE_LIST))

demo: ## builds, starts a node in a throw-away folder, feeds it a sample business, checks every number, shows what to try
	@scripts/demo

test: ## sets up what the tests need and passes all of them, Apache Kafka included
	@scripts/test

run: build ## runs a node on ./data (ARGS="--kafka HOST:PORT" and so on)
	bin/tol run --config config/profiles/dev.toml $(ARGS)

build: ## builds the release binary and leaves it at bin/tol
	@scripts/setup build
	@scripts/build

lint: ## formatting, clippy with warnings denied, shellcheck where it is installed
	cargo fmt --all --check
	scripts/cargo clippy --release --locked --workspace --all-targets -- -D warnings
	@if command -v shellcheck > /dev/null; then shellcheck scripts/setup scripts/dependencies scripts/build scripts/test scripts/demo scripts/lib.sh scripts/parts.sh .ci/run tests/clients/run tests/clients/attack tests/clients/metrics actors/*/clients/run; fi

bench: build ## measures the figures of the README; see benches/README.md
	@scripts/bench

conformance: build ## third-party clients against a node: those of tests/clients, on both logs, and those of each system
	@scripts/setup test
	tests/clients/run
	tests/clients/run --embedded
	for clients in actors/*/clients/run; do "$$clients" || exit 1; done
	tests/clients/kill9 --log embedded --rounds 20
	tests/clients/kill9 --log kafka --rounds 20

check-config: ## promtool over config/prometheus
	@scripts/setup test
	promtool check config config/prometheus/prometheus.yml
	promtool check rules config/prometheus/alerts.yml
	promtool test rules config/prometheus/alerts_test.yml
	@if [ -x bin/tol ]; then TOL_BIN=bin/tol tests/clients/metrics; fi

kafka-up: ## starts a local Apache Kafka (KAFKA_PORT, KAFKA_DIR)
	@scripts/setup test
	@scripts/kafka.sh up

kafka-down: ## stops it
	@scripts/kafka.sh down
