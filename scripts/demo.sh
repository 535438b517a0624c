#!/usr/bin/env bash
# The main job on real input: a cluster of three processes takes in a file of orbital elements, and
# goes on reading and writing while one of its nodes is killed and comes back.
# Every step checks what it shows; the first surprise ends the run with a message.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
if [ -z "${MERGANSER:-}" ]; then
  cargo build --release --bin merganser
  MERGANSER="${CARGO_TARGET_DIR:-target}/release/merganser"
fi
port="${DEMO_PORT:-7401}"
dir="$(mktemp -d)"
n1="http://127.0.0.1:$port" n2="http://127.0.0.1:$((port + 1))" n3="http://127.0.0.1:$((port + 2))"
tle=apps/merganser/tests/data/sgp4-ver.tle
vanguard="00005" epoch="2000-179.78495062"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ merganser %s\n' "$*"; "$MERGANSER" "$@"; }
die() { echo "the demo failed: $*" >&2; exit 1; }

say "1. Three nodes, three processes"
"$MERGANSER" dev --nodes 3 --dir "$dir/cluster" --base-port "$port" >"$dir/dev.log" 2>&1 &
dev=$!
stop() {
  [ -z "${restarted:-}" ] || kill "$restarted" 2>/dev/null || true
  kill -INT "$dev" 2>/dev/null || true
  wait "$dev" 2>/dev/null || true
  [ -z "${restarted:-}" ] || wait "$restarted" 2>/dev/null || true
  rm -rf "$dir"
}
trap stop EXIT
for _ in $(seq 100); do
  run status --node "$n1,$n2,$n3" >"$dir/status" 2>&1 && grep -q "$n3" "$dir/dev.log" && break
  kill -0 "$dev" 2>/dev/null || { cat "$dir/dev.log"; die "the cluster did not start"; }
  sleep 0.1
done
cat "$dir/dev.log"

say "2. A table, and a real file of orbital elements"
run keyspace create catalog --replicas 3 --node "$n1"
run table create catalog tle --policy siblings --node "$n1"
run import catalog tle "$tle" --skip-bad --node "$n1"      # five lines of the file have wrong checksums

say "3. Read at another node what was written through the first"
run get catalog tle "$vanguard" --sort "$epoch" --node "$n2" | tee "$dir/read"
grep -q "58002B" "$dir/read" || die "Vanguard 1 is not what was imported"

say "4. Kill node 3 with kill -9, and go on"
kill -9 "$(cat "$dir/cluster/n3/data/node.pid")"
echo "\$ kill -9 (node 3)"
run get catalog tle "$vanguard" --sort "$epoch" --node "$n1" >"$dir/read"
grep -q "58002B" "$dir/read" || die "the read after the kill failed"
run put catalog tle "$vanguard" "observed while node 3 was dead" --sort note --node "$n2"
run get catalog tle "$vanguard" --sort note --node "$n1"

say "5. Start node 3 again: a read through it brings it up to date"
"$MERGANSER" serve --config "$dir/cluster/n3/node.toml" >"$dir/n3.log" 2>&1 &
restarted=$!
for _ in $(seq 100); do
  # The node answers at once, and knows after a moment who else is alive.
  "$MERGANSER" get catalog tle "$vanguard" --sort note --node "$n3" >"$dir/read" 2>"$dir/err" && break
  kill -0 "$restarted" 2>/dev/null || { cat "$dir/n3.log"; die "node 3 did not come back"; }
  sleep 0.1
done
grep -q "while node 3 was dead" "$dir/read" || { cat "$dir/err"; die "the quorum read through node 3 failed"; }
echo "and from node 3's own disk alone:"
for _ in $(seq 50); do
  run get catalog tle "$vanguard" --sort note --level ONE --node "$n3" >"$dir/read" 2>"$dir/err" && break
  sleep 0.1
done
cat "$dir/read"
grep -q "while node 3 was dead" "$dir/read" || { cat "$dir/err"; die "node 3 did not catch up"; }
run status --node "$n1,$n2,$n3"
say "The demo passed."
