#!/bin/sh
# Gets a PostgreSQL server's programs if there are none. The stack makes a cluster of its own with them; the
# distribution's is neither made nor started.
set -eu

[ -z "${DATABASE_URL:-}" ] || exit 0

for folder in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin \
    /opt/homebrew/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/bin /usr/local/opt/postgresql@*/bin; do
    [ ! -x "$folder/initdb" ] || exit 0
done

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "make run needs a PostgreSQL server and found none. Install one (Debian, Ubuntu: sudo apt-get install" \
        "postgresql; Fedora: sudo dnf install postgresql-server; macOS: brew install postgresql), or set" \
        "DATABASE_URL to a database that may be migrated." >&2
    exit 1
fi

echo "Installing a PostgreSQL server (apt-get install postgresql), without a cluster of its own"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -qy --no-install-recommends postgresql-common
settings=/etc/postgresql-common/createcluster.conf
cp -p "$settings" "$settings.before"
trap 'mv "$settings.before" "$settings"' EXIT
echo 'create_main_cluster = false' >>"$settings"
apt-get install -qy --no-install-recommends postgresql
