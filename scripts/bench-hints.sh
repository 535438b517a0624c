#!/usr/bin/env bash
# What the return of a replica does to everybody else. One of four nodes is killed; the others take so many writes that it
# misses as an hour brings at some eighty a second; then it is started, and handed over what guests keep for it
# and what replicas have, while clients go on as before. Prints a table in Markdown. About five minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
command -v python3 >/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3; }
cargo build --release --bin merganser
merganser="${CARGO_TARGET_DIR:-$PWD/target}/release/merganser"
port="${BENCH_PORT:-7661}" rate="${BENCH_RATE:-400}" seconds="${BENCH_SECONDS:-10}" missed="${BENCH_MISSED:-300000}"
work="$(mktemp -d)"

stop_all() {
  [ -z "${restarted:-}" ] || { kill -INT "$restarted" 2>/dev/null && wait "$restarted" 2>/dev/null; } || true
  [ -z "${dev:-}" ] || { kill -INT "$dev" 2>/dev/null && wait "$dev" 2>/dev/null; } || true
  rm -rf "$work"
}
trap stop_all EXIT

"$merganser" dev --nodes 4 --dir "$work/cluster" --base-port "$port" >"$work/dev.log" 2>&1 &
dev=$!
for _ in $(seq 300); do grep -q '^ready' "$work/dev.log" && break; sleep 0.1; done
at() { echo "http://127.0.0.1:$((port + $1 - 1))"; }
nodes="$(at 1),$(at 2)" all="$(at 1),$(at 2),$(at 3)"

load() { # name, arguments of merganser bench
  local name="$1"; shift
  echo "== $name" >&2
  "$merganser" bench --node "$nodes" --keys 200000 --json "$@" >"$work/$name.json"
}

owed() { # hints that the three others keep
  for node in ${all//,/ }; do "$merganser" hints status --node "$node" --json; done |
    python3 -c 'import json, re, sys; print(sum(map(int, re.findall(r"\"count\":\s*(\d+)", sys.stdin.read()))))'
}

"$merganser" keyspace create bench --replicas 3 --sloppy --node "$(at 1)" >/dev/null
load fill --durability buffered --load -c 16
# The healthy cluster is given as many writes, so that its stores are as deep as later.
load even --reads 0 --ops "$missed" -c 16
load warm --rate "$rate" --duration 10s -c 64
load healthy --rate "$rate" --duration "${seconds}s" -c 64
kill -9 "$(cat "$work/cluster/n4/data/node.pid")"
load away --reads 0 --ops "$missed" -c 16
# An hour's writes within a minute leave the storage engine with work that an hour would have done.
load settle --rate "$rate" --duration 10s -c 64
hints="$(owed)"
# Clients never pause: without them a node hands over as fast as it can. The start of a process is no replay, and on
# few cores it is felt: what is measured begins some seconds after it.
load back --rate "$rate" --duration "${seconds}s" -c 64 --warmup 6s &
loading=$!
sleep 3
"$merganser" serve --config "$work/cluster/n4/node.toml" >"$work/n4.log" 2>&1 &
restarted=$! began=$SECONDS
wait "$loading"
# Nobody asks how far it is meanwhile: four processes that start each second would be measured, too.
left="$(owed)"
until [ "$(owed)" = 0 ]; do
  [ $((SECONDS - began)) -lt 300 ] || { echo "$(owed) hints are left after five minutes" >&2; exit 1; }
  sleep 0.5
done
took=$((SECONDS - began))
load after --rate "$rate" --duration "${seconds}s" -c 64

python3 - "$work" "$hints" "$left" "$took" <<'P'
import json, sys
work, hints, left, took = sys.argv[1:]
def get(name):
    data = json.load(open(f"{work}/{name}.json"))
    return data[0] if isinstance(data, list) else data.get("phases", [data])[0]
print(f"\n{hints} hints, {left} of them left when clients paused, and none {took} s after the start.\n")
print("| | healthy | while it comes back | ratio | afterwards |\n| --- | --- | --- | --: | --- |")
healthy, back, after = get("healthy"), get("back"), get("after")
for kind in ("put", "get"):
    for p in ("p50", "p99", "p999"):
        a, b, c = (phase[kind][f"{p}_micros"] / 1000 for phase in (healthy, back, after))
        print(f"| {kind}, {p} | {a:.2f} ms | {b:.2f} ms | {b / a:.2f} | {c:.2f} ms |")
P
