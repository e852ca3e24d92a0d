#!/usr/bin/env bash
# Starts the server, loads the auction pipeline and shows the views as they change, until Ctrl-C. Without a terminal it
# shows them five times and ends.
set -euo pipefail
cd "$(dirname "$0")/.."
listen=$1 data=$2 workers=$3
host=${listen%:*} port=${listen##*:}
psql=(psql -X -q -h "$host" -p "$port" -U demo -d demo -v ON_ERROR_STOP=1)

./target/release/millrace --listen "$listen" --data-dir "$data" --workers "$workers" --log warn &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true' EXIT
for _ in $(seq 600); do
    "${psql[@]}" -c 'SELECT 1' >/dev/null 2>&1 && break
    kill -0 $server 2>/dev/null || exit 1
    sleep 0.1
done
"${psql[@]}" -f demo/auction.sql

show() {
    echo "Millrace on $listen        look for yourself:  psql -h $host -p $port"
    echo
    "${psql[@]}" <<'SQL'
\pset footer off
\echo totals
SELECT * FROM totals;
\echo channels
SELECT channel, bids, round(average_price, 2) AS average_price FROM channels ORDER BY bids DESC LIMIT 4;
\echo auction_prices: the most wanted items
SELECT id, item_name, bids, highest FROM auction_prices ORDER BY bids DESC, id LIMIT 5;
\echo categories
SELECT * FROM categories ORDER BY category LIMIT 5;
\echo sellers_by_state
SELECT * FROM sellers_by_state ORDER BY auctions DESC LIMIT 5;
SQL
}

if [ -t 1 ]; then
    while :; do
        frame=$(show)
        printf '\033[H\033[2J%s\n\nCtrl-C ends the demo.\n' "$frame"
        sleep 1
    done
else
    for _ in 1 2 3 4 5; do
        show
        sleep 1
    done
fi
