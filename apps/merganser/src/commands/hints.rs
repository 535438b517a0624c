//! `merganser hints`: what guests keep for replicas that were away.
//!
//! A hint is handed over as soon as its replica is back, so an old one means that somebody is
//! still away, or cannot take it. `wait` is for scripts: it ends when everything that was kept
//! when it began has been handed over, whatever has come since. Each node waits by itself; where
//! it takes longer than a request may, the next one says how long it has lasted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::{Client, Error, Options, Status};
use serde_json::json;
use tokio::task::JoinSet;

use super::connect::{Connect, ask_each, block_on, some_time};
use super::error::{CliError, Exit};
use super::print;

/// How long a wait rests before it asks a node again that did not answer.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest that a node waits for at once.
const REQUEST_MAX: Duration = Duration::from_secs(60);

/// Show what nodes keep for replicas that were away, or wait until they have it.
#[derive(Debug, clap::Args)]
pub(crate) struct Hints {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show how much each node that `--node` names keeps, for whom, and since when. Ends with 5
    /// if one of them does not answer.
    Status,
    /// Wait until all that the nodes named by `--node` keep now has been handed over.
    Wait {
        /// How long to wait at most, as in 30s or 10m.
        #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "60s")]
        within: Duration,
    },
}

/// What the nodes answered, by endpoint.
type Answers = Vec<(String, Result<Status, Error>)>;

impl Hints {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        match self.action {
            Action::Status => {
                // One try each: that a node does not answer is the news here.
                let client = self.connect.client(once(self.connect.timeout))?;
                let ask = |client: Client| async move { client.status().await };
                let answers = block_on(async { Ok(ask_each(&client, ask).await) })?;
                show(&answers, self.json)?;
                all_answered(&answers)
            }
            Action::Wait { within } => {
                let left = block_on(wait(&self.connect.nodes, within))?;
                tell(&left, self.json)
            }
        }
    }
}

/// What was there when the wait began and is not handed over, in words. Nothing when all is.
async fn wait(nodes: &[String], within: Duration) -> Result<Vec<String>, CliError> {
    let begun = Instant::now();
    // All of them, however many: who waits for a place waits out the time that it has.
    let mut waiting = JoinSet::new();
    for (index, node) in nodes.iter().enumerate() {
        // Here, so that what is no URL is refused before anybody waits.
        Client::new([node], once(REQUEST_MAX))?;
        let node = node.clone();
        waiting.spawn(async move { (index, left_at(&node, begun, within).await) });
    }
    let left: BTreeMap<usize, Option<String>> = waiting.join_all().await.into_iter().collect();
    Ok(left.into_values().flatten().collect())
}

/// What one node has left when the time is over, in words.
async fn left_at(url: &str, begun: Instant, within: Duration) -> Option<String> {
    loop {
        let waited = begun.elapsed();
        let rest = within.saturating_sub(waited).clamp(Duration::from_millis(1), REQUEST_MAX);
        let asked = async { Client::new([url], once(rest))?.wait_for_hints(waited).await };
        let error = match asked.await {
            Ok(_) => return None,
            Err(error) => error,
        };
        let rest = within.saturating_sub(begun.elapsed());
        if rest.is_zero() || matches!(error, Error::Refused(_)) {
            return Some(in_words(url, &error));
        }
        if error.code() != HINTS_LEFT {
            tokio::time::sleep(PAUSE.min(rest)).await;
        }
    }
}

/// The code of a node that says what it has left.
const HINTS_LEFT: &str = "hints_left";

fn in_words(url: &str, error: &Error) -> String {
    match error.problem() {
        Some(problem) if problem.code == HINTS_LEFT => problem.detail.clone(),
        Some(_) | None => format!("{url} does not answer: {error}"),
    }
}

fn once(timeout: Duration) -> Options {
    Options { attempts_max: 1, timeout, ..Options::default() }
}

fn tell(left: &[String], as_json: bool) -> Result<(), CliError> {
    if as_json {
        print::json(&json!({ "left": left }))?;
    }
    if left.is_empty() {
        return if as_json { Ok(()) } else { print::line("all hints have been handed over") };
    }
    let text = format!("not everything was handed over in time: {}", left.join("; "));
    Err(CliError::new(Exit::Unknown, text)
        .remedy("see with `merganser status` who is away; what is kept is not dropped"))
}

/// What was shown is all that there is only if everybody answered.
fn all_answered(answers: &Answers) -> Result<(), CliError> {
    let silent: Vec<&str> =
        answers.iter().filter(|(_, answer)| answer.is_err()).map(|(url, _)| url.as_str()).collect();
    if silent.is_empty() {
        return Ok(());
    }
    let text = format!("what these keep is not known, they do not answer: {}", silent.join(", "));
    Err(CliError::new(Exit::NotAttempted, text)
        .remedy("see with `merganser status` who is away, and ask again when they are back"))
}

fn show(answers: &Answers, as_json: bool) -> Result<(), CliError> {
    if as_json {
        let node = |(url, answer): &(String, Result<Status, Error>)| match answer {
            Ok(status) => json!({ "endpoint": url, "node": status.node, "hints": status.hints }),
            Err(error) => json!({ "endpoint": url, "error": error.to_string() }),
        };
        return print::json(&json!({ "nodes": answers.iter().map(node).collect::<Vec<_>>() }));
    }
    let mut table = print::table(&["at", "for", "objects", "bytes", "oldest"]);
    let mut is_any = false;
    for (url, answer) in answers {
        match answer {
            Err(error) => eprintln!("{url}: {error}"),
            Ok(status) => {
                for hints in &status.hints {
                    is_any = true;
                    table.add_row([
                        format!("n{}", status.node),
                        format!("n{}", hints.node),
                        hints.count.to_string(),
                        hints.bytes.to_string(),
                        format!("{} s", hints.oldest_seconds),
                    ]);
                }
            }
        }
    }
    if is_any { print::line(table) } else { print::line("no node that answers keeps anything") }
}
