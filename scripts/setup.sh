#!/usr/bin/env bash
# Makes sure that there is a C and C++ compiler: the allocator, the hash function and the
# fuzzer are built by it. Everything else comes with the Rust toolchain or from crates.io.
#
# `scripts/setup.sh proof` also installs what the torture chamber needs: tools that fail a
# system call, lose power, cut a network. What cannot be installed is skipped, and counted,
# by the scenario that needs it.
set -euo pipefail
as_root=""
[ "$(id -u)" -eq 0 ] || as_root="sudo -n"

# install PACKAGE..., from Debian's packages.
install() {
  $as_root apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@"
}

if ! command -v cc >/dev/null 2>&1 || ! command -v c++ >/dev/null 2>&1; then
  install build-essential
fi
if ! command -v cargo >/dev/null 2>&1; then
  echo "cargo is missing: install the Rust toolchain from https://rustup.rs and try again" >&2
  exit 1
fi

if [ "${1:-}" = proof ]; then
  missing=()
  # A command, and the package that brings it.
  while read -r tool package; do
    command -v "$tool" >/dev/null 2>&1 || missing+=("$package")
  done <<'TOOLS'
strace strace
faketime faketime
xfs_io xfsprogs
mkfs.ext4 e2fsprogs
ip iproute2
ping iputils-ping
TOOLS
  if [ "${#missing[@]}" -ne 0 ]; then
    install "${missing[@]}" || echo "could not install ${missing[*]}: what needs them is skipped"
  fi
fi
