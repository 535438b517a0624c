//! `merganser status`: what the nodes say of themselves and of each other.

use client::{Client, Error, Options, Status};
use serde_json::json;

use super::connect::{Connect, ask_each, block_on};
use super::error::{CliError, Exit};
use super::print;

/// Show the state of the nodes, asking every one that `--node` names.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What one endpoint answered.
struct Asked {
    url: String,
    answer: Result<Status, Error>,
}

impl Show {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        // One try each: that a node does not answer is the news here.
        let client = self.connect.client(Options { attempts_max: 1, ..Options::default() })?;
        let asked = block_on(async { Ok(ask_all(&client).await) })?;
        if self.json {
            show_json(&asked)?
        } else {
            show_tables(&asked)?
        }
        if asked.iter().any(|asked| asked.answer.is_ok()) {
            Ok(())
        } else {
            Err(CliError::new(Exit::NotAttempted, "no node answered").remedy(
                "say where the nodes are with --node or MERGANSER_NODE, or start some with `merganser dev`",
            ))
        }
    }
}

async fn ask_all(client: &Client) -> Vec<Asked> {
    let answers = ask_each(client, |client| async move { client.status().await }).await;
    answers.into_iter().map(|(url, answer)| Asked { url, answer }).collect()
}

fn show_tables(asked: &[Asked]) -> Result<(), CliError> {
    let mut nodes = print::table(&[
        "endpoint",
        "node",
        "state",
        "incarnation",
        "up",
        "version",
        "catalog",
        "requests",
        "read repairs",
        "sees alive",
    ]);
    for Asked { url, answer } in asked {
        match answer {
            Ok(status) => nodes.add_row(row(url, status)),
            Err(_) => nodes.add_row([url.as_str(), "", "no answer"]),
        };
    }
    print::line(nodes)?;
    for Asked { url, answer } in asked {
        if let Err(err) = answer {
            eprintln!("{url}: {err}");
        }
    }
    let lags = lag_rows(asked);
    if !lags.is_empty() {
        let mut table =
            print::table(&["node", "with", "lacks", "is ahead by", "has all of", "remarks"]);
        for row in lags {
            table.add_row(row);
        }
        print::line(table)?;
    }
    let forgetting = forgetting_rows(asked);
    if !forgetting.is_empty() {
        let mut table = print::table(&["node", "tombstones waiting", "for", "kept for retries"]);
        for row in forgetting {
            table.add_row(row);
        }
        print::line(table)?;
    }
    let suspects = suspect_rows(asked);
    if !suspects.is_empty() {
        let mut table = print::table(&["node", "keyspace", "shard", "suspect since", "waits for"]);
        for row in suspects {
            table.add_row(row);
        }
        print::line(table)?;
    }
    let newest = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
    let Some(newest) = newest.max_by_key(|status| status.catalog_version) else { return Ok(()) };
    let mut tables = print::table(&["keyspace", "shards", "replicas", "tables"]);
    for keyspace in &newest.keyspaces {
        let names: Vec<&str> = newest
            .tables
            .iter()
            .filter(|table| table.keyspace == keyspace.name)
            .map(|table| table.name.as_str())
            .collect();
        let row = [
            keyspace.name.clone(),
            keyspace.shards.to_string(),
            keyspace.n.to_string(),
            names.join(", "),
        ];
        tables.add_row(row);
    }
    if !newest.keyspaces.is_empty() {
        print::line(tables)?;
    }
    Ok(())
}

fn row(url: &str, status: &Status) -> Vec<String> {
    let alive = status.nodes.iter().filter(|node| node.alive).count();
    let away: Vec<String> = status
        .nodes
        .iter()
        .filter(|node| !node.alive)
        .map(|node| format!("n{} ({})", node.node, node.standing))
        .collect();
    let away = if away.is_empty() { String::new() } else { format!(", not {}", away.join(" ")) };
    vec![
        url.to_owned(),
        format!("n{}", status.node),
        state(status),
        status.incarnation.clone(),
        up_for(status.uptime_seconds),
        status.version.clone(),
        status.catalog_version.to_string(),
        status.requests.to_string(),
        status.read_repairs.to_string(),
        format!("{alive} of {}{away}", status.nodes.len()),
    ]
}

/// Whether a node serves, and what keeps it from doing so.
fn state(status: &Status) -> String {
    let Some(disk) = &status.disk else { return "up".to_owned() };
    match disk.state.as_str() {
        "enrolled" => "up".to_owned(),
        "new" if status.keyspaces.is_empty() => "up".to_owned(),
        "joining" => format!("joining, {} of {} shards", disk.shards_whole, disk.shards),
        other => format!("disk {other}"),
    }
}

/// A row for each two replicas that are apart, as one of them sees it.
fn lag_rows(asked: &[Asked]) -> Vec<Vec<String>> {
    let statuses = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
    let pairs = statuses.flat_map(|status| status.nodes.iter().map(move |node| (status, node)));
    let row = |(status, node): (&Status, &client::NodeState)| {
        let lag = node.lag?;
        let since = lag.since_seconds.map(|since| format!("{} ago", up_for(since)));
        let is_apart = 0 < lag.behind + lag.ahead + lag.gaps + lag.needs_repair;
        let is_old = lag.since_seconds.is_none_or(|since| LAG_SECONDS < since);
        let mut remarks = Vec::new();
        if 0 < lag.gaps {
            remarks.push(format!("{} writes that nobody could produce", lag.gaps));
        }
        if 0 < lag.needs_repair {
            remarks.push(format!("{} shards need repair there", lag.needs_repair));
        }
        (is_apart || is_old).then(|| {
            vec![
                format!("n{}", status.node),
                format!("n{}", node.node),
                writes(lag.behind),
                writes(lag.ahead),
                since.unwrap_or_else(|| "unknown".to_owned()),
                remarks.join(", "),
            ]
        })
    };
    pairs.filter_map(row).collect()
}

/// A row for each node that waits for others before it can forget what was deleted.
fn forgetting_rows(asked: &[Asked]) -> Vec<Vec<String>> {
    let statuses = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
    let row = |status: &Status| {
        let forgetting = status.forgetting.as_ref()?;
        let blocked = forgetting.tombstones_blocked.iter();
        let by: Vec<String> = blocked
            .filter(|blocker| LAG_SECONDS < blocker.since_seconds)
            .map(|blocker| format!("n{} since {}", blocker.by, up_for(blocker.since_seconds)))
            .collect();
        let more = if forgetting.more { " or more" } else { "" };
        (!by.is_empty()).then(|| {
            vec![
                format!("n{}", status.node),
                format!("{}{more}", forgetting.tombstones_waiting),
                by.join(", "),
                forgetting.kept_for_retries.to_string(),
            ]
        })
    };
    statuses.filter_map(row).collect()
}

/// A row for each shard of which a disk has lost something.
fn suspect_rows(asked: &[Asked]) -> Vec<Vec<String>> {
    let statuses = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
    let of_node = |status: &Status| {
        let node = format!("n{}", status.node);
        let row = |suspect: &client::Suspect| {
            let others: Vec<String> =
                suspect.waits_for.iter().map(|node| format!("n{node}")).collect();
            vec![
                node.clone(),
                suspect.keyspace.clone(),
                suspect.shard.to_string(),
                up_for(suspect.since_seconds),
                if others.is_empty() { "merganser repair".to_owned() } else { others.join(", ") },
            ]
        };
        status.suspect.iter().map(row).collect::<Vec<_>>()
    };
    statuses.flat_map(of_node).collect()
}

/// What is less is how replicas are that nothing is wrong with: they compare their clocks every
/// second, and it takes them two messages to know.
const LAG_SECONDS: f64 = 5.0;

fn writes(count: u64) -> String {
    if count == 1 { "1 write".to_owned() } else { format!("{count} writes") }
}

fn up_for(seconds: f64) -> String {
    match seconds {
        0.0..120.0 => format!("{seconds:.0} s"),
        120.0..7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

fn show_json(asked: &[Asked]) -> Result<(), CliError> {
    let nodes: Vec<serde_json::Value> = asked
        .iter()
        .map(|asked| match &asked.answer {
            Ok(status) => json!({ "endpoint": asked.url, "status": status }),
            Err(err) => {
                json!({ "endpoint": asked.url, "error": err.to_string(), "code": err.code() })
            }
        })
        .collect();
    print::json(&json!({ "nodes": nodes }))
}
