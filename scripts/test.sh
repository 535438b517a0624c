#!/usr/bin/env bash
# Everything that has to hold before a change lands. One line per stage says how long it took;
# the first failure stops the run and is the last thing printed.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh

fresh_seeds="${SIM_FRESH:-200}"

stage() {
  local name="$1" started=$SECONDS
  shift
  echo "== $name: $*"
  "$@" || { echo "FAILED: $name"; exit 1; }
  echo "== $name: passed in $((SECONDS - started)) s"
}

stage format cargo fmt --all --check
stage lint cargo clippy --workspace --all-targets -- -D warnings
stage test cargo test --workspace -- --test-threads 2
RUSTDOCFLAGS="-D warnings" stage docs cargo doc --workspace --no-deps --document-private-items
stage build cargo build --release --bin merganser
# Seeds nobody has seen before. Each is printed, and `merganser sim --seed N` replays it.
stage sim env SIM_FRESH="$fresh_seeds" cargo test --release -p sim --test seeds -- --nocapture
stage mutants cargo test --release -p sim --features mutants --test mutants -- --nocapture
stage demo bash scripts/demo.sh
stage kill env KILL_ROUNDS="${KILL_ROUNDS:-100}" cargo test --release -p merganser --test kill -- --nocapture
if command -v cargo-deny >/dev/null 2>&1; then
  stage licences cargo deny --offline check licenses bans sources
else
  echo "== licences: SKIPPED(cargo-deny is not installed)"
fi
