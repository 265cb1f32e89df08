#!/bin/sh
# Installs npm packages into FOLDER/node_modules, if Node.js is installed:
#
#   local/get-node.sh FOLDER PACKAGE@VERSION …
set -eu

folder=$1
shift
[ "$(cat "$folder/.installed" 2>/dev/null)" = "$*" ] && exit 0
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "Node.js and npm are not installed" >&2
    exit 1
fi
rm -rf "$folder"
mkdir -p "$folder"
npm install --prefix "$folder" --silent --no-fund --no-audit --no-package-lock --ignore-scripts "$@"
echo "$*" > "$folder/.installed"
