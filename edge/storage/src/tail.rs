//! What a shard has come to since its records were written.
//!
//! Each write changes the clock of its shard and what the shard comes to, and both must be on the disk
//! with the object. A record for each would be two more to write than the object and its line in the log,
//! and with many shards a group seldom has two writes of one shard, so that little is saved by writing
//! together. But the line says already which dots came. So it says as well what the write added to
//! the sum, and the records are written only now and then: what they lack is in the *tail* of the log.
//!
//! ```text
//! clocks   a → 1..=7             sum → 40       written with the line of a:7
//! log      a:6  a:7 │ a:8 (+3)  a:9 (-1)  ◄── the tail: above what the record of its incarnation reaches
//! found    a → 1..=9             sum → 42
//! ```
//!
//! All records of a shard are written at once, so that what is above one of them is in none. A change
//! of which the lines cannot say everything is written with the records: one that fills a gap below what
//! they reach, one that brings no dots, the first of an incarnation in this life; and they are written
//! before a line of the tail is dropped. Whoever reads records reads the tail with them: [`read`].

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use causality::{Dot, Incarnation, Run};
use fjall::{Readable as _, Snapshot};
use model::ShardId;
use replica::{Change, Reaping, StoreError, Sum};

use crate::clocks::join;
use crate::engine::{Engine, bytes};
use crate::read::store_error;
use crate::record;

/// After so many lines the records are written. A start reads no more of each shard; a put pays for one in
/// so many.
const LINES_MAX: usize = 256;

/// The records of a shard as they ought to be.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) clocks: BTreeMap<(ShardId, Incarnation), Vec<Run>>,
    pub(crate) sums: BTreeMap<ShardId, Sum>,
}

impl Records {
    pub(crate) fn is_empty(&self) -> bool {
        self.clocks.is_empty() && self.sums.is_empty()
    }

    /// Where each lies, and what.
    pub(crate) fn sealed(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let clocks = self.clocks.iter();
        let clocks = clocks
            .map(|((shard, incarnation), runs)| record::seal_clock(*shard, *incarnation, runs));
        clocks.chain(self.sums.iter().map(|(shard, sum)| record::seal_sum(*shard, *sum)))
    }
}

/// Of each shard that was written to in this life, what its records lack.
#[derive(Debug, Default)]
pub(crate) struct Tails(HashMap<ShardId, Tail>);

#[derive(Debug, Default)]
struct Tail {
    /// The last dot in the record of each incarnation.
    reach: BTreeMap<Incarnation, u64>,
    /// The clocks that have changed since.
    clocks: BTreeMap<Incarnation, Vec<Run>>,
    /// What the shard comes to, if it was ever said in this life.
    sum: Option<Sum>,
    lines: usize,
}

impl Tails {
    /// Takes in a change. Returns what its lines have to say of the sum, and writes the records if
    /// lines cannot say everything.
    pub(crate) fn take(&mut self, change: &mut Change, records: &mut Records) -> u64 {
        let tail = self.0.entry(change.shard).or_default();
        let adds = tail.adds(change.sum).filter(|adds| tail.can_say(change, *adds));
        tail.lines += change.news.runs().len();
        tail.learn(std::mem::take(&mut change.clock), change.sum);
        if adds.is_none() || LINES_MAX <= tail.lines {
            tail.fold(change.shard, records);
        }
        adds.unwrap_or_default()
    }

    /// Takes in what comes without lines.
    pub(crate) fn reap(&mut self, reaping: &mut Reaping, records: &mut Records) {
        let clock = std::mem::take(&mut reaping.clock);
        if !clock.is_empty() || reaping.sum.is_some() {
            let tail = self.0.entry(reaping.shard).or_default();
            tail.learn(clock, reaping.sum);
            tail.fold(reaping.shard, records);
        }
    }

    /// Takes in what a shard comes to.
    pub(crate) fn sum(&mut self, shard: ShardId, sum: Sum, records: &mut Records) {
        let tail = self.0.entry(shard).or_default();
        tail.learn(Vec::new(), Some(sum));
        tail.fold(shard, records);
    }

    /// Writes all records that lack something: the process ends in good order.
    pub(crate) fn close(&mut self, records: &mut Records) {
        self.0.iter_mut().for_each(|(shard, tail)| tail.fold(*shard, records));
    }

    /// Lines are to be dropped.
    pub(crate) fn drop(&mut self, shard: ShardId, runs: &[Run], records: &mut Records) {
        let Some(tail) = self.0.get_mut(&shard) else { return };
        if runs.iter().any(|run| tail.is_above(run.incarnation, run.last)) {
            tail.fold(shard, records);
        }
    }
}

impl Tail {
    /// How much more the shard comes to. Nothing if that cannot be said.
    fn adds(&self, sum: Option<Sum>) -> Option<u64> {
        match (self.sum, sum) {
            (_, None) => Some(0),
            (Some(last), Some(now)) if last.tag == now.tag => {
                Some(now.total.wrapping_sub(last.total))
            }
            (Some(_) | None, Some(_)) => None,
        }
    }

    fn can_say(&self, change: &Change, adds: u64) -> bool {
        let has_line = |(incarnation, _): &(Incarnation, _)| {
            change.news.runs().iter().any(|run| run.incarnation == *incarnation)
        };
        let is_above = |run: &Run| self.is_above(run.incarnation, run.first);
        (adds == 0 || !change.news.is_empty())
            && change.clock.iter().all(has_line)
            && change.news.runs().iter().all(is_above)
    }

    fn is_above(&self, incarnation: Incarnation, seq: u64) -> bool {
        self.reach.get(&incarnation).is_some_and(|reach| *reach < seq)
    }

    fn learn(&mut self, clock: Vec<(Incarnation, Vec<Run>)>, sum: Option<Sum>) {
        self.clocks.extend(clock);
        self.sum = sum.or(self.sum);
    }

    /// Says all of it in records. What comes later is in the lines above them.
    fn fold(&mut self, shard: ShardId, records: &mut Records) {
        self.lines = 0;
        records.sums.extend(self.sum.map(|sum| (shard, sum)));
        for (incarnation, runs) in std::mem::take(&mut self.clocks) {
            self.reach.extend(runs.last().map(|run| (incarnation, run.last)));
            records.clocks.insert((shard, incarnation), runs);
        }
    }
}

/// What the tails in a database make of the records there, at one moment: those that lack something, whole.
/// Lines that cannot be read are told, and left out.
pub(crate) fn read(
    engine: &Engine,
    at: &Snapshot,
) -> Result<(Records, Vec<StoreError>), StoreError> {
    let (mut records, mut unreadable) = (Records::default(), Vec::new());
    let mut from = Bound::Unbounded;
    while let Some(entry) = at.range(&engine.log, (from, Bound::Unbounded)).next() {
        let key = entry.key().map_err(|error| store_error(&error))?;
        let (shard, incarnation) = match record::open_log_key(&key) {
            Ok((shard, dot)) => (shard, dot.incarnation),
            Err(error) => {
                unreadable.push(error);
                from = Bound::Excluded(bytes(&key));
                continue;
            }
        };
        read_one(engine, at, (shard, incarnation), &mut records, &mut unreadable)?;
        from = Bound::Excluded(record::log_key(shard, Dot::new(incarnation, u64::MAX)));
    }
    Ok((records, unreadable))
}

/// The tail of one incarnation.
fn read_one(
    engine: &Engine,
    at: &Snapshot,
    place @ (shard, incarnation): (ShardId, Incarnation),
    records: &mut Records,
    unreadable: &mut Vec<StoreError>,
) -> Result<(), StoreError> {
    let get = |key: Vec<u8>| -> Result<_, StoreError> {
        let found = at.get(&engine.clocks, &key).map_err(|error| store_error(&error))?;
        Ok(found.map(|value| (key, bytes(&value))))
    };
    let mut clock = match get(record::clock_key(shard, incarnation))? {
        Some((key, value)) => match record::open_clock(&key, &value) {
            Ok((_, runs)) => runs,
            // Whoever reads the records comes upon it.
            Err(_) => return Ok(()),
        },
        None => Vec::new(),
    };
    let reach = clock.last().map_or(0, |run| run.last);
    let Some(first) = reach.checked_add(1) else { return Ok(()) };
    let (mut above, mut adds) = (Vec::new(), 0_u64);
    let within = Run { incarnation, first, last: u64::MAX };
    for entry in at.range(&engine.log, record::log_bounds(shard, within)) {
        let (key, value) = entry.into_inner().map_err(|error| store_error(&error))?;
        match record::open_log(&key, &bytes(&value)) {
            Ok(line) => {
                above.push(line.entry.run);
                adds = adds.wrapping_add(line.adds);
            }
            Err(error) => unreadable.push(error),
        }
    }
    if above.is_empty() {
        return Ok(());
    }
    above.into_iter().for_each(|run| join(&mut clock, run));
    records.clocks.insert(place, clock);
    if adds != 0 {
        add(records, shard, adds, || get(record::sum_key(shard)))?;
    }
    Ok(())
}

/// Adds to the sum of a shard. Nobody had said any, if it has no record.
fn add(
    records: &mut Records,
    shard: ShardId,
    adds: u64,
    get: impl FnOnce() -> Result<Option<(Vec<u8>, bytes::Bytes)>, StoreError>,
) -> Result<(), StoreError> {
    if let Some(sum) = records.sums.get_mut(&shard) {
        sum.total = sum.total.wrapping_add(adds);
        return Ok(());
    }
    if let Some((key, value)) = get()?
        && let Ok((_, Sum { tag, total })) = record::open_sum(&key, &value)
    {
        records.sums.insert(shard, Sum { tag, total: total.wrapping_add(adds) });
    }
    Ok(())
}
