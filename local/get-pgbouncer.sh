#!/bin/sh
# Gets pgbouncer if there is none: the tests run the service behind it. It is neither configured nor started here.
set -eu

for folder in $(echo "$PATH" | tr ':' ' ') /usr/sbin; do
    [ ! -x "$folder/pgbouncer" ] || exit 0
done

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "make test needs pgbouncer and found none. Install it (Debian, Ubuntu: sudo apt-get install pgbouncer;" \
        "Fedora: sudo dnf install pgbouncer; macOS: brew install pgbouncer): what needs it fails." >&2
    exit 0
fi

echo "Installing pgbouncer (apt-get install pgbouncer), without starting it"
export DEBIAN_FRONTEND=noninteractive
# Packages ask this before they start what they bring; 101 forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get update -q
apt-get install -qy --no-install-recommends pgbouncer
