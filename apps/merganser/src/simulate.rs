//! `merganser sim`: the simulator at hand.
//!
//! `run` looks for violations in many seeds, `replay` shows one run, step by step if wanted,
//! and `shrink` makes one that fails small enough to be understood, as a file that can be
//! kept and replayed.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, value_parser};
use serde_json::{Map, Value, json};
use sim::{Case, Goal, Options, Plan, Question, Summary, Tally, Violation, Worlds};

/// Runs a simulated cluster under faults, and checks that it keeps its promises.
///
/// One seed is one run, and gives the same output every time. The exit code says whether all
/// promises were kept.
#[derive(Args, Debug)]
pub(crate) struct Sim {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Run(Run),
    Replay(Replay),
    Shrink(Shrink),
    /// Tells what is promised, what is looked at for it and when, and what is not built yet.
    Promises,
}

/// Runs many seeds, and stops at the first violation. With a number of deletes or losses it goes on,
/// and counts violations.
#[derive(Args, Debug)]
struct Run {
    /// The first seed. Without, one that nobody has seen before.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// How many.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    seeds: u64,

    /// Go on until clusters were under load for so many hours together.
    #[arg(long, value_name = "HOURS")]
    hours: Option<u64>,

    /// Run worlds of many deletes, until so many were acknowledged, and print what they had to
    /// survive and whether anything came back.
    #[arg(long, value_name = "COUNT", group = "counted", value_parser = value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["seeds", "hours", "losses"])]
    deletes: Option<u64>,

    /// Run worlds of many lost, rolled-back and damaged records, until there were so many, and
    /// print what became of them.
    #[arg(long, value_name = "COUNT", group = "counted", value_parser = value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["seeds", "hours"])]
    losses: Option<u64>,

    /// Print JSON. For --deletes and --losses.
    #[arg(long, requires = "counted")]
    json: bool,

    /// How many run at once. Without, as many as there are cores.
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,

    /// In worlds where everything may be destroyed, and only lies are violations.
    #[arg(long, conflicts_with = "counted")]
    destroy: bool,
}

/// A run: by its seed, or from a file.
#[derive(Args, Debug)]
struct Which {
    /// Which run.
    #[arg(long, value_name = "NUMBER", required_unless_present = "case")]
    seed: Option<u64>,

    /// In a world where everything may be destroyed.
    #[arg(long)]
    destroy: bool,

    /// Of what kind the world is that the seed draws: any, deletes or losses.
    #[arg(long, value_name = "KIND", default_value = "any", value_parser = worlds)]
    worlds: Worlds,

    /// A run that was kept as a file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "destroy", "worlds"])]
    case: Option<PathBuf>,
}

/// Shows one run again.
#[derive(Args, Debug)]
struct Replay {
    #[command(flatten)]
    which: Which,

    /// Print everything that happens.
    #[arg(long)]
    trace: bool,

    /// Show what happens piece by piece: Enter for the next event, a number for so many, a
    /// word for all up to the next with that word in it, q to end. `k p1/s2` tells the history
    /// of a key so far and what each replica holds, `n 3` how it stands with a node.
    #[arg(long)]
    step: bool,
}

/// Makes a run that fails small.
#[derive(Args, Debug)]
struct Shrink {
    #[command(flatten)]
    which: Which,

    /// Where to keep the result.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// How many runs it may take.
    #[arg(long, default_value_t = 500, value_name = "COUNT")]
    runs: usize,
}

fn worlds(text: &str) -> Result<Worlds, String> {
    let known = Worlds::ALL.iter().copied().find(|worlds| worlds.name() == text);
    known.ok_or_else(|| format!("{text} is none of any, deletes and losses"))
}

impl Sim {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let done = match self.action {
            Action::Run(run) => run.run(),
            Action::Replay(replay) => replay.run(),
            Action::Shrink(shrink) => shrink.run(),
            Action::Promises => {
                print!("{}", sim::promises_as_text());
                Ok(ExitCode::SUCCESS)
            }
        };
        match done {
            Ok(code) => code,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Seeds between two looks at how far it has come.
const BATCH: u64 = 200;

impl Run {
    fn run(&self) -> io::Result<ExitCode> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let fresh = u64::try_from(now.as_micros()).unwrap_or(0);
        let first = self.seed.unwrap_or(fresh);
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or_else(cores);
        let options = Options { destroys: self.destroy, ..Options::default() };
        if let Some(goal) = self.goal() {
            return self.tally(goal, first, threads, &options);
        }
        println!("from seed {first}, on {threads} threads");
        let mut whole = Summary::default();
        let mut next = first;
        while self.wants_more(next - first, &whole) {
            let count =
                if self.hours.is_some() { BATCH } else { BATCH.min(self.seeds + first - next) };
            match sim::run_many(next..next + count, threads, &options) {
                Ok(summary) => whole.merge(&summary),
                Err(violation) => return Ok(told(Err(violation))),
            }
            next += count;
            eprint!("\r{} seeds, {:.1} hours under load", whole.seeds, whole.hours());
            io::stderr().flush()?;
        }
        eprintln!();
        println!("{whole}");
        Ok(ExitCode::SUCCESS)
    }

    fn goal(&self) -> Option<Goal> {
        self.deletes.map(Goal::Deletes).or(self.losses.map(Goal::Losses))
    }

    /// Tries something often, and tells what came of it.
    fn tally(
        &self,
        goal: Goal,
        first: u64,
        threads: usize,
        options: &Options,
    ) -> io::Result<ExitCode> {
        let tell = |tally: &Tally| {
            let (worlds, deletes, losses) = (tally.count(), tally.deletes(), tally.losses());
            eprint!("\r{worlds} worlds, {deletes} deletes acknowledged, {losses} losses");
        };
        let tally = sim::tally(goal, first, threads, options, tell);
        eprintln!();
        if self.json {
            println!("{:#}", as_json(&tally));
        } else {
            println!("{tally}");
        }
        let is_clean = tally.violations.is_empty();
        Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn wants_more(&self, done: u64, whole: &Summary) -> bool {
        match self.hours {
            #[expect(clippy::cast_precision_loss, reason = "nobody waits for 2^52 hours")]
            Some(hours) => whole.hours() < hours as f64,
            None => done < self.seeds,
        }
    }
}

fn as_json(tally: &Tally) -> Value {
    let counts: Map<String, Value> =
        tally.rows().into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    let violation = |violation: &Violation| {
        json!({
            "seed": violation.seed,
            "invariant": format!("{:?}", violation.invariant),
            "detail": violation.detail,
        })
    };
    let violations: Vec<Value> = tally.violations.values().flatten().map(violation).collect();
    json!({
        "worlds": tally.worlds.name(),
        "first_seed": tally.first,
        "last_seed": (tally.first + tally.count()).saturating_sub(1),
        "hours": tally.summary.hours(),
        "core_seconds": tally.summary.core_time.as_secs(),
        "counts": counts,
        "violations": violations,
    })
}

impl Which {
    /// The run, with all of its world.
    fn case(&self) -> io::Result<Case> {
        if let Some(file) = &self.case {
            let of_file = |error: &dyn std::fmt::Display| {
                io::Error::other(format!("{}: {error}", file.display()))
            };
            let text = fs::read_to_string(file).map_err(|error| of_file(&error))?;
            return Case::parse(&text).map_err(|error| of_file(&error));
        }
        let seed = self.seed.unwrap_or(0);
        let plan = Plan { destroys: self.destroy, ..self.worlds.draw(seed) };
        Ok(Case::new(seed, plan, Default::default(), String::new()))
    }
}

impl Replay {
    fn run(&self) -> io::Result<ExitCode> {
        let case = self.which.case()?;
        let options = Options { trace: self.trace && !self.step, ..case.options(None) };
        let outcome = if self.step {
            let (lines, outcome) = sim::trace(case.seed, &options);
            let tell =
                |at: u64, question: &Question| sim::inspect(case.seed, &options, at, question);
            step(&lines, &mut io::stdin().lock(), tell)?;
            outcome
        } else {
            sim::run(case.seed, &options)
        };
        Ok(told(outcome))
    }
}

fn told(outcome: Result<sim::Report, Box<Violation>>) -> ExitCode {
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("{violation}");
            if let Some(commit) = commit() {
                println!("  at commit {commit}");
            }
            ExitCode::FAILURE
        }
    }
}

/// The commit that is checked out here, if this is where the program is developed: a seed
/// means the same run for one version of the code only.
fn commit() -> Option<String> {
    let told = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Shows lines as they are asked for, and returns how many. The end of the input ends it.
/// What is asked in between is answered by `tell`.
fn step(
    lines: &[String],
    asked: &mut impl BufRead,
    tell: impl Fn(u64, &Question) -> Vec<String>,
) -> io::Result<usize> {
    let mut at = 0;
    let mut line = String::new();
    while at < lines.len() {
        eprint!("{at} of {}> ", lines.len());
        line.clear();
        if asked.read_line(&mut line)? == 0 {
            break;
        }
        let wanted = line.trim();
        if let Some(question) = question(wanted) {
            tell(at as u64, &question).iter().for_each(|line| println!("{line}"));
            continue;
        }
        let rest = lines.get(at..).unwrap_or_default();
        let count = match wanted {
            "" => 1,
            "q" => break,
            _ => wanted.parse().unwrap_or_else(|_| {
                rest.iter().position(|line| line.contains(wanted)).map_or(rest.len(), |n| n + 1)
            }),
        };
        rest.iter().take(count).for_each(|line| println!("{line}"));
        at += count.min(rest.len());
    }
    Ok(at)
}

/// What somebody wants to know, if that is what was asked: `k KEY`, or `n NODE`.
fn question(asked: &str) -> Option<Question> {
    match asked.split_once(' ')? {
        ("k", key) => Some(Question::Key(key.trim().into())),
        ("n", node) => Some(Question::Node(node.trim().trim_start_matches('n').parse().ok()?)),
        _ => None,
    }
}

impl Shrink {
    fn run(&self) -> io::Result<ExitCode> {
        let case = self.which.case()?;
        let tell = |what: &str| println!("still fails: {what}");
        let Some((case, violation)) = sim::shrink(case, None, self.runs, tell) else {
            println!("it does not fail, so there is nothing to make smaller");
            return Ok(ExitCode::SUCCESS);
        };
        println!("{violation}");
        let faults = sim::faults_of(&case, &violation);
        println!("{} faults are left: {faults:?}", faults.len());
        match &self.out {
            Some(file) => {
                fs::write(file, case.to_text())?;
                println!(
                    "kept in {0}; again with: merganser sim replay --case {0}",
                    file.display()
                );
            }
            None => println!("{}", case.to_text()),
        }
        Ok(ExitCode::FAILURE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_go_on_by_one_by_so_many_or_to_a_word() {
        let lines: Vec<String> = (0..10).map(|n| format!("event {n}")).collect();
        for (asked, shown) in
            [("\n\n", 2), ("3\n\n", 4), ("event 6\n", 7), ("q\n5\n", 0), ("x\n", 10)]
        {
            let nothing = |_: u64, _: &Question| panic!("{asked:?} is no question");
            assert_eq!(step(&lines, &mut asked.as_bytes(), nothing).unwrap(), shown, "{asked:?}");
        }
    }

    #[test]
    fn a_tally_as_json_names_each_count_and_the_seeds() {
        let tally = sim::tally(Goal::Worlds(2), 7, 1, &Options::default(), |_| {});
        let json = as_json(&tally);
        assert_eq!(json["counts"]["worlds"], 2);
        assert_eq!(json["counts"]["resurrections"], 0);
        assert_eq!((&json["first_seed"], &json["last_seed"]), (&json!(7), &json!(8)));
        assert_eq!(json["violations"], json!([]));
    }

    #[test]
    fn questions_are_answered_for_the_line_that_was_shown_last() {
        let lines: Vec<String> = (0..10).map(|n| format!("event {n}")).collect();
        let heard = std::cell::RefCell::new(Vec::new());
        let tell = |at: u64, question: &Question| {
            heard.borrow_mut().push((at, question.clone()));
            Vec::new()
        };
        let asked = "3\nk p1/s2\n\nn 2\nn n4\nq\n";
        assert_eq!(step(&lines, &mut asked.as_bytes(), tell).unwrap(), 4);
        let key = Question::Key("p1/s2".into());
        assert_eq!(*heard.borrow(), [(3, key), (4, Question::Node(2)), (4, Question::Node(4))]);
    }
}
