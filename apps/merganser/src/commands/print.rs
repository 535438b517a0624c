//! How results look: tables for people, JSON for programs, and sizes both can read.

use std::io::{self, IsTerminal, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Receipt, Value};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, json};

use super::error::{CliError, Exit};

/// A table with these columns.
pub(crate) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(columns.iter().copied());
    table
}

/// Prints a line, or several, to standard output.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), CliError> {
    bytes(format!("{text}\n").as_bytes())
}

/// Prints JSON to standard output.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), CliError> {
    line(format_args!("{value:#}"))
}

/// Prints bytes to standard output as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|err| stdout_failed(&err))
}

/// What a failed write to standard output comes to. A reader that has seen enough (`head`)
/// is no reason to complain.
pub(crate) fn stdout_failed(err: &io::Error) -> CliError {
    if err.kind() == io::ErrorKind::BrokenPipe {
        CliError::silent(Exit::Failed)
    } else {
        CliError::failed(format!("cannot write to standard output: {err}"))
    }
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Bytes as JSON: text under `name`, anything else as base64 under `name_base64`.
pub(crate) fn put_bytes(object: &mut Map<String, serde_json::Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

/// A value as JSON.
pub(crate) fn value(value: &Value) -> serde_json::Value {
    let mut object = Map::new();
    object.insert("content_type".to_owned(), value.content_type.as_str().into());
    put_bytes(&mut object, "value", &value.body);
    if let Some(dot) = &value.dot {
        object.insert("dot".to_owned(), dot.as_str().into());
    }
    if value.recovered {
        object.insert("recovered".to_owned(), true.into());
    }
    object.into()
}

/// A receipt as JSON.
pub(crate) fn receipt(receipt: Option<&Receipt>) -> serde_json::Value {
    receipt.map_or(serde_json::Value::Null, |receipt| {
        json!({
            "kind": receipt.kind.as_str(),
            "acks": receipt.acks,
            "guests": receipt.guests.iter().map(|(node, guest_for)| json!({
                "node": node,
                "guest_for": guest_for,
            })).collect::<Vec<_>>(),
            // A read asks for nothing on disks, and says nothing of them.
            "durable": receipt.dot.as_ref().map(|_| receipt.durable),
            "wanted": receipt.wanted,
            "replicas": receipt.replicas,
            "votes": receipt.votes.map(|(got, of)| json!({ "got": got, "of": of })),
            "shard": receipt.shard,
            "dot": receipt.dot.as_ref().map(client::Dot::as_str),
            "staleness_millis": receipt.staleness.map(|time| time.as_millis() as u64),
        })
    })
}

/// A receipt in words.
pub(crate) fn receipt_in_words(receipt: &Receipt) -> String {
    let named = |node: &u16| match receipt.guests.iter().find(|(guest, _)| guest == node) {
        Some((guest, replica)) => format!("n{guest} for n{replica}"),
        None => format!("n{node}"),
    };
    let nodes: Vec<String> = receipt.acks.iter().map(named).collect();
    let whom = if receipt.guests.is_empty() { "replicas" } else { "replicas or their guests" };
    let durable = if receipt.dot.is_some() {
        format!(", {} of them on disk", receipt.durable)
    } else {
        String::new()
    };
    let votes = receipt.votes.map(|(got, of)| format!(", {got} of {of} votes"));
    let votes = votes.unwrap_or_default();
    let staleness = receipt.staleness.map(|time| {
        let millis = time.as_millis();
        format!("; it has what was acknowledged {millis} ms before, and earlier")
    });
    let staleness = staleness.unwrap_or_default();
    format!(
        "{}: {} of {} {whom} ({}){votes}{durable}; {} were needed{staleness}",
        receipt.kind.as_str(),
        receipt.acks.len(),
        receipt.replicas,
        nodes.join(", "),
        receipt.wanted
    )
}

/// Some bytes in one line that fits into a table.
pub(crate) fn preview(bytes: &[u8]) -> String {
    const CHARS_MAX: usize = 48;
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let one_line: String = text.chars().take(CHARS_MAX).map(printable).collect();
            let more = if text.chars().nth(CHARS_MAX).is_some() { "…" } else { "" };
            format!("{one_line}{more}")
        }
        Err(_) => format!("{} bytes that are no text", bytes.len()),
    }
}

/// Control characters could move the cursor or colour the terminal.
fn printable(c: char) -> char {
    if c.is_control() { '·' } else { c }
}

/// A size for people.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} KiB", bytes / 1_024),
        _ => format!("{} MiB", bytes / (1 << 20)),
    }
}
