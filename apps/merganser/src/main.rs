//! `merganser`, the one binary: a node, a cluster for trying things out, and the commands of
//! users and operators.

mod commands;
mod config;
mod dev;
mod serve;
mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    Sim(simulate::Sim),
}

fn main() -> ExitCode {
    match Cli::parse().action {
        Action::Serve(serve) => serve.run(),
        Action::Dev(dev) => dev.run(),
        Action::Sim(sim) => sim.run(),
        Action::Command(command) => match command.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.report(),
        },
    }
}
