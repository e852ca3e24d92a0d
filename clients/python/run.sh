#!/usr/bin/env bash
# psycopg 3 and asyncpg.
set -euo pipefail
cd "$(dirname "$0")"
venv=${MILLRACE_VENV:-../../target/clients-python}
[ -x "$venv/bin/pytest" ] || {
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r requirements.txt
}
"$venv/bin/pytest" -q -p no:cacheprovider .
