#!/usr/bin/env bash
# The figures of docs/benchmarks.md: three Merganser processes on this machine, and in the same run,
# as the named baseline, a Redis master with one replica and WAIT 1. About eight minutes on a quiet
# machine; nothing else should run. Prints a table in Markdown; the raw figures stay in target/bench/.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
for tool in redis-server python3; do
  command -v "$tool" >/dev/null || { apt-get update && apt-get install -y --no-install-recommends redis-server redis-tools python3; }
done
cargo build --release --bin merganser --bin bench
merganser="$PWD/target/release/merganser" loader="$PWD/target/release/bench"

keys="${BENCH_KEYS:-1000000}" seconds="${BENCH_SECONDS:-10}" port="${BENCH_PORT:-7601}"
out="$PWD/target/bench"
work="$(mktemp -d)"
rm -rf "$out" && mkdir -p "$out"
nodes="http://127.0.0.1:$port,http://127.0.0.1:$((port + 1)),http://127.0.0.1:$((port + 2))"

stop_all() {
  [ -z "${dev:-}" ] || { kill -INT "$dev" 2>/dev/null && wait "$dev" 2>/dev/null; } || true
  for pid in "$work"/redis/*.pid; do [ -f "$pid" ] && kill "$(cat "$pid")" 2>/dev/null; done || true
  rm -rf "$work"
}
trap stop_all EXIT

start_cluster() {
  "$merganser" dev --nodes 3 --dir "$work/cluster" --base-port "$port" >"$work/dev.log" 2>&1 &
  dev=$!
  for _ in $(seq 300); do grep -q '^ready' "$work/dev.log" && return; sleep 0.1; done
  cat "$work/dev.log" && exit 1
}

resident() { # of the three nodes, in KiB
  for node in 1 2 3; do awk '/VmRSS/ { print $2 }' "/proc/$(cat "$work/cluster/n$node/data/node.pid")/status"; done | tr '\n' ' '
}

note() { echo "{\"name\": \"$1\", \"text\": \"$2\"}" >>"$out/notes.jsonl"; echo "$1: $2" >&2; }

load() { # name, arguments of merganser bench
  local name="$1"; shift
  echo "== $name" >&2
  "$merganser" bench --node "$nodes" --pids-from "$work/cluster" --json "$@" >"$out/merganser-$name.json"
}

start_redis() { # always | none
  mkdir -p "$work/redis/m" "$work/redis/r"
  local aof=(--appendonly no)
  [ "$1" = none ] || aof=(--appendonly yes --appendfsync always)
  redis-server --port $((port + 20)) --dir "$work/redis/m" --save "" "${aof[@]}" --daemonize yes --pidfile "$work/redis/m.pid" >/dev/null
  redis-server --port $((port + 21)) --dir "$work/redis/r" --save "" "${aof[@]}" --daemonize yes --pidfile "$work/redis/r.pid" \
    --replicaof 127.0.0.1 $((port + 20)) >/dev/null
  for _ in $(seq 300); do redis-cli -p $((port + 20)) info replication | grep -q 'state=online' && return; sleep 0.1; done
  echo "the replica of Redis did not come" >&2 && exit 1
}

redis() { # name, arguments of the loader
  local name="$1"; shift
  echo "== redis $name" >&2
  "$loader" --redis "127.0.0.1:$((port + 20))" --seconds "$seconds" --keys "$keys" \
    --pids "$(cat "$work/redis/m.pid"),$(cat "$work/redis/r.pid")" "$@" >"$out/redis-$name.json"
}

start_cluster
sleep 2
note "resident KiB of each idle node" "$(resident)"
load load-1M --table main --durability buffered --keys "$keys" --load -c 32
note "resident KiB of each node with $keys keys" "$(resident)"
for round in 1 2; do # Twice, alternating with the baseline: machines have moods.
  for durability in synced buffered; do
    redis_mode=always; [ "$durability" = synced ] || redis_mode=none
    start_redis "$redis_mode"
    for clients in 1 32 50 128; do
      redis "$redis_mode-put-$clients-$round" --clients "$clients"
      # A load is of fresh keys, so that no read is needed before a put.
      count=$((clients == 1 ? 5000 : 60000))
      load "$durability-put-$clients-$round" --table "$durability-$clients-$round" --durability "$durability" --keys "$count" --load -c "$clients"
    done
    [ "$durability" = synced ] || redis "$redis_mode-get-32-$round" --clients 32 --reads 100
    kill "$(cat "$work/redis/m.pid")" "$(cat "$work/redis/r.pid")"; sleep 1; rm -rf "$work/redis"
  done
  for clients in 1 32 128; do
    load "any-get-$clients-$round" --table main --keys "$keys" --reads 100 --duration "${seconds}s" -c "$clients"
  done
done
note "resident KiB of each node at the end" "$(resident)"

kill -INT "$dev" && wait "$dev" || true
started=$(date +%s%N)
start_cluster
note "ms from starting three nodes at once to all of them answering" "$((($(date +%s%N) - started) / 1000000))"
for node in 1 2 3; do kill -9 "$(cat "$work/cluster/n$node/data/node.pid")"; done
kill -INT "$dev" 2>/dev/null && wait "$dev" || true
started=$(date +%s%N)
"$merganser" serve --config "$work/cluster/n1/node.toml" >"$work/n1.log" 2>&1 &
dev=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /v1/scan/bench/main?limit=1&r=ONE HTTP/1.0\r\n\r\n' >&3 && grep -q '200 OK' <&3) 2>/dev/null; do
  kill -0 "$dev" || { cat "$work/n1.log"; exit 1; }
  sleep 0.01
done
note "ms from starting one node after kill -9 to its first answer with data" "$((($(date +%s%N) - started) / 1000000))"

python3 - "$out" <<'P'
import glob, json, os, sys
out = sys.argv[1]
print("\n| what | per second | p50 ms | p99 ms | p99.9 ms | server CPU us per operation |\n| --- | --: | --: | --: | --: | --: |")
for path in sorted(glob.glob(out + "/*.json")):
    name, data = os.path.basename(path)[:-5], json.load(open(path))
    if name.startswith("redis"):
        l, rate, cpu = data["latency_us"], data["per_second"], data["cpu_us_per_operation"]
        p50, p99, p999 = l["p50"], l["p99"], l["p999"]
    else:
        data = data[0] if isinstance(data, list) else data.get("phases", [data])[0]
        kind = data["get"] if data.get("get") and data["get"]["count"] else data["put"]
        rate, cpu = kind["per_second"], data["server_cpu_micros_per_operation"]
        p50, p99, p999 = kind["p50_micros"], kind["p99_micros"], kind["p999_micros"]
    print(f"| {name} | {rate:,.0f} | {p50/1000:.2f} | {p99/1000:.2f} | {p999/1000:.2f} | {cpu:.0f} |")
for line in open(out + "/notes.jsonl"):
    note = json.loads(line)
    print(f"- {note['name']}: {note['text']}")
P
