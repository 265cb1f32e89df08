#!/usr/bin/env bash
# Writes an SBOM (CycloneDX) of each function next to its zip, and adds them to the checksums:
#
#   local/deploy/sbom.sh FOLDER
#
# Needs cargo-cyclonedx.
set -euo pipefail

out=$(cd "${1:?usage: sbom.sh FOLDER}" && pwd)
cd "$(dirname "$0")/../.."

# It writes next to each Cargo.toml, with the dependencies of Lambda's platform only.
cargo cyclonedx --format json --describe binaries --target aarch64-unknown-linux-gnu --spec-version 1.5
for zip in "$out"/*.zip; do
    name=$(basename "$zip" .zip)
    found=$(find functions -name "${name}_bin.cdx.json")
    [ -n "$found" ] || { echo "no SBOM of $name" >&2; exit 1; }
    cp "$found" "$out/$name.cdx.json"
done
find . -name '*_bin.cdx.json' -not -path './target/*' -delete
cd "$out"
sha256sum -- *.zip *.cdx.json template.yaml VERSION >SHA256SUMS
