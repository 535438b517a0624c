//! How far repairs are, and since when what nodes keep was not proven equal.

use std::collections::BTreeMap;

use client::{Client, Error, Proof, Repair, Repairs};
use serde_json::json;

use super::found::is_final;
use crate::commands::connect::ask_each;
use crate::commands::error::{CliError, Exit};
use crate::commands::print;

/// What the nodes answered, by endpoint.
type Answers = Vec<(String, Result<Repairs, Error>)>;

/// Shows what all nodes say.
pub(super) async fn show(client: &Client, as_json: bool) -> Result<(), CliError> {
    let answers = ask_each(client, |client| async move { client.repairs().await }).await;
    tell(&answers, as_json)?;
    all_answered(&answers)
}

/// Ends what is under way at all nodes.
pub(super) async fn cancel(client: &Client, as_json: bool) -> Result<(), CliError> {
    let answers = ask_each(client, |client| async move { client.cancel_repair(None).await }).await;
    tell(&answers, as_json)?;
    all_answered(&answers)
}

fn tell(answers: &Answers, as_json: bool) -> Result<(), CliError> {
    if as_json {
        let node = |(url, answer): &(String, Result<Repairs, Error>)| match answer {
            Ok(repairs) => json!({ "endpoint": url, "node": repairs.node, "job": repairs.job,
                "proofs": repairs.proofs }),
            Err(error) => json!({ "endpoint": url, "error": error.to_string() }),
        };
        return print::json(&json!({ "nodes": answers.iter().map(node).collect::<Vec<_>>() }));
    }
    let said = || answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let mut jobs = print::table(&["node", "repair", "mode", "state", "for", "pairs done", "now"]);
    let mut proofs = print::table(&["node", "with", "shards", "proven", "the oldest", "overdue"]);
    for repairs in said() {
        if let Some(job) = &repairs.job {
            jobs.add_row(job_row(repairs.node, job));
        }
        for row in proof_rows(repairs) {
            proofs.add_row(row);
        }
    }
    match said().any(|repairs| repairs.job.is_some()) {
        true => print::line(jobs)?,
        false => print::line("no repair was begun since these nodes were started")?,
    }
    if said().any(|repairs| !repairs.proofs.is_empty()) {
        print::line(proofs)?;
    }
    Ok(())
}

fn job_row(node: u16, job: &Repair) -> Vec<String> {
    let done = job.pairs.iter().filter(|pair| is_final(pair)).count();
    let open = job.pairs.iter().filter(|pair| !is_final(pair) && pair.state != "waiting");
    let current: Vec<String> = open
        .take(3)
        .map(|pair| {
            let why = pair.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            format!("{}/{} with n{}: {}{why}", pair.keyspace, pair.shard, pair.with, pair.state)
        })
        .collect();
    let state = match (job.state.as_str(), job.proved) {
        ("ended", true) => "proved",
        ("ended", false) => "not all proved",
        (state, _) => state,
    };
    vec![
        format!("n{node}"),
        job.id.clone(),
        job.mode.clone(),
        state.to_owned(),
        format!("{:.0} s", job.seconds),
        format!("{done} of {}", job.pairs.len()),
        current.join("\n"),
    ]
}

/// One row for each other node: when all that both keep was proven last.
fn proof_rows(repairs: &Repairs) -> Vec<Vec<String>> {
    let mut by_node: BTreeMap<u16, Vec<&Proof>> = BTreeMap::new();
    for proof in &repairs.proofs {
        by_node.entry(proof.with).or_default().push(proof);
    }
    let row = |(with, proofs): (u16, Vec<&Proof>)| {
        let proven = proofs.iter().filter_map(|proof| proof.seconds);
        let oldest = proven.clone().fold(None, |oldest: Option<f64>, seconds| {
            Some(oldest.map_or(seconds, |oldest| oldest.max(seconds)))
        });
        vec![
            format!("n{}", repairs.node),
            format!("n{with}"),
            proofs.len().to_string(),
            proven.count().to_string(),
            oldest.map(|seconds| format!("{seconds:.0} s ago")).unwrap_or_default(),
            proofs.iter().filter(|proof| proof.overdue).count().to_string(),
        ]
    };
    by_node.into_iter().map(row).collect()
}

/// What was shown is all that there is only if everybody answered.
fn all_answered(answers: &Answers) -> Result<(), CliError> {
    let silent: Vec<String> = answers
        .iter()
        .filter_map(|(url, answer)| Some(format!("{url}: {}", answer.as_ref().err()?)))
        .collect();
    if silent.is_empty() {
        return Ok(());
    }
    let text = format!("of these nothing is known, they do not answer: {}", silent.join("; "));
    Err(CliError::new(Exit::NotAttempted, text)
        .remedy("see with `merganser status` who is away, and ask again when they are back"))
}
