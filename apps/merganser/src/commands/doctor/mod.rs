//! `merganser doctor`: from what all nodes say to what is wrong, and what to do about it.
//!
//! ```text
//! status, metrics ── of each node, twice ──► diagnosis ──► cause, evidence, next command
//! ```
//!
//! It changes nothing, and asks only the nodes that `--node` names: name all of them. Nodes
//! that are not named are judged by what the others say of them.

mod diagnosis;
mod finding;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::{Client, Error, Options};
use serde_json::json;

use super::connect::{Connect, ask_each, block_on};
use super::error::{CliError, Exit};
use super::print;
use super::scrape::Scrape;
use diagnosis::{Answer, Said, Seen, diagnose};
use finding::{Finding, Severity};

/// Find out what is wrong with the nodes that `--node` names, and what to do about it.
///
/// Ends with 1 if something is critical, and with 0 if not.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Between the two looks at each node.
const BETWEEN: Duration = Duration::from_secs(1);

/// A node that takes longer to say how it is has something wrong with it.
const ANSWER_MAX: Duration = Duration::from_secs(3);

impl Doctor {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let connect = Connect { timeout: self.connect.timeout.min(ANSWER_MAX), ..self.connect };
        // One try each: that a node does not answer is the news here.
        let client = connect.client(Options { attempts_max: 1, ..Options::default() })?;
        let seen = block_on(async { Ok(look_at_all(&client).await) })?;
        let findings = diagnose(&seen);
        if self.json {
            print::json(&json!({ "asked": seen.len(), "findings": findings }))?;
        } else {
            tell(&seen, &findings)?;
        }
        let critical = findings.iter().filter(|one| one.severity == Severity::Critical).count();
        match critical {
            0 => Ok(()),
            _ => Err(CliError::new(Exit::Failed, format!("{critical} critical findings"))),
        }
    }
}

fn tell(seen: &[Seen], findings: &[Finding]) -> Result<(), CliError> {
    for Finding { severity, what, evidence, do_this, cause } in findings {
        let severity = match severity {
            Severity::Critical => "CRITICAL",
            Severity::Warning => "warning ",
        };
        print::line(format_args!("{severity}  {what}  [{cause}]"))?;
        print::line(format_args!("          because  {evidence}"))?;
        print::line(format_args!("          do       {do_this}"))?;
    }
    let nodes = seen.len();
    if findings.is_empty() {
        print::line(format_args!("{nodes} nodes asked, nothing is wrong"))?;
    }
    Ok(())
}

async fn look_at_all(client: &Client) -> Vec<Seen> {
    let seen = ask_each(client, look).await;
    seen.into_iter().map(|(url, answer)| Seen { url, answer }).collect()
}

async fn look(client: Client) -> Answer {
    match look_twice(&client).await {
        Ok(said) => Answer::Said(Box::new(said)),
        Err(Error::Connect { why }) if !why.contains("in time") => Answer::Refused(why),
        Err(err) => match err.problem() {
            Some(problem) => {
                Answer::Declined { code: problem.code.clone(), why: problem.to_string() }
            }
            None => Answer::Silent(err.to_string()),
        },
    }
}

async fn look_twice(client: &Client) -> Result<Said, Error> {
    let before = Scrape::parse(&client.metrics().await?);
    tokio::time::sleep(BETWEEN).await;
    let status = client.status().await?;
    let asked = wall_clock();
    let now = Scrape::parse(&client.metrics().await?);
    let answered = wall_clock();
    // It read its clock at some moment between the two.
    let (middle, doubt) = ((asked + answered) / 2.0, (answered - asked) / 2.0);
    let ahead = now.value("wall_clock_seconds").map_or(0.0, |theirs| theirs - middle);
    Ok(Said { status, before, now, ahead: (ahead, doubt) })
}

fn wall_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
