#!/usr/bin/env bash
# What cargo calls in place of rustc for the crates of this workspace, and only for those: the
# compiler with the coverage that libFuzzer reads. Stable compilers have it behind -C options.
exec "$@" -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
