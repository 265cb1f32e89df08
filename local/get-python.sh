#!/bin/sh
# Creates a Python environment in FOLDER with the packages of a requirements file:
#
#   local/get-python.sh FOLDER REQUIREMENTS
#
# As root on Debian and Ubuntu it installs Python first, if it is missing.
set -eu

folder=$1
requirements=$2
[ "$folder/.installed" -nt "$requirements" ] && exit 0

has_python() { python3 -c 'import ensurepip, venv' 2>/dev/null; }
if ! has_python && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing python3-venv with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -qy --no-install-recommends python3-venv
fi
if ! has_python; then
    echo "Missing: Python 3 with venv (Debian, Ubuntu: apt-get install python3-venv; macOS: brew install python)" >&2
    exit 1
fi
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
touch "$folder/.installed"
