//! `merganser hints`: what guests keep for replicas that were away.
//!
//! A hint is handed over as soon as its replica is back, so an old one means that somebody is
//! still away, or cannot take it. `wait` is for scripts: it ends when everything that was kept
//! when it began has been handed over, whatever has come since.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::{Client, Error, Options, Status};
use serde_json::json;
use tokio::task::JoinSet;

use super::connect::{Connect, block_on, some_time};
use super::error::{CliError, Exit};
use super::print;

/// How often a wait looks again. Guests look for replicas that are back once in a second.
const POLL: Duration = Duration::from_millis(250);

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
    /// Show how much each node that `--node` names keeps, for whom, and since when.
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
        // One try each: that a node does not answer is the news here.
        let client = self.connect.client(Options { attempts_max: 1, ..Options::default() })?;
        match self.action {
            Action::Status => show(&block_on(async { Ok(ask_all(&client).await) })?, self.json),
            Action::Wait { within } => {
                let left = block_on(async { Ok(wait(&client, within).await) })?;
                tell(&left, self.json)
            }
        }
    }
}

async fn ask_all(client: &Client) -> Answers {
    let mut asking = JoinSet::new();
    for (index, client) in client.each().into_iter().enumerate() {
        asking.spawn(async move { (index, client.status().await) });
    }
    let answers: BTreeMap<usize, Result<Status, Error>> =
        asking.join_all().await.into_iter().collect();
    client.endpoints().map(str::to_owned).zip(answers.into_values()).collect()
}

/// What was there when the wait began and is not handed over, in words. Nothing when all is.
async fn wait(client: &Client, within: Duration) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let answers = ask_all(client).await;
        let left: Vec<String> =
            answers.iter().flat_map(|answer| left_of(answer, begun.elapsed())).collect();
        if left.is_empty() || within <= begun.elapsed() {
            return left;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What one node still keeps that it kept so long ago. Ages are told to the second below, so
/// a hint that is younger than they say may be waited for, and none is missed.
fn left_of((url, answer): &(String, Result<Status, Error>), waited: Duration) -> Vec<String> {
    let status = match answer {
        Ok(status) => status,
        Err(error) => return vec![format!("{url} does not answer: {error}")],
    };
    let is_older = |hints: &&client::Hints| waited.as_secs() <= hints.oldest_seconds + 1;
    let old = status.hints.iter().filter(is_older);
    let line = |hints: &client::Hints| {
        format!("n{} keeps {} objects for n{}", status.node, hints.count, hints.node)
    };
    old.map(line).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(hints: &str) -> (String, Result<Status, Error>) {
        let status = format!(
            r#"{{"node":1,"incarnation":"a","uptime_seconds":1.0,"version":"1","nodes":[],
            "catalog_version":1,"keyspaces":[],"tables":[],"requests":0,"read_repairs":0,
            "log_dropped":0,"hints":{hints}}}"#
        );
        ("http://n1".to_owned(), Ok(serde_json::from_str(&status).unwrap()))
    }

    #[test]
    fn a_wait_ends_when_what_is_left_is_younger_than_it() {
        let old = r#"[{"node":2,"count":3,"bytes":9,"oldest_seconds":7}]"#;
        assert_eq!(left_of(&answer("[]"), Duration::ZERO), [""; 0]);
        let told = ["n1 keeps 3 objects for n2"];
        assert_eq!(left_of(&answer(old), Duration::ZERO), told);
        assert_eq!(left_of(&answer(old), Duration::from_secs(8)), told);
        assert_eq!(left_of(&answer(old), Duration::from_secs(9)), [""; 0]);
    }
}
