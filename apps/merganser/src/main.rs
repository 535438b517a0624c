//! `merganser`, the one binary: a node, a cluster for trying things out, and the commands of
//! users and operators.

mod commands;
mod config;
mod dev;
mod serve;
mod simulate;

use std::process::ExitCode;

use allocator::MiMalloc;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
    allocator::give_back_soon();
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut Cli::command()).exit(),
    };
    match cli.action {
        Action::Serve(serve) => serve.run(),
        Action::Dev(dev) => dev.run(),
        Action::Sim(sim) => sim.run(),
        Action::Command(command) => match command.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.report(wants_json(&matches)),
        },
    }
}

/// Whether `--json` was given, which every command has for itself that prints anything.
fn wants_json(matches: &ArgMatches) -> bool {
    let here = matches.try_get_one::<bool>("json").ok().flatten().copied().unwrap_or_default();
    here || matches.subcommand().is_some_and(|(_, below)| wants_json(below))
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    /// All that can be typed to name a command.
    fn paths(command: &Command, before: &[String]) -> Vec<Vec<String>> {
        let path = [before, &[command.get_name().to_owned()]].concat();
        let below = command.get_subcommands().flat_map(|command| paths(command, &path));
        below.chain([path.clone()]).collect()
    }

    #[test]
    fn json_is_wanted_where_it_is_asked_for_and_not_where_it_is_a_value() {
        for (line, wanted) in [
            ("merganser get a b c --json", true),
            ("merganser get a b c", false),
            ("merganser get a b -- --json", false),
            ("merganser hints status --json", true),
            ("merganser hints --json status", true),
            ("merganser export a b", false),
        ] {
            let matches = Cli::command().try_get_matches_from(line.split(' ')).unwrap();
            assert_eq!(wants_json(&matches), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_asked_of_nodes_is_refused_where_none_is_asked() {
        let is_read = |more: &str| {
            let line = format!("merganser predict -r 1 -w 1 {more}");
            Cli::try_parse_from(line.trim().split(' ')).is_ok()
        };
        for other in ["", "--samples times", "--model wan"] {
            assert!(is_read(other), "{other}");
            for option in ["--timeout 1s", "--over 1s", "--among n1", "--keyspace ks"] {
                assert!(is_read(&format!("--node http://n1 {option}")), "{option}");
                assert!(!is_read(format!("{other} {option}").trim()), "{other} {option}");
            }
        }
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
