//! What the shards of a node have applied and forgotten, and what they come to, as a start finds it.
//!
//! All lie in one keyspace of the database: before the clocks of a shard what all its objects come to,
//! and behind the clock of an incarnation the chunks of those of
//! its dots that are forgotten. They are made sets again here. A directory in which nothing was ever
//! forgotten has no chunks, and is the same as one of a program that did not know of them.
//!
//! What is forgotten is known: should a clock be missing beside its chunks, as in a directory that was
//! made of a backup without it, it has their dots again.

use std::collections::BTreeMap;
use std::fmt::Display;

use causality::{DotSet, Run};
use fjall::Readable as _;
use model::ShardId;
use replica::Sum;

use crate::engine::{Engine, bytes};
use crate::tail::{self, Records};
use crate::{OpenError, record};

/// Of each shard, a set of dots.
type Sets = BTreeMap<ShardId, DotSet>;

/// What all shards know, and come to.
pub(crate) struct Known {
    pub(crate) clocks: Sets,
    pub(crate) forgotten: Sets,
    pub(crate) sums: BTreeMap<ShardId, Sum>,
    /// What the records lack of it, and the tail of a log has.
    pub(crate) late: Records,
}

/// The clocks of all shards, what each has forgotten, and what it comes to.
pub(crate) fn recover(
    engine: &Engine,
    damaged: impl Fn(&dyn Display) -> OpenError,
) -> Result<Known, OpenError> {
    let now = engine.database().snapshot();
    let (mut clocks, mut forgotten, mut sums) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for entry in now.iter(&engine.clocks) {
        let (key, value) = entry.into_inner().map_err(|error| damaged(&error))?;
        let (shard, known) =
            record::open_known(&key, &bytes(&value)).map_err(|error| damaged(&error))?;
        let (sets, found) = match known {
            record::Known::Clock(runs) => (&mut clocks, runs),
            record::Known::Forgotten(runs) => (&mut forgotten, runs),
            record::Known::Sum(sum) => {
                sums.insert(shard, sum);
                continue;
            }
        };
        let runs: &mut Vec<Run> = sets.entry(shard).or_default();
        found.into_iter().for_each(|run| join(runs, run));
    }
    let mut clocks = sets(clocks).map_err(|error| damaged(&error))?;
    let forgotten = sets(forgotten).map_err(|error| damaged(&error))?;
    for (shard, dots) in &forgotten {
        let _ = clocks.entry(*shard).or_default().union(dots);
    }
    let (late, unreadable) = tail::read(engine, &now).map_err(|error| damaged(&error))?;
    if let Some(error) = unreadable.first() {
        return Err(damaged(error));
    }
    for ((shard, _), runs) in &late.clocks {
        let dots = DotSet::from_runs(runs.clone()).map_err(|error| damaged(&error))?;
        let _ = clocks.entry(*shard).or_default().union(&dots);
    }
    sums.extend(late.sums.iter().map(|(shard, sum)| (*shard, *sum)));
    Ok(Known { clocks, forgotten, sums, late })
}

/// Appends the next run. One that goes over the end of a chunk was cut there.
pub(crate) fn join(runs: &mut Vec<Run>, run: Run) {
    let is_next = |last: &&mut Run| {
        last.incarnation == run.incarnation && last.last.checked_add(1) == Some(run.first)
    };
    match runs.last_mut().filter(is_next) {
        Some(last) => last.last = run.last,
        None => runs.push(run),
    }
}

fn sets(runs: BTreeMap<ShardId, Vec<Run>>) -> Result<Sets, causality::Malformed> {
    let set = |(shard, runs)| Ok((shard, DotSet::from_runs(runs)?));
    runs.into_iter().map(set).collect()
}
