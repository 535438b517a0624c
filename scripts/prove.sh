#!/usr/bin/env bash
# Tries to break the database: so many minutes, half of them in the simulator, a quarter in the
# torture chamber, a quarter with the fuzzer; and before that, however long it takes, mutants,
# models with larger bounds, and every call of the storage engine failed in turn. Ends at the
# first thing found, and takes nothing for proved that was skipped.
#
#   scripts/prove.sh [MINUTES]      60 if nothing is said
set -euo pipefail
cd "$(dirname "$0")/.."
minutes="${1:-60}"
bash scripts/setup.sh proof
cargo build --release --bin merganser --bin torture

echo "== mutants and models"
cargo test --release -p sim --features mutants --test mutants -- --nocapture
cargo test --release -p models -- --include-ignored --nocapture

echo "== storage, each call in turn"
STORAGE_SWEEP=full cargo test --release -p storage --test faults -- --nocapture

echo "== simulator, for $((minutes / 2)) minutes"
end=$((SECONDS + minutes * 30)) hours=0
while [ "$SECONDS" -lt "$end" ]; do
  target/release/merganser sim run --hours 60
  target/release/merganser sim run --hours 20 --destroy
  hours=$((hours + 80))
done
echo "== simulator: $hours cluster-hours without a violation"

echo "== torture, for $((minutes / 4)) minutes"
end=$((SECONDS + minutes * 15)) times=0
while [ "$SECONDS" -lt "$end" ]; do
  target/release/torture all --skips-max 0
  times=$((times + 1))
done
echo "== torture: all scenarios $times times"

echo "== fuzz, for $((minutes / 4)) minutes"
bash scripts/fuzz.sh "$((minutes / 4 + 1))m"
