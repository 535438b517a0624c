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

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory};

    use super::*;

    /// All that can be typed to name a command.
    fn paths(command: &Command, before: &[String]) -> Vec<Vec<String>> {
        let path = [before, &[command.get_name().to_owned()]].concat();
        let below = command.get_subcommands().flat_map(|command| paths(command, &path));
        below.chain([path.clone()]).collect()
    }

    #[test]
    fn no_command_has_two_options_of_one_name() {
        Cli::command().debug_assert();
        for path in paths(&Cli::command(), &[]) {
            // What every command has is given to those below it only when they are read, and
            // only then does an option of theirs stand in its way: with a panic.
            let _ = Cli::try_parse_from(&path);
        }
    }
}
