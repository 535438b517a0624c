//! Who writes, and runs the commands of an operator.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use client::{
    Client, Content, Error, Identity, Key, Level, Options, ReadOptions, Table, WriteOptions,
};
use tokio::runtime::Runtime;

use crate::book::{Book, TABLE, Values, acks, values};
use crate::cluster::Cluster;
use crate::expected::Outcome;
use crate::outcome::Stop;
use crate::process::run;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One client for each node, that asks no other.
pub(super) struct Desk {
    pub(super) book: Arc<Book>,
    binary: PathBuf,
    urls: BTreeMap<u16, String>,
    runtime: Runtime,
    tables: BTreeMap<u16, Table>,
}

impl Desk {
    pub(super) fn new(book: Arc<Book>, binary: &Path, cluster: &Cluster) -> Result<Self, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let urls: BTreeMap<u16, String> = cluster.ids().zip(cluster.urls()).collect();
        let table = |(node, url): (&u16, &String)| {
            // Nobody looks after connections between two requests: a node that stops would wait for them.
            let idle_connections_max = 0;
            let options = Options { timeout: TIMEOUT, idle_connections_max, ..Options::default() };
            let client = Client::new(std::slice::from_ref(url), options).map_err(Stop::failed)?;
            Ok((*node, client.table(TABLE, TABLE)))
        };
        let tables = urls.iter().map(table).collect::<Result<_, Stop>>()?;
        Ok(Self { book, binary: binary.to_owned(), urls, runtime, tables })
    }

    fn table(&self, node: u16) -> Result<&Table, Stop> {
        self.tables.get(&node).ok_or_else(|| Stop::Failed(format!("there is no n{node}")))
    }

    /// Reads a key at a node, which has to succeed, and compares. Returns what it shows, and who
    /// answered.
    pub(super) fn read(
        &self,
        node: u16,
        level: Level,
        name: &str,
    ) -> Result<(Values, Vec<u16>), Stop> {
        let answer = self.try_read(node, level, name)?;
        answer.map_err(|err| Stop::Failed(format!("{name} at n{node}, {level}: {err}")))
    }

    /// The same, and it may fail.
    pub(super) fn try_read(
        &self,
        node: u16,
        level: Level,
        name: &str,
    ) -> Result<Result<(Values, Vec<u16>), Error>, Stop> {
        let (moment, table) = (self.book.moment(name), self.table(node)?);
        let options = ReadOptions { r: Some(level), ..ReadOptions::default() };
        let answer = match self.runtime.block_on(table.get(&Key::from(name), &options)) {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        let (values, acks) = (values(&answer), acks(&answer));
        let found: Vec<String> = values.keys().cloned().collect();
        let judged = self.book.judge(&moment, level, &acks, &found);
        judged.map_err(|why| Stop::Failed(format!("n{node} was asked for {why}")))?;
        Ok(Ok((values, acks)))
    }

    /// What all keys show at a node.
    pub(super) fn read_all(
        &self,
        node: u16,
        level: Level,
    ) -> Result<BTreeMap<String, Values>, Stop> {
        let names = self.book.names().into_iter();
        names.map(|name| Ok((name.clone(), self.read(node, level, &name)?.0))).collect()
    }

    /// Writes a value beside whatever the key holds.
    pub(super) fn put(
        &self,
        node: u16,
        w: Level,
        name: &str,
        value: &str,
    ) -> Result<Vec<u16>, Stop> {
        self.write(node, w, name, Some(value), None)
    }

    /// Writes a value, or a delete, in the place of what is read at the same level.
    pub(super) fn replace(
        &self,
        node: u16,
        w: Level,
        name: &str,
        value: Option<&str>,
    ) -> Result<Vec<u16>, Stop> {
        self.write(node, w, name, value, Some(if w == Level::One { w } else { Level::Quorum }))
    }

    /// A write at one replica is of unknown outcome: it may be that nobody else ever hears of it.
    fn write(
        &self,
        node: u16,
        w: Level,
        name: &str,
        value: Option<&str>,
        after: Option<Level>,
    ) -> Result<Vec<u16>, Stop> {
        let (table, key, is_alone) = (self.table(node)?, Key::from(name), w == Level::One);
        let options = ReadOptions { r: after, ..ReadOptions::default() };
        let read = after.map(|_| self.runtime.block_on(table.get(&key, &options))).transpose();
        let read = read.map_err(|err| Stop::Failed(format!("{name} at n{node}: {err}")))?;
        let found = read.iter().flat_map(values).map(|(value, _)| value);
        let index = self.book.begin(name, value, &found.collect::<Vec<_>>());
        let context = read.and_then(|answer| answer.context);
        let identity = Identity::UnsafeToRepeat;
        let options = WriteOptions { w: Some(w), identity, ..WriteOptions::default() };
        let written = self.runtime.block_on(async {
            match value {
                Some(value) => {
                    let content = Content::text(value.to_owned());
                    table.put(&key, &content, context.as_ref(), &options).await
                }
                None => table.delete(&key, context.as_ref(), &options).await,
            }
        });
        let outcome = match &written {
            Ok(_) if is_alone => Outcome::Unknown,
            Ok(_) => Outcome::Acknowledged,
            Err(Error::Unknown { .. }) => Outcome::Unknown,
            Err(_) => Outcome::NotMade,
        };
        self.book.end(name, index, outcome);
        let written =
            written.map_err(|err| Stop::Failed(format!("a write of {name} at n{node}: {err}")))?;
        Ok(written.receipt.map(|receipt| receipt.acks).unwrap_or_default())
    }

    /// Runs a command with some nodes, and returns what it printed.
    pub(super) fn command(&self, words: &[&str], nodes: &[u16]) -> Result<String, Stop> {
        let binary = self.binary.display().to_string();
        let urls: Vec<&str> =
            nodes.iter().filter_map(|node| self.urls.get(node).map(String::as_str)).collect();
        let urls = urls.join(",");
        let mut all = vec![binary.as_str()];
        all.extend(words);
        if !urls.is_empty() {
            all.extend(["--node", &urls]);
        }
        run(&all)
    }

    /// What the doctor finds with these nodes, whether it is critical or not.
    pub(super) fn doctor(&self, nodes: &[u16]) -> Result<BTreeSet<String>, Stop> {
        let urls: Vec<&str> =
            nodes.iter().filter_map(|node| self.urls.get(node).map(String::as_str)).collect();
        let output = Command::new(&self.binary)
            .args(["doctor", "--json", "--node", &urls.join(",")])
            .output()?;
        let told: serde_json::Value =
            serde_json::from_slice(&output.stdout).map_err(Stop::failed)?;
        let findings = told.get("findings").and_then(|all| all.as_array()).into_iter().flatten();
        let cause = |finding: &serde_json::Value| Some(finding.get("cause")?.as_str()?.to_owned());
        Ok(findings.filter_map(cause).collect())
    }
}
