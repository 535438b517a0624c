#!/usr/bin/env bash
# Five times what a cluster of three processes on this machine can do, for a minute; nothing else should run.
# Prints the figures as JSON. Arguments go to the loader: --seconds 20 --connections 6000 --factor 3.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --bin merganser --bin overload
bin="${CARGO_TARGET_DIR:-$PWD/target}/release" port="${BENCH_PORT:-7701}" work="$(mktemp -d)"
stop() { [ -z "${dev:-}" ] || { kill -INT "$dev" 2>/dev/null && wait "$dev" 2>/dev/null; } || true; rm -rf "$work"; }
trap stop EXIT
"$bin/merganser" dev --nodes 3 --dir "$work/cluster" --base-port "$port" >"$work/dev.log" 2>&1 &
dev=$!
for _ in $(seq 300); do grep -q '^ready' "$work/dev.log" && break; sleep 0.1; done
pids="$(for node in 1 2 3; do cat "$work/cluster/n$node/data/node.pid"; done | paste -sd,)"
"$bin/overload" --nodes "127.0.0.1:$port,127.0.0.1:$((port + 1)),127.0.0.1:$((port + 2))" --pids "$pids" "$@"
