#!/usr/bin/env bash
# Installs the system packages that are missing: `install.sh run` what building and the demo need, `install.sh test`
# what the tests need on top. Says nothing when all are there.
set -euo pipefail

missing=()
need() { # need COMMAND PACKAGE...
    command -v "$1" >/dev/null 2>&1 || missing+=("${@:2}")
}

need cc build-essential
need psql postgresql-client
need pkg-config pkg-config
[ -e /usr/include/openssl/ssl.h ] || missing+=(libssl-dev)
if [ "${1:-run}" = test ]; then
    need node nodejs
    need npm npm
    need java default-jre-headless
    need javac default-jdk-headless
    need mvn maven
    need python3 python3 python3-venv
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
    [ -e /usr/share/java/postgresql.jar ] || missing+=(libpostgresql-jdbc-java)
fi
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
