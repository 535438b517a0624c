//! What became of everything that was found.

use causality::Dot;
use client::Error;
use model::{Key, TableId};
use serde_json::{Map, Value, json};
use storage::NotRead;

use super::super::error::{CliError, Exit};
use super::super::print;
use super::survey::{Count, Place};

/// How many of those that were left out are shown to a person.
const SHOWN: usize = 10;

/// What became of what a directory holds.
#[derive(Debug, Default)]
pub(super) struct Report {
    node: u16,
    disk: String,
    is_preview: bool,
    keys: u64,
    hints: u64,
    /// Values that were found.
    pub(super) values: u64,
    /// Of those, how many some replica had heard of.
    pub(super) known: u64,
    /// How many were known by another name.
    pub(super) twins: u64,
    /// How many lie there more than once.
    pub(super) twice: u64,
    /// How many are in shards of which not all replicas could be asked.
    pub(super) not_asked: u64,
    /// What was brought back, or would be.
    pub(super) recovered: Vec<Named>,
    deletes: Vec<Named>,
    unreadable: Vec<String>,
    refused: Vec<(Named, String, String)>,
    unclear: Vec<(Named, String)>,
    left_out: Vec<LeftOut>,
}

/// A key, and the write that it is about.
#[derive(Debug)]
pub(super) struct Named {
    keyspace: String,
    table: String,
    key: Key,
    dot: Option<Dot>,
}

/// A shard of which not all replicas could be asked.
#[derive(Debug)]
struct LeftOut {
    keyspace: String,
    shard: u16,
    code: String,
    why: String,
}

impl Named {
    pub(super) fn of(place: &Place, key: &Key, dot: Option<Dot>) -> Self {
        let (keyspace, table) = (place.keyspace.to_string(), place.table.to_string());
        Self { keyspace, table, key: key.clone(), dot }
    }

    fn json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("keyspace".to_owned(), self.keyspace.as_str().into());
        object.insert("table".to_owned(), self.table.as_str().into());
        print::put_bytes(&mut object, "key", self.key.partition());
        if !self.key.sort().is_empty() {
            print::put_bytes(&mut object, "sort", self.key.sort());
        }
        if let Some(dot) = self.dot {
            object.insert("dot".to_owned(), dot.to_string().into());
        }
        object
    }

    fn in_words(&self) -> String {
        let sort = match self.key.sort() {
            sort if sort.is_empty() => String::new(),
            sort => format!(" / {}", print::preview(sort)),
        };
        let Self { keyspace, table, key, .. } = self;
        format!("{keyspace}/{table} {}{sort}", print::preview(key.partition()))
    }
}

impl Report {
    pub(super) fn new(node: u16, disk: String, is_preview: bool) -> Self {
        Self { node, disk, is_preview, ..Self::default() }
    }

    pub(super) fn count(&mut self, count: Count) -> &mut u64 {
        match count {
            Count::Keys => &mut self.keys,
            Count::Hints => &mut self.hints,
        }
    }

    pub(super) fn not_read(&mut self, what: &str, all: Vec<NotRead>) {
        for NotRead { detail, is_end } in all {
            let rest = if is_end { ", and what follows it" } else { "" };
            self.unreadable.push(format!("{what}{rest}: {detail}"));
        }
    }

    pub(super) fn of_unknown_table(&mut self, table: TableId) {
        let number = table.number();
        self.unreadable
            .push(format!("an object of table {number}, which the disk has no name for"));
    }

    pub(super) fn delete(&mut self, named: Named) {
        self.deletes.push(named);
    }

    pub(super) fn leave_out(&mut self, keyspace: &str, shard: u16, error: &Error) {
        let (keyspace, code, why) =
            (keyspace.to_owned(), error.code().to_owned(), error.to_string());
        self.left_out.push(LeftOut { keyspace, shard, code, why });
    }

    pub(super) fn refuse(&mut self, named: Named, error: &Error) {
        self.refused.push((named, error.code().to_owned(), error.to_string()));
    }

    pub(super) fn unclear(&mut self, named: Named, error: &Error) {
        self.unclear.push((named, error.to_string()));
    }

    /// Prints it.
    pub(super) fn tell(&self, as_json: bool) -> Result<(), CliError> {
        if as_json {
            return print::json(&self.json());
        }
        let mut table = print::table(&["what", "how many"]);
        let brought_back = match self.is_preview {
            true => "values that would be brought back",
            false => "values brought back, marked as recovered",
        };
        for (what, count) in [
            ("keys looked at", self.keys),
            ("keys kept for other nodes looked at", self.hints),
            ("values known to the cluster", self.known + self.twins),
            (brought_back, self.recovered.len() as u64),
            ("deletes that nobody has heard of, not applied", self.deletes.len() as u64),
            ("records that cannot be read", self.unreadable.len() as u64),
            ("values that were not taken", self.refused.len() as u64),
            ("values of which it is not known whether they were", self.unclear.len() as u64),
            ("shards left out", self.left_out.len() as u64),
        ] {
            table.add_row([what.to_owned(), count.to_string()]);
        }
        print::line(table)?;
        for line in self.lines() {
            print::line(line)?;
        }
        Ok(())
    }

    /// The first of what was left out, with the reasons.
    fn lines(&self) -> Vec<String> {
        let shards = self.left_out.iter().map(|LeftOut { keyspace, shard, why, .. }| {
            format!("left out: shard {shard} of {keyspace}: {why}")
        });
        let refused = self
            .refused
            .iter()
            .map(|(named, _, why)| format!("not taken: {}: {why}", named.in_words()));
        let unclear =
            self.unclear.iter().map(|(named, why)| format!("unclear: {}: {why}", named.in_words()));
        let deletes = self.deletes.iter().map(|named| format!("not deleted: {}", named.in_words()));
        let unreadable = self.unreadable.iter().map(|detail| format!("cannot be read: {detail}"));
        let kinds: [Box<dyn Iterator<Item = String>>; 5] = [
            Box::new(shards),
            Box::new(refused),
            Box::new(unclear),
            Box::new(deletes),
            Box::new(unreadable),
        ];
        let mut lines = Vec::new();
        for kind in kinds {
            let mut kind = kind.fuse();
            lines.extend(kind.by_ref().take(SHOWN));
            match kind.count() {
                0 => {}
                more => lines.push(format!("... and {more} more; --json lists all")),
            }
        }
        lines
    }

    fn json(&self) -> Value {
        let all = |named: &[Named]| named.iter().map(Named::json).collect::<Vec<_>>();
        let with = |named: &Named, facts: &[(&str, &str)]| {
            let mut object = named.json();
            object.extend(facts.iter().map(|(name, fact)| ((*name).to_owned(), (*fact).into())));
            object
        };
        let refused = self.refused.iter();
        let refused =
            refused.map(|(named, code, why)| with(named, &[("code", code), ("why", why)]));
        let unclear = self.unclear.iter().map(|(named, why)| with(named, &[("why", why)]));
        let left_out = self.left_out.iter().map(|LeftOut { keyspace, shard, code, why }| {
            json!({ "keyspace": keyspace, "shard": shard, "code": code, "why": why })
        });
        json!({
            "node": self.node,
            "disk": self.disk,
            "preview": self.is_preview,
            "keys": self.keys,
            "hints": self.hints,
            "values": self.values,
            "known": self.known,
            "known_by_another_name": self.twins,
            "found_twice": self.twice,
            "not_asked": self.not_asked,
            "recovered": all(&self.recovered),
            "deletes_not_applied": all(&self.deletes),
            "unreadable": self.unreadable,
            "refused": refused.collect::<Vec<_>>(),
            "unclear": unclear.collect::<Vec<_>>(),
            "left_out": left_out.collect::<Vec<_>>(),
        })
    }

    /// Whether everything was done that can be.
    pub(super) fn verdict(&self) -> Result<(), CliError> {
        let done = "what was brought back stays, and is known when this is run again";
        if !self.unclear.is_empty() {
            let count = self.unclear.len();
            return Err(CliError::new(
                Exit::Unknown,
                format!("of {count} values it is not known whether they were taken in"),
            )
            .remains(done)
            .remedy(
                "run this again when all replicas are there: what was taken in is known then",
            ));
        }
        if !self.left_out.is_empty() {
            let (shards, values) = (self.left_out.len(), self.not_asked);
            return Err(CliError::failed(format!(
                "{shards} shards with {values} values were left out: not all of their replicas could be asked"
            ))
            .code("shards_left_out")
            .remains(done)
            .remedy("see `merganser status` for who is away, bring it back or give it up, and run this again"));
        }
        if !self.refused.is_empty() {
            let count = self.refused.len();
            return Err(CliError::failed(format!("{count} values were not taken"))
                .code("values_refused")
                .remains(done)
                .remedy("where a key holds too many values, decide what they come to; then run this again"));
        }
        if !self.unreadable.is_empty() {
            let count = self.unreadable.len();
            return Err(CliError::failed(format!(
                "{count} records cannot be read: what they held is not brought back"
            ))
            .code("records_unreadable")
            .remains(done)
            .remedy("try another copy of the directory, if there is one"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{KeyspaceId, Name, ShardId};

    use super::*;

    fn named(key: &str) -> Named {
        let place = Place {
            keyspace: Name::new("ks").unwrap(),
            table: Name::new("t").unwrap(),
            shard: ShardId { keyspace: KeyspaceId::new(1), index: 4 },
        };
        let key = Key::new(Bytes::copy_from_slice(key.as_bytes()), Bytes::new()).unwrap();
        Named::of(&place, &key, None)
    }

    #[test]
    fn what_can_be_done_again_is_said_before_what_cannot() {
        let error = Error::Protocol { why: "silence".to_owned() };
        let mut report = Report::new(3, "c3".to_owned(), false);
        let code = |report: &Report| {
            report.verdict().err().map(|error| {
                ["records_unreadable", "values_refused", "shards_left_out"]
                    .into_iter()
                    .find(|code| error.has_code(code))
                    .unwrap_or("unknown")
            })
        };
        assert_eq!(code(&report), None);
        report.recovered.push(named("k"));
        report.delete(named("k"));
        assert_eq!(code(&report), None, "deletes are told, and no failure");
        report.not_read("a hint", vec![NotRead { detail: "torn".to_owned(), is_end: true }]);
        assert_eq!(code(&report), Some("records_unreadable"));
        report.refuse(named("k"), &error);
        assert_eq!(code(&report), Some("values_refused"));
        report.leave_out("ks", 4, &error);
        assert_eq!(code(&report), Some("shards_left_out"));
        report.unclear(named("k"), &error);
        assert_eq!(code(&report), Some("unknown"));
    }

    #[test]
    fn a_person_is_shown_ten_of_each_and_told_how_many_more_there_are() {
        let mut report = Report::new(3, "c3".to_owned(), false);
        (0..12).for_each(|number| report.delete(named(&format!("k{number}"))));
        let lines = report.lines();
        assert_eq!((lines.len(), lines[0].as_str()), (11, "not deleted: ks/t k0"));
        assert_eq!(lines[10], "... and 2 more; --json lists all");
        assert_eq!(report.json()["deletes_not_applied"].as_array().unwrap().len(), 12);
    }
}
