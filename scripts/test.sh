#!/usr/bin/env bash
# Everything that has to hold before a change lands. One line per stage says how long it took;
# the first failure stops the run and is the last thing printed.
#
#   SIM_HOURS    simulated cluster-hours under load   4, and half as many where everything is destroyed
#   TORTURE      what torture runs                    all --short
#   FUZZ_RUNS    inputs per decoder                   500000, and 125000 of whole requests
#
# It installs, from Debian's packages, a compiler and the tools of the torture chamber, and as root makes
# and removes mounts, network namespaces and control groups. What cannot run is SKIPPED, and counted.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh proof

stage() {
  local name="$1" started=$SECONDS
  shift
  echo "== $name: $*"
  "$@" || { echo "FAILED: $name"; exit 1; }
  echo "== $name: passed in $((SECONDS - started)) s"
}

stage format cargo fmt --all --check
stage lint cargo clippy --workspace --all-targets -- -D warnings
stage lint-features cargo clippy -p sim -p fuzz -p bench --features sim/mutants,fuzz/libfuzzer,bench/mutants --all-targets -- -D warnings
# The simulator and the models are run below, optimized.
stage test cargo test --workspace --exclude sim --exclude models -- --test-threads 2
RUSTDOCFLAGS="-D warnings" stage docs cargo doc --workspace --no-deps --document-private-items
# Without `-p`, as the demo builds: what is chosen by name gets other features, and other libraries.
stage build cargo build --release --bin merganser --bin torture
# The checks of the simulator itself, and each deliberate bug with how long it lived.
stage mutants cargo test --release -p sim --features mutants -- --nocapture
# Seeds nobody has seen before, few enough that what happens once in some hundred hours mostly stops who
# looks for it (`merganser sim run --hours 300`) and not who lands something else. The first is printed, and `merganser sim replay` shows any.
stage sim target/release/merganser sim run --hours "${SIM_HOURS:-4}"
stage sim-destroy target/release/merganser sim run --hours "$((${SIM_HOURS:-4} / 2))" --destroy
stage models cargo test --release -p models -- --nocapture
stage demo bash scripts/demo.sh
read -ra torture <<<"${TORTURE:-all --short}"
stage torture target/release/torture "${torture[@]}"
# By the same chance each time: what new chance finds should not stop what has nothing to do
# with it. `just fuzz` and `just prove` look further.
stage fuzz env FUZZ_SEED=1 bash scripts/fuzz.sh "${FUZZ_RUNS:-500000}"
if command -v cargo-deny >/dev/null 2>&1; then
  stage licences cargo deny --offline check licenses bans sources
else
  echo "== licences: SKIPPED(cargo-deny is not installed)"
fi
