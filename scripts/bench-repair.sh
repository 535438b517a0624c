#!/usr/bin/env bash
# How long a node takes to be whole again whose disk was lost, when no log reaches back to what was on it: one of three
# is killed, its directory is removed, and it is started again, alone and beside clients. Prints a table in Markdown.
set -euo pipefail
cd "$(dirname "$0")/.."
merganser="${MERGANSER:-${CARGO_TARGET_DIR:-$PWD/target}/release/merganser}"
[ -n "${MERGANSER:-}" ] || { bash scripts/setup.sh; cargo build --release --bin merganser; }
port="${BENCH_PORT:-7691}" keys="${BENCH_KEYS:-100000}" bytes="${BENCH_BYTES:-100}" rate="${BENCH_RATE:-0}"
patience="${BENCH_PATIENCE:-300}" restarted=""
work="$(mktemp -d)"

stop_all() {
  for process in $restarted ${load:-} ${dev:-}; do kill -INT "$process" 2>/dev/null && wait "$process" 2>/dev/null; done || true
  rm -rf "$work"
}
trap stop_all EXIT

"$merganser" dev --nodes 3 --dir "$work/cluster" --base-port "$port" >"$work/dev.log" 2>&1 &
dev=$!
for _ in $(seq 300); do grep -q '^ready' "$work/dev.log" && break; sleep 0.1; done
at() { echo "http://127.0.0.1:$((port + $1 - 1))"; }
metric() { curl -s "$(at "$1")/metrics" | awk -v name="merganser_$2" '$1 == name { print $2 }'; }
proven() { # whether every shard was shown to be equal at node $1 and each other a moment ago
  # Before anything was shown, it counts from the start.
  local age up; age="$(metric "$1" unproven_seconds)" up="$(metric "$1" uptime_seconds)"
  [ -n "$age" ] && awk -v age="$age" -v up="$up" 'BEGIN { exit !(age < 2.5 && age < up - 0.5) }'
}

"$merganser" keyspace create bench --replicas 3 --node "$(at 1)" >/dev/null
"$merganser" bench --node "$(at 1),$(at 2),$(at 3)" --durability buffered --load --keys "$keys" --value-bytes "$bytes" -c 16 --json >"$work/load.json"
until proven 1 && proven 3; do sleep 0.2; done

victim="$(cat "$work/cluster/n3/data/node.pid")"
kill -9 "$victim"
rm -rf "$work/cluster/n3/data"
healthy=""
if [ "$rate" != 0 ]; then
  "$merganser" bench --node "$(at 1),$(at 2)" --keys "$keys" --rate "$rate" --duration 15s -c 64 --json >"$work/before.json"
  "$merganser" bench --node "$(at 1),$(at 2)" --keys "$keys" --rate "$rate" --duration "${BENCH_SECONDS:-20}s" -c 64 --json >"$work/beside.json" &
  load=$!
fi
began="$(date +%s.%N)"
"$merganser" serve --config "$work/cluster/n3/node.toml" >"$work/n3.log" 2>&1 &
restarted=$!
for _ in $(seq $((patience * 10))); do
  [ "$(metric 3 uptime_seconds)" != "" ] && proven 3 && break
  sleep 0.1
done
proven 3 || { echo "not whole after $patience s" >&2; tail -3 "$work/n3.log" >&2; exit 1; }
took="$(awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')"
[ -z "${load:-}" ] || wait "$load" || true
held="$(du -sm "$work/cluster/n3/data" | cut -f1)"
sent="$(metric 1 peer_bytes_total)"
p99() { python3 -c 'import json, sys; run = json.load(open(sys.argv[1])); print(json.dumps(run)[:0] + str({k: v for k, v in run.items() if not isinstance(v, (list,))})[:600])' "$1"; }
echo "| keys | bytes each | seconds until whole | MiB on its disk | comparisons | differences |"
echo "| --- | --- | --- | --- | --- | --- |"
echo "| $keys | $bytes | $took | $held | $(metric 3 comparisons_total), $(metric 1 comparisons_total), $(metric 2 comparisons_total) | $(metric 3 differences_total), $(metric 1 differences_total), $(metric 2 differences_total) |"
if [ "$rate" != 0 ]; then p99 "$work/before.json"; p99 "$work/beside.json"; fi
