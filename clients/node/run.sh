#!/usr/bin/env bash
# node-postgres.
set -euo pipefail
cd "$(dirname "$0")"
modules=../../target/clients-node
[ -d "$modules/node_modules/pg" ] || {
    mkdir -p "$modules"
    cp package.json "$modules/"
    npm install --silent --no-audit --no-fund --prefix "$modules"
}
cp client.test.mjs "$modules/"
cd "$modules"
node --test client.test.mjs
