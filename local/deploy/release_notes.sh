#!/usr/bin/env bash
# Prints the section of a version in CHANGELOG.md: local/deploy/release_notes.sh 1.2.3
# Fails if the section is missing or empty, or if Cargo.toml has another version.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${1:?usage: release_notes.sh VERSION}

crate=$(sed -n '/^\[workspace\.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
if [ "$crate" != "$version" ]; then
    echo "Cargo.toml has version $crate, not $version" >&2
    exit 1
fi
notes=$(awk -v version="$version" '
    /^## / { found = ($2 == version || $2 == "[" version "]"); next }
    found { print }' CHANGELOG.md)
if [ -z "${notes//[[:space:]]/}" ]; then
    echo "CHANGELOG.md has no section \"## $version\"" >&2
    exit 1
fi
printf '%s\n' "$notes"
