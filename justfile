# What people do every day. `just` alone lists the recipes.

default:
    @just --list

# The release binary, target/release/merganser.
build:
    cargo build --release --bin merganser

# Everything that has to hold before a change lands.
test:
    bash scripts/test.sh

# Quick feedback: unit and property tests of one crate, or of all.
check crate="":
    cargo test {{ if crate == "" { "--workspace" } else { "-p " + crate } }}

# Mistreats real processes: all scenarios, or those named. `just torture all --long` takes hours.
torture *scenarios="all": build
    cargo run --release --bin torture -- {{scenarios}}

# Fuzzes every decoder, each for so many seconds.
fuzz seconds="600":
    bash scripts/fuzz.sh {{seconds}}s

# Everything that tries to break the database, for about so many minutes.
prove minutes="60":
    bash scripts/prove.sh {{minutes}}

# Replays one simulated run.
sim seed:
    cargo run --release --bin merganser -- sim replay --seed {{seed}}

# Runs many fresh simulated runs.
sims count="1000":
    cargo run --release --bin merganser -- sim run --seeds {{count}}

# A cluster of separate processes on this machine, with data kept in merganser-dev/.
cluster nodes="3":
    cargo run --release --bin merganser -- dev --nodes {{nodes}}

# The main job on real input: start, import, kill a node, go on, restart it.
demo:
    bash scripts/demo.sh

# The figures of docs/benchmarks.md, beside Redis from Debian's package.
bench:
    bash scripts/bench.sh

# How long a node takes to be whole again whose disk was lost.
bench-repair:
    bash scripts/bench-repair.sh

# What replicas say to each other to become equal, in bytes of the wire: a million keys, a minute or two. `--json` for programs.
bench-dialogue *options:
    cargo run --release -p bench --bin dialogue -- {{options}}

# What clocks, logs, trees and their exchange cost beside the puts themselves.
bench-upkeep *options:
    cargo run --release -p bench --features mutants --bin upkeep -- {{options}}

# Five times what a cluster of three can do, for a minute: what is still done, what the others are told, and what is left of it.
overload *options:
    bash scripts/overload.sh {{options}}

# The documentation of all crates.
docs:
    cargo doc --workspace --no-deps --document-private-items --open
