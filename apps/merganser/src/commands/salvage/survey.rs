//! What a directory has heard of, shard by shard.
//!
//! The clock of a shard has every write whose effects are in its objects. What was kept for others
//! is in no clock, and a clock may be damaged: so everything is looked at once, and what is
//! missing is added. With that each shard is one question.

use std::collections::BTreeMap;

use causality::DotSet;
use indicatif::{ProgressBar, ProgressStyle};
use model::{Key, Keyspace, Name, ShardId, TableId};
use storage::{Lying, NotRead, Retired};

use super::super::error::{CliError, Exit};
use super::report::Report;

/// After how many objects the bar is told, and somebody who wants to end it is heard.
pub(super) const STEP: u64 = 256;

/// Everything that a directory has heard of.
pub(super) struct Survey {
    tables: Tables,
    /// What is to be asked of each shard.
    pub(super) shards: BTreeMap<ShardId, Shard>,
    /// How many objects there are, with those that were kept for others.
    pub(super) objects: u64,
}

/// One shard of a directory.
pub(super) struct Shard {
    /// In which keyspace.
    pub(super) keyspace: Name,
    /// A table that has something in it.
    pub(super) table: Name,
    /// A key of it: whoever is asked finds the shard by that.
    pub(super) key: Key,
    /// The writes that the directory has heard of.
    pub(super) heard: DotSet,
}

/// Where something lies, by name.
pub(super) struct Place {
    pub(super) keyspace: Name,
    pub(super) table: Name,
    pub(super) shard: ShardId,
}

/// The tables that the disk knows and that are meant.
struct Tables {
    meant: BTreeMap<TableId, (Keyspace, Name)>,
    others: Vec<TableId>,
}

impl Tables {
    fn of(retired: &Retired, only: Option<&str>) -> Result<Self, CliError> {
        let catalog = retired.catalog();
        let is_meant = |keyspace: &Keyspace| only.is_none_or(|only| keyspace.name.as_str() == only);
        if !catalog.keyspaces.values().any(is_meant)
            && let Some(only) = only
        {
            let what = format!("the disk knows of no keyspace {only}");
            let named: Vec<&str> = catalog.keyspaces.keys().map(Name::as_str).collect();
            return Err(CliError::new(Exit::NotFound, what)
                .code("unknown_keyspace")
                .remedy(format!("name one of these: {}", named.join(", "))));
        }
        let (mut meant, mut others) = (BTreeMap::new(), Vec::new());
        for table in catalog.tables.values() {
            let keyspace = catalog.keyspaces.values().find(|one| one.id == table.keyspace);
            match keyspace.filter(|keyspace| is_meant(keyspace)) {
                Some(keyspace) => {
                    meant.insert(table.id, (keyspace.clone(), table.name.clone()));
                }
                None => others.push(table.id),
            }
        }
        Ok(Self { meant, others })
    }
}

impl Survey {
    /// Looks at everything that lies in a directory.
    ///
    /// # Cancellation
    ///
    /// Nothing was changed. It lets others have their turn now and then.
    pub(super) async fn take(
        retired: &Retired,
        keyspace: Option<&str>,
        report: &mut Report,
    ) -> Result<Self, CliError> {
        let tables = Tables::of(retired, keyspace)?;
        let mut survey = Self { tables, shards: BTreeMap::new(), objects: 0 };
        let (mut clocks, not_read) = retired.clocks();
        report.not_read("a clock", not_read);
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} looking at what there is: {pos} keys");
        bar.set_style(style.expect("the template is well formed"));
        for (what, count, found) in lying(retired) {
            *report.count(count) += u64::from(found.is_ok());
            match found {
                Ok(lying) => survey.add(&lying, &mut clocks, report),
                Err(error) => report.not_read(what, vec![error]),
            }
            survey.objects += 1;
            if survey.objects.is_multiple_of(STEP) {
                bar.set_position(survey.objects);
                tokio::task::yield_now().await;
            }
        }
        bar.finish_and_clear();
        Ok(survey)
    }

    fn add(&mut self, lying: &Lying, clocks: &mut BTreeMap<ShardId, DotSet>, report: &mut Report) {
        let Some(Place { keyspace, table, shard }) = self.place(lying) else {
            if !self.tables.others.contains(&lying.table) {
                report.of_unknown_table(lying.table);
            }
            return;
        };
        report.values += lying.object.values().len() as u64;
        let shard = self.shards.entry(shard).or_insert_with(|| Shard {
            keyspace,
            table,
            key: lying.key.clone(),
            heard: clocks.remove(&shard).unwrap_or_default(),
        });
        if !shard.heard.is_superset(lying.object.context()) {
            let _ = shard.heard.union(lying.object.context());
        }
    }

    /// Where something lies. Nothing if it is not meant, or of a table that the disk does not know.
    pub(super) fn place(&self, lying: &Lying) -> Option<Place> {
        let (keyspace, table) = self.tables.meant.get(&lying.table)?;
        let shard = match lying.shard {
            Some(index) => ShardId { keyspace: keyspace.id, index },
            None => placement::shard_of(keyspace, lying.key.partition()),
        };
        Some(Place { keyspace: keyspace.name.clone(), table: table.clone(), shard })
    }
}

/// What is counted of what lies in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    /// Keys that the node held itself.
    Keys,
    /// Keys that it kept for others.
    Hints,
}

/// Everything that lies in a directory, with what it is called.
pub(super) fn lying(
    retired: &Retired,
) -> impl Iterator<Item = (&'static str, Count, Result<Lying, NotRead>)> {
    let objects = retired.objects().map(|found| ("an object", Count::Keys, found));
    objects.chain(retired.hints().map(|found| ("a hint", Count::Hints, found)))
}
