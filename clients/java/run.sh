#!/usr/bin/env bash
# pgjdbc.
set -euo pipefail
cd "$(dirname "$0")"
java -cp "${PGJDBC:-/usr/share/java/postgresql.jar}" Client.java
