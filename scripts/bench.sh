#!/usr/bin/env bash
# Builds release, measures a server of its own, prints the table and stores it in bench/results/. Arguments go to the
# measuring program: `scripts/bench.sh --quick`, `--only latency`, `--help`.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked --bin millrace --bin bench
exec ./target/release/bench --binary target/release/millrace "$@"
