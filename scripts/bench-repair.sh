#!/usr/bin/env bash
# How long a node takes to be whole again whose disk was lost, when no log reaches back to what was on it: one of three
# is killed, its directory is removed, and it is started again; then every shard has to be shown to be equal. With
# BENCH_RATE, beside so many requests a second, of which the latencies are compared with those before. A table in Markdown.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
command -v python3 >/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3; }
command -v curl >/dev/null || { apt-get update && apt-get install -y --no-install-recommends curl; }
cargo build --release --bin merganser
merganser="${CARGO_TARGET_DIR:-$PWD/target}/release/merganser"
port="${BENCH_PORT:-7691}" keys="${BENCH_KEYS:-100000}" bytes="${BENCH_BYTES:-100}" rate="${BENCH_RATE:-0}"
seconds="${BENCH_SECONDS:-20}" patience="${BENCH_PATIENCE:-300}"
work="$(mktemp -d)"

stop_all() {
  for process in ${load:-} ${restarted:-} ${dev:-}; do
    { kill -INT "$process" 2>/dev/null && wait "$process" 2>/dev/null; } || true
  done
  rm -rf "$work"
}
trap stop_all EXIT

"$merganser" dev --nodes 3 --dir "$work/cluster" --base-port "$port" >"$work/dev.log" 2>&1 &
dev=$!
for _ in $(seq 300); do grep -q '^ready' "$work/dev.log" && break; sleep 0.1; done
at() { echo "http://127.0.0.1:$((port + $1 - 1))"; }
metric() { curl -s "$(at "$1")/metrics" | awk -v name="merganser_$2" '$1 == name { print $2 }'; }
is_proven() { # whether every shard was shown to be equal at node $1 and those with greater numbers a moment ago
  local age up
  age="$(metric "$1" unproven_seconds)" up="$(metric "$1" uptime_seconds)"
  # Before anything was shown, it counts from the start.
  [ -n "$age" ] && awk -v age="$age" -v up="$up" 'BEGIN { exit !(age < 2.5 && age < up - 0.5) }'
}
load() { # name, arguments of merganser bench
  local name="$1"; shift
  "$merganser" bench --node "$(at 1),$(at 2)" --keys "$keys" --value-bytes "$bytes" --json "$@" >"$work/$name.json"
}

"$merganser" keyspace create bench --replicas 3 --node "$(at 1)" >/dev/null
load fill --durability buffered --load -c 16
are_proven() { is_proven 1 && is_proven 2; }
for _ in $(seq $((patience * 5))); do are_proven && break; sleep 0.2; done
[ "$rate" = 0 ] || load healthy --rate "$rate" --duration "${seconds}s" -c 64
kill -9 "$(cat "$work/cluster/n3/data/node.pid")"
rm -rf "$work/cluster/n3/data"
if [ "$rate" != 0 ]; then
  load back --rate "$rate" --duration "${seconds}s" -c 64 &
  load=$!
fi
# What was shown before it was killed is old by then.
for _ in $(seq 50); do are_proven || break; sleep 0.1; done
began="$(date +%s.%N)"
"$merganser" serve --config "$work/cluster/n3/node.toml" >"$work/n3.log" 2>&1 &
restarted=$!
for _ in $(seq $((patience * 10))); do are_proven && break; sleep 0.1; done
are_proven || { echo "not whole after $patience s" >&2; exit 1; }
took="$(awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }')"
[ -z "${load:-}" ] || { wait "$load"; load=""; }
echo "| keys | bytes each | on its disk | seconds until whole |"
echo "| --: | --: | --: | --: |"
echo "| $keys | $bytes | $(du -sm "$work/cluster/n3/data" | cut -f1) MiB | $took |"
[ "$rate" = 0 ] || python3 - "$work" <<'P'
import json, sys
def get(name):
    data = json.load(open(f"{sys.argv[1]}/{name}.json"))
    return data[0] if isinstance(data, list) else data.get("phases", [data])[0]
print("\n| | before | meanwhile | ratio |\n| --- | --- | --- | --: |")
healthy, back = get("healthy"), get("back")
for kind in ("put", "get"):
    a, b = (phase[kind]["p99_micros"] / 1000 for phase in (healthy, back))
    print(f"| {kind}, p99 | {a:.2f} ms | {b:.2f} ms | {b / a:.2f} |")
P
