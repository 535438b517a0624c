#!/usr/bin/env bash
# Makes sure that there is a C compiler: the allocator and the hash function are built by it.
# Everything else comes with the Rust toolchain or from crates.io.
set -euo pipefail
if ! command -v cc >/dev/null 2>&1; then
  as_root=""
  [ "$(id -u)" -eq 0 ] || as_root="sudo"
  $as_root apt-get update
  $as_root apt-get install -y --no-install-recommends build-essential
fi
if ! command -v cargo >/dev/null 2>&1; then
  echo "cargo is missing: install the Rust toolchain from https://rustup.rs and try again" >&2
  exit 1
fi
