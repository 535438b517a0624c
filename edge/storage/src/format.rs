//! The file FORMAT: what a data directory is, as lines of text with a checksum.

use model::{ClusterId, NodeId};
use xxhash_rust::xxh3::xxh3_64;

use crate::FORMAT_VERSION;
use crate::witness::Mark;

const TITLE: &str = "merganser data directory";

/// Whether the database was ever complete.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    New,
    /// It is being made from a backup.
    Restoring,
    Ready,
}

/// What the file says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Format {
    /// In which format the directory is.
    pub(crate) version: u32,
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) layout: u64,
    pub(crate) mark: Mark,
    pub(crate) state: State,
}

/// Why the file says nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unreadable {
    /// It has this version, of a later program.
    Newer(u32),
    /// It is not what was written.
    Damaged,
}

impl Format {
    /// Reads what [`to_text`](Self::to_text) writes. The version comes first and is read
    /// alone: nothing is known about the rest of a later format.
    pub(crate) fn parse(text: &str) -> Result<Self, Unreadable> {
        let version = field(text, "format").and_then(|text| text.parse::<u32>().ok());
        let found = version.filter(|_| text.starts_with(TITLE)).ok_or(Unreadable::Damaged)?;
        if FORMAT_VERSION < found {
            return Err(Unreadable::Newer(found));
        }
        let (body, check) = text.split_once("check ").ok_or(Unreadable::Damaged)?;
        if check.trim_end() != checksum(body) {
            return Err(Unreadable::Damaged);
        }
        Self::fields(found, body).ok_or(Unreadable::Damaged)
    }

    fn fields(version: u32, body: &str) -> Option<Self> {
        let number = |name| field(body, name)?.parse::<u64>().ok();
        let state = match field(body, "state")? {
            "new" => State::New,
            "restoring" => State::Restoring,
            "ready" => State::Ready,
            _ => return None,
        };
        Some(Self {
            version,
            cluster: ClusterId::new(number("cluster")?),
            node: NodeId::new(number("node")?.try_into().ok()?),
            layout: u64::from_str_radix(field(body, "layout")?, 16).ok()?,
            mark: Mark::parse(field(body, "mark")?)?,
            state,
        })
    }

    /// The file as it is written.
    pub(crate) fn to_text(self) -> String {
        let Self { version, cluster, node, layout, mark, state } = self;
        let (cluster, node, mark) = (cluster.number(), node.number(), mark.to_text());
        let state = match state {
            State::New => "new",
            State::Restoring => "restoring",
            State::Ready => "ready",
        };
        let body = format!(
            "{TITLE}\nformat {version}\ncluster {cluster}\nnode {node}\n\
             layout {layout:016x}\nmark {mark}\nstate {state}\n"
        );
        format!("{body}check {}\n", checksum(&body))
    }
}

/// The rest of the line that begins with `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn checksum(text: &str) -> String {
    format!("{:016x}", xxh3_64(text.as_bytes()))
}
