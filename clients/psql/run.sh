#!/usr/bin/env bash
# psql: every script of this folder must print what its .out file holds. UPDATE=1 writes the files anew.
set -euo pipefail
cd "$(dirname "$0")"
export LC_ALL=C.UTF-8
passed=0 failed=0
for script in *.sql; do
    expected=${script%.sql}.out
    actual=$(psql -X -a -f "$script" 2>&1 || true)
    if [ -n "${UPDATE:-}" ]; then
        printf '%s\n' "$actual" >"$expected"
    elif ! diff -u "$expected" <(printf '%s\n' "$actual"); then
        failed=$((failed + 1))
        continue
    fi
    passed=$((passed + 1))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
