//! Runs scenarios of the torture chamber and prints what came of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Parser;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use torture::binary::newer_source;
use torture::outcome::{Line, Stop, table};
use torture::process::INTERRUPTED;
use torture::scenarios::{Plan, Sabotage, names, run};

/// What is mistreated if nothing else is named.
const PROGRAM: &str = "target/release/merganser";

/// Mistreats real processes, and compares what can be read with what clients were told.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Scenarios by name, or `all`.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// How often each is done; without, as its module says.
    #[arg(long)]
    rounds: Option<u64>,
    /// Repeats the mistreatment of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// The program to mistreat. Without, the release build below the current directory, unless
    /// a source of it was changed since.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// A run of minutes, as in every test. This is the default.
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// A run of hours.
    #[arg(long)]
    long: bool,
    /// Fails if more scenarios than this were skipped. Without, a machine that cannot do a
    /// thing only says so.
    #[arg(long, value_name = "COUNT")]
    skips_max: Option<usize>,
    /// Secretly leaves a part out, so that the scenario has to fail.
    #[arg(long, hide = true)]
    sabotage: Option<Sabotage>,
    /// Prints one JSON object per scenario instead of the table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let binary = args.binary.clone().unwrap_or_else(|| PathBuf::from(PROGRAM));
    if let Err(why) = may_be_used(&binary, args.binary.is_some()) {
        eprintln!("{}: {why}: build it, or name another with --binary", binary.display());
        return ExitCode::FAILURE;
    }
    std::thread::spawn(wait_for_interrupt);
    let seed = args.seed.unwrap_or_else(rand::random);
    let plan = Plan { binary, seed, rounds: args.rounds, long: args.long, sabotage: args.sabotage };
    eprintln!("seed {seed}");
    let all = args.scenarios.iter().any(|name| name == "all");
    let wanted = if all { names().map(str::to_owned).collect() } else { args.scenarios };
    let mut lines: Vec<Line> = Vec::new();
    for name in wanted {
        let line = run(&name, &plan);
        eprintln!("{name}: {} in {:.1} s", line.verdict(), line.took.as_secs_f64());
        lines.push(line);
    }
    if args.json {
        lines.iter().for_each(|line| println!("{}", line.json()));
    } else {
        println!("{}", table(&lines));
    }
    let failed = lines.iter().any(|line| matches!(line.outcome, Err(Stop::Failed(_))));
    let skipped = lines.iter().filter(|line| matches!(line.outcome, Err(Stop::Skipped(_)))).count();
    let skips_max = args.skips_max.unwrap_or(usize::MAX);
    if skips_max < skipped {
        eprintln!("{skipped} scenarios were skipped, and at most {skips_max} may be");
    }
    if failed || skips_max < skipped { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Whether a program is there and, if nobody has named it, what the sources here say.
fn may_be_used(program: &Path, is_named: bool) -> Result<(), String> {
    if is_named {
        return program.metadata().map(|_| ()).map_err(|err| err.to_string());
    }
    match newer_source(program, Path::new(".")).map_err(|err| err.to_string())? {
        Some(source) => Err(format!("it is older than {}", source.display())),
        None => Ok(()),
    }
}

/// Lets the scenario that runs fail, so that it cleans up: at ^C, and when it is told to end, as
/// by whoever limits its time.
fn wait_for_interrupt() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let interrupted = async {
        let mut told = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = ctrl_c() => pressed,
            _ = told.recv() => Ok(()),
        }
    };
    if let Ok(runtime) = runtime
        && runtime.block_on(interrupted).is_ok()
    {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
}
