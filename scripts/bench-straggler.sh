#!/usr/bin/env bash
# What one slow replica of three does to reads. The process of n3 is stopped for nine of every ten milliseconds, so that
# it does everything ten times slower, and reads at R = 2 are asked of n1 and n2, healthy and slow in turn. Prints a
# table in Markdown: latencies, their ratios, and how many replicas were asked in addition. About two minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
command -v python3 >/dev/null || { apt-get update && apt-get install -y --no-install-recommends python3; }
cargo build --release --bin merganser
merganser="${CARGO_TARGET_DIR:-$PWD/target}/release/merganser"
port="${BENCH_PORT:-7641}" rate="${BENCH_RATE:-400}" seconds="${BENCH_SECONDS:-15}" rounds="${BENCH_ROUNDS:-3}"
work="$(mktemp -d)"

stop_all() {
  [ -z "${pulse:-}" ] || kill "$pulse" 2>/dev/null || true
  [ -z "${dev:-}" ] || { kill -INT "$dev" 2>/dev/null && wait "$dev" 2>/dev/null; } || true
  rm -rf "$work"
}
trap stop_all EXIT

"$merganser" dev --nodes 3 --dir "$work/cluster" --base-port "$port" >"$work/dev.log" 2>&1 &
dev=$!
for _ in $(seq 300); do grep -q '^ready' "$work/dev.log" && break; sleep 0.1; done
slow="$(cat "$work/cluster/n3/data/node.pid")"
nodes="http://127.0.0.1:$port,http://127.0.0.1:$((port + 1))"

load() { # name, arguments of merganser bench
  local name="$1"; shift
  echo "== $name" >&2
  "$merganser" bench --node "$nodes" --table main --keys 10000 --json "$@" >"$work/$name.json"
}

counted() { # a counter, at both nodes together
  for at in "$port" "$((port + 1))"; do
    exec 3<>"/dev/tcp/127.0.0.1/$at"
    printf 'GET /metrics HTTP/1.0\r\nHost: bench\r\n\r\n' >&3
    cat <&3
  done | awk -v name="$1" '$1 ~ name { sum += $2 } END { printf "%d", sum }'
}

load fill --durability buffered --replicas 3 --load -c 16
load warm --reads 100 --rate "$rate" --duration 5s -c 64
for round in $(seq "$rounds"); do
  load "healthy-$round" --reads 100 --rate "$rate" --duration "${seconds}s" -c 64
  hedges="$(counted hedges_total)"
  python3 -c '
import os, signal, sys, time
pid = int(sys.argv[1])
def end(*_):
    os.kill(pid, signal.SIGCONT)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
while True:
    os.kill(pid, signal.SIGSTOP); time.sleep(0.009)
    os.kill(pid, signal.SIGCONT); time.sleep(0.001)
' "$slow" &
  pulse=$!
  load "slow-$round" --reads 100 --rate "$rate" --duration "${seconds}s" -c 64
  kill "$pulse"; wait "$pulse" || true; pulse=
  echo "$(($(counted hedges_total) - hedges))" >"$work/slow-$round.hedges"
  sleep 2
done

python3 - "$work" "$rounds" <<'P'
import json, sys
work, rounds = sys.argv[1], int(sys.argv[2])
def get(name):
    data = json.load(open(f"{work}/{name}.json"))
    data = data[0] if isinstance(data, list) else data.get("phases", [data])[0]
    return data["get"]
print("\n| round | p50 healthy, slow | p99 | p99.9 | ratio of p99.9 | hedges per read |\n| --- | --- | --- | --- | --: | --: |")
for round in range(1, rounds + 1):
    healthy, slow = get(f"healthy-{round}"), get(f"slow-{round}")
    hedges = int(open(f"{work}/slow-{round}.hedges").read()) / slow["count"]
    cells = [f"{healthy[p]/1000:.2f}, {slow[p]/1000:.2f} ms" for p in ("p50_micros", "p99_micros", "p999_micros")]
    ratio = slow["p999_micros"] / healthy["p999_micros"]
    print(f"| {round} | {' | '.join(cells)} | {ratio:.2f} | {hedges:.3f} |")
P
