//! `merganser`, the one binary: a node, a cluster for trying things out, and the commands of
//! users and operators.

mod commands;
mod config;
mod dev;
mod serve;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// A node allocates and frees many small buffers on two threads: this allocator makes a put
/// cheaper than the system's, and returns memory after a burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An always-writable replicated database.
#[derive(Debug, Parser)]
#[command(name = "merganser", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Serve(Box<serve::Serve>),
    Dev(dev::Dev),
    #[command(flatten)]
    Command(commands::Command),
    Sim(Sim),
}

/// Runs a simulated cluster under faults, and checks that it keeps its promises.
///
/// One seed is one run, and gives the same output every time. The exit code says whether all
/// promises were kept.
#[derive(Args, Debug)]
struct Sim {
    /// Which run.
    #[arg(long, value_name = "NUMBER")]
    seed: u64,

    /// How many runs, with this seed and those after it.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    seeds: u64,

    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    match Cli::parse().action {
        Action::Serve(serve) => serve.run(),
        Action::Dev(dev) => dev.run(),
        Action::Sim(sim) => sim::main(sim.seed, sim.seeds, sim.trace),
        Action::Command(command) => match command.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.report(),
        },
    }
}
