//! `merganser put`: store one value.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use client::{Content, Context, Options, ReadOptions};
use serde_json::json;

use super::connect::{At, Connect, WriteLevels, after_write, block_on};
use super::error::CliError;
use super::print;
use super::session::{Access, InSession};

/// Store a value under a key.
///
/// A plain put is blind: it says nothing about what is there, so it replaces nothing, and if
/// the key holds a value already it holds two afterwards, for someone to resolve. To replace
/// what is there, either hand back the context of a read (`--context`, as `get --json` or
/// `get --context` prints it), which replaces exactly what you have seen; or say `--replace`,
/// which reads first and replaces what it finds, seen by you or not.
#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    #[command(flatten)]
    at: At,
    /// The value; `-` or nothing reads it from standard input, as it is.
    #[arg(value_name = "VALUE")]
    value: Option<OsString>,
    /// What the value is. Without it text/plain for a value on the command line, and
    /// application/octet-stream for one from standard input.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Replace what was read with this context.
    #[arg(long, value_name = "TOKEN", conflicts_with = "replace")]
    context: Option<String>,
    /// Read first, and replace what is found.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    levels: WriteLevels,
    #[command(flatten)]
    session: InSession,
    #[command(flatten)]
    connect: Connect,
    /// Print the new context and the receipt as JSON.
    #[arg(long)]
    json: bool,
}

impl Put {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let content = self.content()?;
        let client = self.connect.client(Options::default())?;
        let table = self.session.of(client.table(&self.at.keyspace, &self.at.table))?;
        let key = self.at.key();
        let written = block_on(async {
            let context = match &self.context {
                Some(token) => Some(Context::new(token)?),
                None if self.replace => table.get(&key, &ReadOptions::default()).await?.context,
                None => None,
            };
            let options = self.levels.options();
            let written = table.put(&key, &content, context.as_ref(), &options).await;
            written.map_err(|err| after_write(err, &self.at))
        });
        finish(written, table, self.json, "stored")
    }

    fn content(&self) -> Result<Content, CliError> {
        let from_stdin = self.value.as_ref().is_none_or(|value| value == "-");
        let (body, default_type) = match &self.value {
            Some(value) if !from_stdin => (value.clone().into_vec(), "text/plain; charset=utf-8"),
            Some(_) | None => (read_stdin()?, "application/octet-stream"),
        };
        let content_type = self.content_type.as_deref().unwrap_or(default_type);
        Ok(Content::new(content_type, body)?)
    }
}

/// Keeps what a session has seen, and tells what a write came to.
pub(crate) fn finish(
    written: Result<client::Written, CliError>,
    access: Access,
    as_json: bool,
    what: &str,
) -> Result<(), CliError> {
    let written = match written {
        Ok(written) => written,
        Err(err) => {
            // What was read before it may be what it tells of.
            return Err(match access.keep("the write failed") {
                Ok(()) => err,
                Err(kept) => err.besides(kept),
            });
        }
    };
    let kept = access.keep(&format!("the value is {what}"));
    show(&written, as_json, what).and(kept)
}

/// Tells what a write came to.
fn show(written: &client::Written, as_json: bool, what: &str) -> Result<(), CliError> {
    if as_json {
        return print::json(&json!({
            "context": written.context.as_ref().map(Context::as_str),
            "receipt": print::receipt(written.receipt.as_ref()),
            "idempotency_key": written.token.map(|token| token.to_string()),
            "repeated": written.repeated,
        }));
    }
    let what = if written.repeated { format!("{what} before") } else { what.to_owned() };
    match &written.receipt {
        Some(receipt) => print::line(format_args!("{what} ({})", print::receipt_in_words(receipt))),
        None => print::line(what),
    }
}

fn read_stdin() -> Result<Vec<u8>, CliError> {
    let mut body = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut body)
        .map_err(|err| CliError::failed(format!("cannot read standard input: {err}")))?;
    Ok(body)
}
