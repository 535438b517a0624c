#!/usr/bin/env bash
# Tries to break the database for about so many minutes: half of them in the simulator, a
# quarter in the torture chamber, a quarter with the fuzzer. Ends at the first thing found.
#
#   scripts/prove.sh [MINUTES]      60 if nothing is said
set -euo pipefail
cd "$(dirname "$0")/.."
minutes="${1:-60}"
bash scripts/setup.sh proof
cargo build --release --bin merganser
cargo build --release -p torture

echo "== mutants and models"
cargo test --release -p sim --features mutants --test mutants -- --nocapture
cargo test --release -p models -- --nocapture

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
  cargo run --release -p torture -- all
  times=$((times + 1))
done
echo "== torture: all scenarios $times times"

echo "== fuzz, for $((minutes / 4)) minutes"
bash scripts/fuzz.sh "$((minutes / 4 + 1))m"
