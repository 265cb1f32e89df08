#!/usr/bin/env bash
# Runs the previous release with the schema of this checkout, as it does while a deployment moves traffic:
#
#   local/compatibility.sh [REF]
#
# REF is the last tag by default. Builds the binaries and the flow tests of REF, replaces the binary `migrate` by the one of
# this checkout, and runs the old flow tests of the essentials: inbound messages, sends, statuses, STOP. Their stacks migrate
# their databases with the new `migrate`; everything else is old.
#
# TESTS names other tests (substrings, separated by spaces). KEEP=1 keeps the worktree for another run.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

ref=${1:-$(git describe --tags --abbrev=0 2>/dev/null || true)}
if [ -z "$ref" ]; then
    echo "there is no tag yet: name a commit (make compatibility PREVIOUS=main~5)" >&2
    exit 1
fi
tests=${TESTS:-happy_path:: opt_out:: stop_during_send:: callbacks:: duplicates:: api_access::}
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/compatibility
old=$work/source

if [ ! -e "$old/.git" ]; then
    rm -rf "$old"
    git worktree prune
    git worktree add --quiet --detach "$old" "$ref"
fi
git -C "$old" checkout --quiet --detach "$(git rev-parse "$ref^{commit}")"
[ -n "${KEEP:-}" ] || trap 'git worktree remove --force "$old"' EXIT

echo "building migrate of this checkout, and everything of $(git -C "$old" log -1 --format='%h (%s)')"
cargo build --quiet --package migrate
new_migrate=$work/new-migrate
cp "$target/debug/migrate" "$new_migrate"
export CARGO_TARGET_DIR=$work/target
(cd "$old" && cargo build --workspace --bins && cargo test --package local --test flow --no-run)

# Cargo hard-links its outputs: replace the file, do not write into it.
old_migrate=$CARGO_TARGET_DIR/debug/migrate
cp "$old_migrate" "$work/old-migrate"
if cmp -s "$new_migrate" "$old_migrate"; then
    echo "the migrations do not differ"
fi
mv "$new_migrate" "$old_migrate"
failed=0
# shellcheck disable=SC2086 # one argument for each test
(cd "$old" && "$CARGO_TARGET_DIR/debug/local" with-postgres cargo test --package local --test flow -- $tests) || failed=1
# So that cargo does not take the new binary for the old one.
mv "$work/old-migrate" "$old_migrate"
if [ $failed = 1 ]; then
    echo "the binaries of $ref do not work with the schema of this checkout" >&2
    exit 1
fi
echo "the binaries of $ref work with the schema of this checkout"
