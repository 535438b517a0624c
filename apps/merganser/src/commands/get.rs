//! `merganser get`: read one key.

use client::{Answer, Context, Kind, Options, ReadOptions, Value};
use serde_json::{Map, json};

use super::connect::{At, Connect, ReadLevels, block_on};
use super::error::{CliError, Exit};
use super::print;
use super::session::InSession;

/// Read the value of a key.
///
/// One value is printed as it is. Several values, written by clients that did not know of
/// each other, are shown as a table, and the command ends with code 3. A key that holds
/// nothing ends it with code 4.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    #[command(flatten)]
    at: At,
    /// Of several values, print this one as it is (0 is the first).
    #[arg(long, value_name = "INDEX")]
    index: Option<usize>,
    /// Print the context too, on standard error: a put or del with it replaces what was read.
    #[arg(long)]
    context: bool,
    /// Print the receipt too, on standard error: who took part.
    #[arg(long)]
    receipt: bool,
    /// Let no later monotonic read return less: wait until enough replicas have what is read.
    #[arg(long)]
    monotonic: bool,
    #[command(flatten)]
    levels: ReadLevels,
    #[command(flatten)]
    session: InSession,
    #[command(flatten)]
    connect: Connect,
    /// Print everything as JSON. The exit codes are the same.
    #[arg(long)]
    json: bool,
}

impl Get {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        let table = self.session.of(client.table(&self.at.keyspace, &self.at.table))?;
        let monotonic = self.monotonic;
        let options = ReadOptions { monotonic, ..self.levels.options(self.json) };
        let answer = block_on(async { Ok(table.get(&self.at.key(), &options).await?) })?;
        // Before anything is shown: what is not kept was not seen.
        table.keep("the key was read and is not shown")?;
        if self.json {
            print::json(&self.as_json(&answer))?;
            return match answer.values.as_slice() {
                [] => Err(CliError::silent(Exit::NotFound)),
                [_] => Ok(()),
                [_, _, ..] => Err(CliError::silent(Exit::Several)),
            };
        }
        self.tell_aside(&answer);
        match (answer.values.as_slice(), self.index) {
            ([], _) => Err(self.nothing(&answer)),
            (values, Some(index)) => match values.get(index) {
                Some(value) => raw(&value.body),
                None => Err(CliError::failed(format!("there are {} values only", values.len()))),
            },
            ([value], None) => raw(&value.body),
            ([_, _, ..], None) => self.several(&answer),
        }
    }

    /// What does not belong to the value: what was asked for, and that an answer is weaker than
    /// strict, whether that was asked for or not.
    fn tell_aside(&self, answer: &Answer) {
        if let Some(receipt) = &answer.receipt
            && (self.receipt || receipt.kind != Kind::Strict)
        {
            eprintln!("receipt: {}", print::receipt_in_words(receipt));
        }
        if let [value] = answer.values.as_slice()
            && value.recovered
        {
            eprintln!("recovered: only a disk had it that does not come back");
        }
        if self.context
            && let Some(context) = &answer.context
        {
            eprintln!("context: {context}");
        }
    }

    fn nothing(&self, answer: &Answer) -> CliError {
        let is_strict = answer.receipt.as_ref().is_some_and(|receipt| receipt.kind == Kind::Strict);
        let what = match (answer.context.is_some(), is_strict) {
            (true, _) => "was deleted",
            (false, true) => "does not exist",
            (false, false) => "is not known to those who answered",
        };
        CliError::new(Exit::NotFound, format!("the key {} {what}", self.at.key()))
    }

    fn several(&self, answer: &Answer) -> Result<(), CliError> {
        let mut table = print::table(&["index", "size", "type", "written as", "value"]);
        for (index, value) in answer.values.iter().enumerate() {
            table.add_row([
                index.to_string(),
                print::size(value.body.len()),
                value.content_type.clone(),
                written_as(value),
                print::preview(&value.body),
            ]);
        }
        print::line(table)?;
        let context = answer.context.as_ref().map_or("TOKEN", Context::as_str);
        let what = format!("the key holds {} concurrent values", answer.values.len());
        let remedy = format!(
            "print one with --index N; decide what they come to, and store that in their place:\n    merganser put {} {} {} VALUE --context {context}",
            self.at.keyspace,
            self.at.table,
            self.shell_key()
        );
        Err(CliError::new(Exit::Several, what)
            .remains("all of them are kept until one write replaces them")
            .remedy(remedy))
    }

    /// The key as one would type it.
    fn shell_key(&self) -> String {
        let quoted =
            |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"));
        let sort = self.at.sort.as_ref().map(|sort| format!(" --sort {}", quoted(sort)));
        format!("{}{}", quoted(&self.at.key), sort.unwrap_or_default())
    }

    fn as_json(&self, answer: &Answer) -> serde_json::Value {
        let key = self.at.key();
        let mut object = Map::new();
        print::put_bytes(&mut object, "key", &key.partition);
        if !key.sort.is_empty() {
            print::put_bytes(&mut object, "sort", &key.sort);
        }
        let values = answer.values.iter().map(print::value).collect();
        object.insert("values".to_owned(), serde_json::Value::Array(values));
        object.insert("context".to_owned(), json!(answer.context.as_ref().map(Context::as_str)));
        object.insert("receipt".to_owned(), print::receipt(answer.receipt.as_ref()));
        object.into()
    }
}

/// The name of the write of a value, and whether that was recovered.
fn written_as(value: &Value) -> String {
    let dot = value.dot.as_ref().map_or_else(String::new, ToString::to_string);
    if value.recovered { format!("{dot} (recovered)") } else { dot }
}

/// Prints a value as it is; on a terminal, with a line end after it.
fn raw(body: &[u8]) -> Result<(), CliError> {
    print::bytes(body)?;
    if print::is_terminal() && !body.ends_with(b"\n") {
        print::bytes(b"\n")?;
    }
    Ok(())
}
