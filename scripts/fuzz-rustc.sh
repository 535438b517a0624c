#!/usr/bin/env bash
# What cargo calls in place of rustc for the crates of this workspace, and only for those: the
# compiler with the coverage that libFuzzer reads, and with the checks that are otherwise made in
# debug builds only. Stable compilers have the coverage behind -C options.
# What only draws inputs is not looked at.
case " $* " in *" --crate-name samples "*) exec "$@" ;; esac
exec "$@" -Copt-level=1 -Cdebug-assertions=on -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
