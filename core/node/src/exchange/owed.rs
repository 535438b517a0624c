//! What another replica lacks, and sending it.
//!
//! The dots that it lacks are looked up in the log, lowest first: those of one incarnation come
//! in the order in which they were made, so that the clock of the receiver grows at its ends and
//! has few gaps on the way. Each key is sent once, in its current state: what was
//! superseded meanwhile is in the context.

use std::collections::{BTreeSet, VecDeque};

use causality::{Dot, DotSet, Run};
use lattice::Lattice as _;
use model::{Address, NodeId, Now, Object, ShardId};
use mutant::{Mutant, is};

use crate::exchange::pulls::PULLS_MAX;
use crate::exchange::throttle;
use crate::message::{Lack, Lacking, Rest, Sent};
use crate::{After, Cause, Disk, Merge, Message, Node, RequestId, Turn};

/// The most lines of the log that are looked at in one step. Each may be a read from the disk,
/// and clients wait meanwhile.
const ENTRIES_MAX: usize = 256;

/// The most runs of forgotten dots that are told at once, some 40 KiB.
const RUNS_MAX: usize = 4_096;

/// How many writes a replica lacks in a shard that is asked last for it. What is on its way while
/// clients write is less.
const LAGS_MIN: u64 = 200;

/// What an object counts for at least, however small it is: the work that it makes.
pub(crate) const OBJECT_BYTES_MIN: usize = 512;

/// The most bytes of an object that travels together with others. A frame and a header for each of
/// them would be more than what there is to say of it; of a larger one they are little, and a
/// message that holds it beside others might be too large for a frame.
const TOGETHER_BYTES_MAX: usize = 4 << 10;

/// What a mark counts for.
const MARK_BYTES: usize = 32;

/// The same of all shards together where several are asked for, which is where there are no clients.
const ENTRIES_OF_ALL_MAX: usize = 1_024;

/// After so many bytes nothing of further shards is sent. A message is far from filling a frame.
const BYTES_OF_ALL_MAX: usize = 1 << 20;

/// What is on its way to a replica that had asked.
struct Parcel {
    shard: ShardId,
    missing: DotSet,
    /// The dots sent, or found to be missing here as well.
    covered: DotSet,
    seen: BTreeSet<Address>,
    objects: Vec<(Address, Object)>,
    credit: usize,
    looked: usize,
}

impl Node {
    /// A node says what it has of a shard, or of several. It is sent what it lacks, up to its credit
    /// for each.
    pub(crate) fn lack<D: Disk>(&mut self, from: NodeId, lack: Lack, turn: &mut Turn<'_, D>) {
        let Lack { request, shard, clock, after, credit, is_together, others, .. } = lack;
        if !self.is_shared(shard, from) || !self.is_to_be_believed(from, lack.catalog_version) {
            return;
        }
        let since = self.exchange.hear(from, lack.stamp, lack.echo, turn.now);
        let first = Lacking { shard, clock, after };
        let (mut objects, mut rests) = (Vec::new(), VecDeque::new());
        let (mut left, mut bytes) = (ENTRIES_OF_ALL_MAX, 0);
        for lacking in std::iter::once(first).chain(others).take(PULLS_MAX) {
            if !self.is_shared(lacking.shard, from) {
                break;
            }
            let looked = ENTRIES_MAX.saturating_sub(left);
            let (parcel, rest) = self.fill(from, lacking, since, (credit, looked), turn);
            // Of those that it is too late for is told where they begin.
            bytes += credit - parcel.credit;
            let is_full = BYTES_OF_ALL_MAX <= bytes;
            left = if is_full { 0 } else { left.saturating_sub(parcel.looked - looked) };
            objects.extend(parcel.objects);
            rests.push_back(rest);
        }
        let is_small = |(_, object): &(Address, Object)| is_together && is_small(object);
        let (mut objects, alone): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_small);
        // Each table is named once.
        objects.sort_by_key(|(address, _)| address.table);
        for (address, object) in alone {
            let (request, sync, cause) = (RequestId::NOBODY, false, Cause::Exchange);
            let merge = Merge { request, address, object, sync, cause, stands_for: None };
            turn.send(from, Message::Merge(merge), After::Now);
        }
        let Rest { next, gaps, forgets } = rests.pop_front().unwrap_or_default();
        let sent = Sent { request, objects, next, gaps, forgets, others: rests.into() };
        turn.send(from, Message::Sent(sent), After::Now);
    }

    /// What a node lacks of one shard, and what is left of it.
    fn fill<D: Disk>(
        &mut self,
        from: NodeId,
        lacking: Lacking,
        since: Option<Now>,
        (credit, looked): (usize, usize),
        turn: &Turn<'_, D>,
    ) -> (Parcel, Rest) {
        let Lacking { shard, clock, after } = lacking;
        self.kept(shard);
        let kept = self.shards.get(&shard).expect("it was looked at above");
        let ours = kept.replica.clock();
        let missing = from_on(ours.difference(&clock), after);
        let lacks = missing.len();
        self.exchange.acks.heard(from, shard, clock, since, ours);
        let mut parcel = Parcel {
            shard,
            missing,
            covered: DotSet::new(),
            seen: BTreeSet::new(),
            objects: Vec::new(),
            credit,
            looked,
        };
        let next = parcel.fill(turn.disk);
        if LAGS_MIN <= lacks && !parcel.objects.is_empty() {
            self.pace.lags(from, turn.now);
        }
        let left = next.map(|next| from_on(parcel.missing.clone(), Some(next)));
        let examined = parcel.missing.difference(&left.unwrap_or_default());
        let absent = examined.difference(&parcel.covered);
        let gaps = absent.difference(kept.replica.forgotten());
        let (forgets, gaps) = (gaps != absent, gaps.len());
        (parcel, Rest { next, gaps, forgets })
    }
}

/// Whether an object may travel together with others.
fn is_small(object: &Object) -> bool {
    throttle::bytes(object) + MARK_BYTES * object.marks().len() <= TOGETHER_BYTES_MAX
}

impl Parcel {
    /// Collects objects until the credit is used up. Returns where to go on, if there is more.
    fn fill<D: Disk>(&mut self, disk: &D) -> Option<Dot> {
        for run in self.missing.clone().runs() {
            let mut rest = *run;
            loop {
                let left = ENTRIES_MAX.saturating_sub(self.looked);
                if left == 0 || self.credit == 0 {
                    return Some(Dot::new(rest.incarnation, rest.first));
                }
                // What cannot be read is a gap, until it can.
                let Ok(entries) = disk.log(self.shard, rest, left) else { break };
                let is_last = entries.len() < left;
                for entry in &entries {
                    if self.credit == 0 {
                        let first = entry.run.first.max(rest.first);
                        return Some(Dot::new(rest.incarnation, first));
                    }
                    self.looked += 1;
                    self.add(disk, entry.run, &entry.address);
                }
                let last = entries.last().map(|entry| entry.run.last);
                match last.filter(|last| !is_last && *last < rest.last) {
                    Some(last) => rest.first = last + 1,
                    None => break,
                }
            }
        }
        None
    }

    /// Adds the object at an address, if it carries a dot that is missing and not sent yet.
    fn add<D: Disk>(&mut self, disk: &D, run: Run, address: &Address) {
        let dots = DotSet::from_runs(vec![run]).expect("a run of a log is a set");
        if self.covered.is_superset(&dots) || !self.seen.insert(address.clone()) {
            return;
        }
        let Ok(Some(object)) = disk.object(self.shard, address) else { return };
        let carried = self.missing.intersection(object.context());
        if is(Mutant::EvidenceIgnored) {
            let (values, mut context) = object.into_parts();
            let _ = context.merge(dots);
            let object = Object::from_parts(values, context).expect("the context only grew");
            let _ = self.covered.merge(carried);
            return self.objects.push((address.clone(), object));
        }
        if carried.is_empty() {
            return;
        }
        self.credit = self.credit.saturating_sub(throttle::bytes(&object).max(OBJECT_BYTES_MIN));
        let _ = self.covered.merge(carried);
        self.objects.push((address.clone(), object));
    }
}

/// As much of a set as one message has.
pub(crate) fn first_runs(set: DotSet) -> DotSet {
    match set.runs().get(..RUNS_MAX) {
        Some(runs) => DotSet::from_runs(runs.to_vec()).expect("runs in order"),
        None => set,
    }
}

/// The part of a set that begins with a dot.
pub(crate) fn from_on(set: DotSet, first: Option<Dot>) -> DotSet {
    let Some(first) = first else { return set };
    let cut = |run: &Run| match run.incarnation.cmp(&first.incarnation) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Greater => Some(*run),
        std::cmp::Ordering::Equal => Some(Run { first: run.first.max(first.seq), ..*run })
            .filter(|run| run.first <= run.last),
    };
    DotSet::from_runs(set.runs().iter().filter_map(cut).collect()).expect("parts of runs in order")
}
