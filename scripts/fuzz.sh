#!/usr/bin/env bash
# Fuzzes every decoder that reads bytes from outside, as many at a time as there are cores.
#
#   scripts/fuzz.sh [RUNS]          so many inputs per target, 1,000,000 if nothing is said; a
#                                   quarter of them where an input is a whole request or file, and
#                                   a tenth where it is all that a node hears. A target that has
#                                   done less after FUZZ_SECONDS (1200) fails
#   scripts/fuzz.sh 600s [TARGET..] so many seconds per target, of all or these targets
#   scripts/fuzz.sh 15m             so many minutes for all of them together
#   FUZZ_SEED=1 scripts/fuzz.sh ..  by the same chance each time; without, always another
#   FUZZ_KEEP=1 scripts/fuzz.sh ..  and keeps what covers more, in proof/fuzz/corpus
#
# Prints a line per target, and fails if one crashed: with the input, how to run it again, and
# where to keep it.
set -euo pipefail
cd "$(dirname "$0")/.."

amount="${1:-1000000}"
shift || true
case "$amount" in
  *s) limit="-max_total_time=${amount%s}" ;;
  *m) limit="" ;;
  '' | *[!0-9]*)
    echo "fuzz: \"$amount\" is no number of inputs, nor of seconds (600s) or minutes (15m)" >&2
    exit 2
    ;;
  *) limit="-max_total_time=${FUZZ_SECONDS:-1200}" ;;
esac

bash scripts/setup.sh

target_dir="${CARGO_TARGET_DIR:-$PWD/target}"
work="$target_dir/fuzzing"
started=$SECONDS
RUSTC_WORKSPACE_WRAPPER="$PWD/scripts/fuzz-rustc.sh" \
  cargo build -q --release -p fuzz --features libfuzzer
binary="$target_dir/release/fuzz"
built=$((SECONDS - started))

rm -rf "$work"
mkdir -p "$work/found" "$work/logs"
FUZZ_TOOL="unpack $work/seeds" "$binary" >/dev/null
if [ $# -gt 0 ]; then targets="$*"; else targets="$(FUZZ_TOOL=list "$binary")"; fi
# So many minutes for all targets, of which as many run at once as there are cores.
[ -n "$limit" ] || limit="-max_total_time=$((${amount%m} * 60 * $(nproc) / $(wc -w <<<"$targets") + 1))"

# How many inputs a target gets, or none if it gets a time. A request takes as long as ten keys,
# and what a node hears as long as forty.
runs_of() {
  case "$amount" in *s | *m) return ;; esac
  case "$1" in
    http-* | import-* | client-*) echo "$((amount / 4))" ;;
    node) echo "$((amount / 10))" ;;
    *) echo "$amount" ;;
  esac
}

one() {
  local target="$1" runs flags=()
  runs="$(runs_of "$target")"
  [ -z "$runs" ] || flags+=("-runs=$runs")
  mkdir -p "$work/corpus/$target"
  [ -s "$work/seeds/$target.dict" ] && flags+=("-dict=$work/seeds/$target.dict")
  # Each input gets 10 s, and the whole process 1 GiB; the harness bounds each input more closely.
  # shellcheck disable=SC2086
  FUZZ_TARGET="$target" "$binary" $limit -seed="${FUZZ_SEED:-0}" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 -verbosity=1 -close_fd_mask=1 "${flags[@]}" \
    -artifact_prefix="$work/found/$target-" \
    "$work/corpus/$target" "$work/seeds/$target" >"$work/logs/$target" 2>&1 ||
    echo "$target" >>"$work/crashed"
}
export -f one runs_of
export work binary limit amount
# The slow ones are the last of the list, and begin.
echo "$targets" | tr ' ' '\n' | tac | xargs -P "$(nproc)" -I{} bash -c 'one {}'

printf '%-14s %12s %10s %8s %8s %10s %8s %14s\n' \
  target runs exec/s corpus edges new-edges peak-MB bytes
total_runs=0 total_bytes=0 short=()
for target in $targets; do
  log="$work/logs/$target"
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log" | tail -1)
  peak=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log" | tail -1)
  bytes=$(sed -n 's/^stat::inputs_and_bytes: [0-9]* //p' "$log" | tail -1)
  first=$(sed -n 's/.*INITED cov: \([0-9]*\).*/\1/p' "$log" | tail -1)
  last=$(sed -n 's/^#[0-9]*.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
  corpus=$(sed -n 's/^#[0-9]*.* corp: \([0-9]*\).*/\1/p' "$log" | tail -1)
  printf '%-14s %12s %10s %8s %8s %10s %8s %14s\n' "$target" "${runs:-crashed}" "${rate:--}" \
    "${corpus:--}" "${last:--}" "$((${last:-0} - ${first:-0}))" "${peak:--}" "${bytes:--}"
  total_runs=$((total_runs + ${runs:-0}))
  # A build without coverage finds nothing, and says nothing of it.
  [ "${last:-0}" -gt 0 ] || short+=("$target covers nothing")
  wanted="$(runs_of "$target")"
  [ "${runs:-0}" -ge "${wanted:-0}" ] || short+=("$target did ${runs:-0} of $wanted")
  total_bytes=$((total_bytes + ${bytes:-0}))
done
echo "fuzz: $total_runs runs, $total_bytes bytes, built in $built s, run in $((SECONDS - started - built)) s"

if [ "${FUZZ_KEEP:-}" = 1 ]; then
  for target in $targets; do
    mkdir -p "$work/kept/$target"
    FUZZ_TARGET="$target" "$binary" -merge=1 -max_len=4096 "$work/kept/$target" \
      "$work/seeds/$target" "$work/corpus/$target" >/dev/null 2>&1
  done
  FUZZ_TOOL="pack $work/kept" "$binary"
  du -ch proof/fuzz/corpus/*.hex | tail -1
fi

if [ ! -e "$work/crashed" ]; then
  [ "${#short[@]}" -eq 0 ] || { printf 'fuzz: %s\n' "${short[@]}"; exit 1; }
  exit 0
fi
sort -u "$work/crashed" | while read -r target; do
  echo
  echo "CRASHED: $target"
  grep -m1 -A4 -E "panicked at|ERROR: libFuzzer" "$work/logs/$target" || tail -5 "$work/logs/$target"
  for input in "$work/found/$target"-*; do
    echo "  input:      $input ($(wc -c <"$input") bytes)"
    echo "  run again:  cargo run -p fuzz -- run $target $input"
    echo "  keep it:    (echo '# what it was'; cargo run -q -p fuzz -- hex $input) >>proof/fuzz/found/$target.hex"
  done
done
exit 1
