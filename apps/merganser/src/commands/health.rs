//! `merganser health`: the three questions that probes ask, for people and scripts.

use client::{Client, Error, HealthLevel, Options};
use serde_json::json;

use super::connect::{Connect, block_on};
use super::error::{CliError, Exit};
use super::print;

/// Ask every node that `--node` names whether it is live, ready, and can serve all shards.
///
/// Ends with 0 if all of them say yes three times, and with 1 if not.
#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What one node says: per question its reasons, of which a healthy node has none.
struct Said {
    url: String,
    levels: Vec<(HealthLevel, Result<Vec<String>, Error>)>,
}

impl Health {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options { attempts_max: 1, ..Options::default() })?;
        let said = block_on(async { Ok(ask_all(&client).await) })?;
        if self.json {
            show_json(&said)?;
        } else {
            show(&said)?;
        }
        let is_well = said.iter().flat_map(|said| &said.levels).all(|(_, answer)| answer.is_ok());
        if is_well {
            Ok(())
        } else {
            Err(CliError::new(Exit::Failed, "not all is well")
                .remedy("ask `merganser doctor` for the causes"))
        }
    }
}

async fn ask_all(client: &Client) -> Vec<Said> {
    let mut all = Vec::new();
    let urls = client.endpoints().map(str::to_owned);
    for (client, url) in client.each().into_iter().zip(urls) {
        let mut levels = Vec::new();
        for level in HealthLevel::ALL {
            levels.push((level, client.health_of(level).await));
        }
        all.push(Said { url, levels });
    }
    all
}

fn show(said: &[Said]) -> Result<(), CliError> {
    let mut table = print::table(&["endpoint", "live", "ready", "shards"]);
    for Said { url, levels } in said {
        let word = |answer: &Result<Vec<String>, Error>| match answer {
            Ok(reasons) if reasons.is_empty() => "yes",
            Ok(_) => "degraded",
            Err(_) => "NO",
        };
        let words = levels.iter().map(|(_, answer)| word(answer));
        table.add_row(std::iter::once(url.as_str()).chain(words));
    }
    print::line(table)?;
    for Said { url, levels } in said {
        for (level, answer) in levels {
            let reasons = match answer {
                Ok(reasons) => reasons.join("; "),
                Err(err) => why(err),
            };
            if !reasons.is_empty() {
                print::line(format_args!("{url} {}: {reasons}", level.as_str()))?;
            }
        }
    }
    Ok(())
}

/// What the node says is wrong, or why it said nothing.
fn why(err: &Error) -> String {
    err.problem().map_or_else(|| err.to_string(), |problem| problem.detail.clone())
}

fn show_json(said: &[Said]) -> Result<(), CliError> {
    let level = |(level, answer): &(HealthLevel, Result<Vec<String>, Error>)| match answer {
        Ok(reasons) => (level.as_str().to_owned(), json!({ "ok": true, "reasons": reasons })),
        Err(err) => (
            level.as_str().to_owned(),
            json!({ "ok": false, "code": err.code(), "reasons": [why(err)] }),
        ),
    };
    let nodes: Vec<serde_json::Value> = said
        .iter()
        .map(|said| {
            let levels: serde_json::Map<_, _> = said.levels.iter().map(level).collect();
            json!({ "endpoint": said.url, "health": levels })
        })
        .collect();
    print::json(&json!({ "nodes": nodes }))
}
