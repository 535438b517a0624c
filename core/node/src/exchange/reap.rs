//! Forgetting tombstones (R5).
//!
//! A tombstone keeps a deleted value from coming back, as long as anybody may hold that value. When
//! all replicas have on disk what the tombstone speaks of, nobody does, and it goes: no timer says
//! so, but the clocks that the others send. What is left of it is that its dots are
//! [forgotten](replica::Reaping).
//!
//! ```text
//! n1  {} {a1 b2}      n2, n3 say: my clock has a1 and b2      n1  nothing, and b2 a1 are forgotten
//! n3 is away          nothing is settled, and all tombstones stay: a few dozen bytes each
//! n3 is evicted       nobody waits for it, and it never comes back as it was
//! ```
//!
//! **Which.** Those that were stored in this life are remembered, up to a bound; so are those that the
//! tree of the shard has met while it was read after the start. Where there are more, the shard is
//! read on from the first that was left out, as soon as there is room, as [trees are](crate::trees): little
//! at once, and less while there are clients.
//!
//! **What else a tombstone is good for.** It has the marks of the writes that it superseded: a
//! client that tries one of those again is told that it is done. So one with marks stays until they are
//! too old to be asked for.
//!
//! A guest that keeps the deleted value for a replica is not waited for: every replica knows that the
//! value is old news, and says so [when it is asked](crate::doubt). Whoever reads from guests alone may be
//! shown it, as by a guest that has not heard of the delete yet; such an answer is not called strict.

use std::collections::BTreeSet;
use std::time::Duration;

use antientropy::{Items, KeyRange};
use causality::DotSet;
use model::{Address, MARKS_REACH, Mark, Now, Object, ShardId};
use mutant::{Mutant, is};
use replica::{Replica, StoreError};

use crate::exchange::Kept;
use crate::exchange::blockers::Blockers;
use crate::trees::{Place, Stored, Watched};
use crate::{Disk, Node, Turn};

/// How many tombstones of one shard are remembered, at most, of each kind: some hundred KiB.
const KNOWN_MAX: usize = 1_024;

/// How many objects of which something is forgotten count for one line of a log: together they make one
/// change of what is forgotten.
pub(crate) const COST: usize = 4;

/// After how many intervals of the exchange others have forgotten, too, what this node has.
const ALIKE: u32 = 3;

/// The tombstones of one shard.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    /// Those that are to be looked at.
    unlooked: BTreeSet<Address>,
    /// Those that spoke of something which was not settled when they were looked at.
    unsettled: BTreeSet<Address>,
    /// Those of which the marks are needed, and until when, by the wall clock.
    needed: BTreeSet<(u64, Address)>,
    /// Whether there was no room for some of these.
    needed_more: bool,
    /// From where on there may be more.
    unseen: Option<KeyRange<Place>>,
    /// What was settled when they were looked at.
    settled: DotSet,
    /// When anything of the shard was forgotten last.
    forgot: Option<Now>,
    /// Who holds them back.
    pub(crate) blockers: Blockers,
}

/// When it is.
#[derive(Clone, Copy)]
pub(crate) struct Time {
    now: Now,
    wall_millis: u64,
    /// For how long marks are needed.
    marks_kept: Duration,
}

impl Time {
    /// Until when a mark is needed, in milliseconds after 1970.
    fn until(self, mark: &Mark) -> u64 {
        let kept = u64::try_from(self.marks_kept.as_millis()).unwrap_or(u64::MAX);
        mark.token.millis().saturating_add(kept)
    }

    /// Whether a mark is needed now.
    pub(crate) fn needs(self, mark: &Mark) -> bool {
        self.wall_millis < self.until(mark)
    }

    /// Until when the marks of a tombstone are needed. Zero if it has none.
    fn until_all(self, object: &Object) -> u64 {
        match is(Mutant::TombstonesDropMarks) {
            true => 0,
            false => object.marks().values().map(|mark| self.until(mark)).max().unwrap_or(0),
        }
    }
}

impl Tombstones {
    /// There is one.
    pub(crate) fn note(&mut self, place: &Place) {
        if self.waiting() < KNOWN_MAX {
            self.unlooked.insert(place.0.clone());
        } else if !self.unlooked.contains(&place.0) && !self.unsettled.contains(&place.0) {
            self.leave_out(place);
        }
    }

    /// There is a value again.
    pub(crate) fn is_over(&mut self, place: &Place) {
        self.unlooked.remove(&place.0);
        self.unsettled.remove(&place.0);
    }

    /// How many are known to wait until they are settled, or to be looked at.
    pub(crate) fn waiting(&self) -> usize {
        self.unlooked.len() + self.unsettled.len()
    }

    /// How many are known that only their marks keep.
    pub(crate) fn for_retries(&self) -> usize {
        self.needed.len()
    }

    /// Whether there may be more than are known.
    pub(crate) fn may_be_more(&self) -> bool {
        self.unseen.is_some() || self.needed_more
    }

    /// There is one, and no room to remember it.
    fn leave_out(&mut self, place: &Place) {
        let is_known = |unseen: &KeyRange<Place>| unseen.from.as_ref() <= Some(place);
        if !self.unseen.as_ref().is_some_and(is_known) {
            self.unseen = Some(KeyRange { from: Some(place.clone()), to: None });
        }
    }

    /// It was looked at, and has to stay for its marks.
    fn need(&mut self, until_millis: u64, address: Address) {
        if self.needed.len() < KNOWN_MAX {
            self.needed.insert((until_millis, address));
        } else {
            // To look for it before there is room would be in vain.
            self.needed_more = true;
        }
    }

    /// Whether there is nothing to look at, or to look for.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting() == 0 && self.needed.is_empty() && self.unseen.is_none() && !self.needed_more
    }

    /// Something was forgotten.
    pub(crate) fn forget_now(&mut self, now: Now) {
        self.forgot = Some(now);
    }

    /// Whether others may not have forgotten yet what was forgotten here.
    pub(crate) fn differ(&self, now: Now, interval: Duration) -> bool {
        self.forgot.is_some_and(|at| now.since(at) < interval * ALIKE)
    }

    /// The next ones to look at, at most so many, now that this is settled.
    fn next(&mut self, settled: &DotSet, wall_millis: u64, max: usize) -> Vec<Address> {
        if self.settled != *settled {
            self.settled.clone_from(settled);
            self.blockers.settle(settled);
            self.unlooked.append(&mut self.unsettled);
        }
        let mut next = Vec::new();
        while next.len() < max
            && let Some(address) = self.unlooked.pop_first()
        {
            next.push(address);
        }
        let is_over = |(until, _): &(u64, Address)| *until <= wall_millis;
        while next.len() < max && self.needed.first().is_some_and(is_over) {
            next.extend(self.needed.pop_first().map(|(_, address)| address));
        }
        if self.needed_more && self.needed.len() < KNOWN_MAX / 2 {
            (self.needed_more, self.unseen) = (false, Some(KeyRange::ALL));
        }
        next
    }
}

impl Node {
    /// For how long the marks of a tombstone are kept after the time of their tokens: twice as long as
    /// anybody takes such a token, so that nobody who asks meanwhile what became of it is
    /// told that it was never seen. Where there are guests, a write that was tried twice may turn up later
    /// than that.
    pub(crate) fn marks_kept(&self, shard: ShardId) -> Duration {
        let limits = self.config.limits;
        let taken = 2 * (limits.retry_window + limits.token_ahead_max);
        match self.contracts.is_sloppy(shard) {
            true => taken.max(Duration::from_millis(MARKS_REACH)),
            false => taken,
        }
    }

    pub(crate) fn time_of_marks(&self, shard: ShardId, now: Now) -> Time {
        Time { now, wall_millis: self.wall_millis(now), marks_kept: self.marks_kept(shard) }
    }

    /// Forgets some tombstones of a shard of which everything is settled.
    pub(crate) fn reap<D: Disk>(
        &mut self,
        shard: ShardId,
        left: &mut usize,
        turn: &mut Turn<'_, D>,
    ) {
        let is_sound = self.is_sound(shard);
        let Some(kept) = self.shards.get_mut(&shard) else { return };
        if kept.tombstones.is_idle() {
            return kept.tombstones.blockers.clear();
        }
        // What this disk has lost may be the evidence that somebody needs. It is nobody else who holds
        // them back then.
        if !is_sound {
            return kept.tombstones.blockers.clear();
        }
        let mut heard = self.awaited(shard);
        if is(Mutant::TombstonesByMajority) {
            heard.truncate(heard.len().div_ceil(2));
        }
        let now = turn.now;
        let time = self.time_of_marks(shard, now);
        let Some(kept) = self.shards.get_mut(&shard) else { return };
        let clock = kept.replica.clock();
        let seconds = now.as_micros() / 1_000_000;
        let by_timer = is(Mutant::TombstonesByTimer) && seconds.is_multiple_of(10);
        let settled = match by_timer {
            true => clock.clone(),
            false => self.exchange.acks.settled(shard, &heard, clock),
        };
        // A disk that cannot be read keeps its tombstones for now.
        match kept.reap(&settled, left, time, turn.disk) {
            Ok(forgotten) => self.counts.tombstones_forgotten += forgotten,
            Err(_) => self.counts.failed_scrubs += 1,
        }
        self.look_for_blockers(shard, &heard, now);
    }
}

impl Kept {
    fn reap<D: Disk>(
        &mut self,
        settled: &DotSet,
        left: &mut usize,
        time: Time,
        disk: &mut D,
    ) -> Result<u64, StoreError> {
        let next = self.tombstones.next(settled, time.wall_millis, COST * *left);
        if next.is_empty() || is(Mutant::TombstonesKept) {
            return Ok(0);
        }
        *left = left.saturating_sub(next.len().div_ceil(COST));
        let until = |object: &Object| time.until_all(object);
        let is_needed = |object: &Object| time.wall_millis < until(object);
        let reap = |replica: &mut Replica, disk: &mut Watched<'_, D>| {
            replica.reap(disk, &next, settled, is_needed)
        };
        let reaped = match self.change(disk, reap) {
            Ok(reaped) => reaped,
            Err(error) => {
                self.tombstones.unlooked.extend(next);
                return Err(error);
            }
        };
        for (address, object) in reaped.stay {
            match is_needed(&object) && settled.is_superset(object.context()) {
                true => self.tombstones.need(until(&object), address),
                false => {
                    self.tombstones.blockers.add(object.context(), settled);
                    self.tombstones.unsettled.insert(address);
                }
            }
        }
        if reaped.forgotten != 0 {
            self.tombstones.forget_now(time.now);
        }
        Ok(reaped.forgotten)
    }

    /// Reads on for tombstones that there was no room for, when there is. Returns how many objects
    /// were read. Those among them that are tombstones whoever asked notes.
    pub(crate) fn find_tombstones<D: Disk>(
        &mut self,
        stored: &Stored<'_, D>,
        objects_max: usize,
    ) -> Result<usize, StoreError> {
        let is_full = KNOWN_MAX / 2 < self.tombstones.waiting();
        let Some(range) = self.tombstones.unseen.clone().filter(|_| !is_full) else {
            return Ok(0);
        };
        // The last one is where it goes on, and is read again: two are a step.
        let objects_max = self.scrub.in_one_step(objects_max).max(2);
        let read = stored.read(&range, objects_max)?;
        let last = read.last().filter(|_| read.len() == objects_max);
        self.tombstones.unseen =
            last.map(|(place, _)| KeyRange { from: Some(place.clone()), to: None });
        Ok(read.len())
    }
}
