#!/usr/bin/env bash
# Builds the files of a release: the arm64 zip of each function, the template that names them, and checksums.
#
#   [FEATURES=common/traces] local/deploy/package.sh FOLDER
#
# Needs cargo-lambda and zig (local/requirements-release.txt). `deploy.sh STAGE FOLDER/template.yaml` deploys the result.
set -euo pipefail

out=${1:?usage: package.sh FOLDER}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/../.."

names=$(sed -nE 's/^ +BuildProperties: \{Binary: ([a-z-]+)\}$/\1/p' template.yaml)
packages=()
for name in $names; do packages+=(--package "$name"); done
# The build of `sam build` (BuildMethod: rust-cargolambda), but of all functions at once.
cargo lambda build --release --arm64 --locked --output-format zip --lambda-dir "$out/build" "${packages[@]}" \
    ${FEATURES:+--features "$FEATURES"}
for name in $names; do mv "$out/build/$name/bootstrap.zip" "$out/$name.zip"; done
rm -r "$out/build"

sed -E 's#^( +CodeUri: )(.*/)?([a-z-]+)$#\1./\3.zip#' template.yaml >"$out/template.yaml"
git describe --tags --always --dirty >"$out/VERSION"
cd "$out"
sed -nE 's/^ +CodeUri: (.*)$/\1/p' template.yaml | while read -r uri; do
    [ -f "$uri" ] || { echo "the template names $uri, which was not built" >&2; exit 1; }
done
sha256sum -- *.zip template.yaml VERSION >SHA256SUMS
