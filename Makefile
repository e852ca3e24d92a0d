# make demo    start a server with an auction pipeline and watch five views change
# make run     start a server
# make test    everything that is tested
# make bench   measure, and write bench/results/
# make check   format, lints, licences and advisories

SHELL := /bin/bash
LISTEN ?= 127.0.0.1:7432
DATA_DIR ?= ./data
WORKERS ?= $(shell nproc)

.PHONY: demo run test bench check build system-run system-test

build: system-run
	cargo build --release --locked --bin millrace

run: build
	./target/release/millrace --listen $(LISTEN) --data-dir $(DATA_DIR) --workers $(WORKERS)

demo: build
	./demo/run.sh $(LISTEN) $(DATA_DIR) $(WORKERS)

test: system-test
	./scripts/test.sh

bench: system-run
	./scripts/bench.sh

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo deny check

system-run:
	@./scripts/install.sh run

system-test:
	@./scripts/install.sh test
