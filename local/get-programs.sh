#!/bin/sh
# Installs missing programs that the local stack and the tests need:
#
#   local/get-programs.sh FOLDER initdb [pgbouncer]
#
# On Debian and Ubuntu it installs packages as root. For other users it unpacks the same packages in FOLDER, with a
# wrapper for each program in FOLDER/bin. On other systems it prints the command to install them.
set -eu

folder=$1
shift

is_installed() {
    for place in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin /usr/sbin \
        /opt/homebrew/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/bin /usr/local/opt/postgresql@*/bin; do
        [ ! -x "$place/$1" ] || return 0
    done
    return 1
}

packages=
for program in "$@"; do
    is_installed "$program" && continue
    case $program in
    # Not needed with an external server.
    initdb) [ -n "${DATABASE_URL:-}" ] || packages="$packages postgresql" ;;
    *) packages="$packages $program" ;;
    esac
done
[ -n "$packages" ] || exit 0

install_as_root() {
    echo "Installing$packages with apt-get, without creating or starting a system-wide server"
    export DEBIAN_FRONTEND=noninteractive
    # Packages run this script before they start a service. Exit code 101 denies it.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    apt-get update -q
    # Keeps the package from creating a cluster.
    mkdir -p /etc/postgresql-common/createcluster.d
    printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.d/sms-local.conf
    # shellcheck disable=SC2086 # a list of names
    apt-get install -qy --no-install-recommends $packages
    rm -f /etc/postgresql-common/createcluster.d/sms-local.conf
}

unpack() {
    mkdir -p "$folder"
    folder=$(cd "$folder" && pwd)
    echo "Unpacking$packages in $folder: you are not root, so nothing is installed on the system"
    mkdir -p "$folder/apt/lists/partial" "$folder/apt/archives/partial"
    # apt's default folders belong to root. The system's list of installed packages determines the dependencies.
    apt() {
        apt-get -q -y -o Debug::NoLocking=true -o "Dir::State::Lists=$folder/apt/lists" \
            -o "Dir::Cache=$folder/apt" -o "Dir::Cache::Archives=$folder/apt/archives" "$@"
    }
    apt update >/dev/null
    # shellcheck disable=SC2086 # a list of names
    apt install --no-install-recommends --download-only $packages >/dev/null
    for package in "$folder"/apt/archives/*.deb; do
        dpkg-deb -x "$package" "$folder"
    done
    rm -rf "$folder/apt" "$folder/usr/share/doc" "$folder/usr/share/man"

    libraries=$(ls -d "$folder"/usr/lib/*-linux-gnu "$folder"/lib/*-linux-gnu 2>/dev/null | tr '\n' ':')
    mkdir -p "$folder/bin"
    for program in "$folder"/usr/lib/postgresql/*/bin/* "$folder/usr/sbin/pgbouncer"; do
        [ -x "$program" ] || continue
        wrapper=$folder/bin/$(basename "$program")
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$libraries" "$program" >"$wrapper"
        chmod +x "$wrapper"
    done
}

if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then install_as_root; else unpack; fi
    exit
fi
if command -v brew >/dev/null || [ "$(uname)" = Darwin ]; then
    install="brew install$(echo "$packages" | sed 's/ postgresql/ postgresql@17/')"
else
    install="your package manager (Fedora: sudo dnf install$(echo "$packages" | sed 's/ postgresql/ postgresql-server/'))"
fi
echo "Missing:$packages. Install with: $install" >&2
exit 1
