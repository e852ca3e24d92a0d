#!/usr/bin/env bash
# Runs every test and prints the runners' closing lines. One build serves all: the server that the suites and the
# clients talk to is the one that `cargo test` built.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo test --workspace --locked --no-fail-fast
./clients/run.sh target/debug/millrace
