#!/usr/bin/env bash
# Runs real clients against a server of their own: `run.sh BINARY [CLIENT ...]`; without names all of them.
set -euo pipefail
binary=$(realpath "$1")
shift
cd "$(dirname "$0")"
clients=("${@:-}")
[ -n "${clients[0]}" ] || clients=(psql python node java)

work=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$binary" --listen "127.0.0.1:$port" --data-dir "$work/data" --workers 2 2>"$work/server.log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true; rm -rf "$work"' EXIT
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=client PGDATABASE=client PGCONNECT_TIMEOUT=10 WORK=$work
for _ in $(seq 300); do
    psql -X -c 'SELECT 1' >/dev/null 2>&1 && break
    kill -0 $server 2>/dev/null || { cat "$work/server.log"; exit 1; }
    sleep 0.1
done

failed=()
for client in "${clients[@]}"; do
    echo "== $client"
    "./$client/run.sh" || failed+=("$client")
done
if grep -q 'panicked at' "$work/server.log"; then
    failed+=("the server panicked")
fi
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]}"
    grep -v ' INFO ' "$work/server.log" | tail -n 40
    exit 1
fi
