//! `merganser health`: the three questions that probes ask, for people and scripts.

use client::{Client, Error, HealthLevel, Options};
use serde_json::json;

use super::connect::{Connect, ask_each, at_once, block_on};
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

/// Asks all nodes at the same time, and each all three questions.
async fn ask_all(client: &Client) -> Vec<Said> {
    let said = ask_each(client, ask).await;
    said.into_iter().map(|(url, levels)| Said { url, levels }).collect()
}

async fn ask(client: Client) -> Vec<(HealthLevel, Result<Vec<String>, Error>)> {
    let questions = HealthLevel::ALL.map(|level| {
        let client = client.clone();
        async move { (level, client.health_of(level).await) }
    });
    at_once(questions).await
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn nodes_that_hang_hold_up_nobody_and_are_told_in_the_order_they_were_named() {
        // The operating system accepts for them, and nobody reads.
        let hanging: Vec<TcpListener> =
            (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let urls: Vec<String> =
            hanging.iter().map(|node| format!("http://{}", node.local_addr().unwrap())).collect();
        let timeout = Duration::from_secs(1);
        let options = Options { attempts_max: 1, timeout, ..Options::default() };
        let client = Client::new(&urls, options).unwrap();
        let begun = Instant::now();
        let said = block_on(async { Ok(ask_all(&client).await) }).unwrap();
        let took = begun.elapsed();
        assert!(took < 2 * timeout, "all twelve questions at once: {took:?}");
        assert_eq!(
            said.iter().map(|said| &said.url).collect::<Vec<_>>(),
            urls.iter().collect::<Vec<_>>()
        );
        for Said { levels, .. } in said {
            let asked: Vec<HealthLevel> = levels.iter().map(|(level, _)| *level).collect();
            assert_eq!(asked.as_slice(), HealthLevel::ALL);
            assert!(levels.iter().all(|(_, answer)| answer.is_err()));
        }
    }
}
