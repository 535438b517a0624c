//! Repair as an operator knows it: a job that compares what it is told to, and says what is proved.
//!
//! Comparisons begin by themselves, and nobody hears of them. Who has replaced a disk, or is
//! about to take one away, wants an answer: these replicas hold the same, those do not, and why. A
//! job goes through pairs, each a shard that is kept here and another replica of it, in the order
//! of shards and one at a time:
//!
//! ```text
//! here       what this disk holds is read again, leaf by leaf          full, preview
//! there      so is what the other one holds: Examine, Examined         full, preview
//! compare    one comparison of the range, and what differs is brought  a preview brings nothing
//! compare    again, until nothing is left that always differed         proved
//! ```
//!
//! **Proved** is a pair if each part of it was shown to be equal at some moment of the job. One
//! comparison to the end shows that of all that it does not find to differ; what it found has to
//! be found equal by another one. Where clients write all the time each comparison finds
//! something that is on its way, and mostly something else each time: it is what differed *each*
//! time that is not proved.
//!
//! **Trees are not believed.** They follow changes, and a record that a disk has lost changes
//! nothing. So both sides read before they compare. An incremental job leaves that to the scrub.
//!
//! A pair that comes no further, as the other one is away, is tried again, after the others, as long
//! as the patience of the operator lasts. A job lives as long as its process: who asked for it
//! asks again, for what was not proved.

mod advance;
mod examine;

use std::collections::{BTreeMap, BTreeSet};

use antientropy::{Difference, KeyRange, Outcome, TreeKey};
use bytes::Bytes;
use model::{
    Address, Extent, Key, Name, NodeId, Now, Obstacle, PairState, Proof, Refusal, Repair,
    RepairFigures, RepairJob, RepairMode, RepairPair, RepairState, RepairStatus, Reply, ShardId,
    StartRepair, Stretch, TableId,
};
use rand::RngExt;
use xxhash_rust::xxh3::xxh3_64;

use crate::flight::Client;
use crate::trees::compare::Comparison;
use crate::trees::{Place, Trees};
use crate::{Disk, Node, RequestId, Turn};

/// How many of the keys that differ are told of each pair.
const KEYS_TOLD: usize = 10;

/// How many keys that differ are remembered of one comparison. If there are more, another comparison
/// is needed until there are fewer.
const KEYS_REMEMBERED: usize = 1 << 16;

/// After how many repair intervals a pair should have been proven equal: it is compared after
/// one.
const OVERDUE: u32 = 2;

/// A repair that an operator has asked for.
#[derive(Debug)]
pub(crate) struct Job {
    id: u64,
    asked: StartRepair,
    /// What is compared of each shard.
    range: KeyRange<Place>,
    begun: Now,
    ended: Option<(Now, RepairState)>,
    pairs: BTreeMap<At, Pair>,
    /// Which pair has its turn.
    at: Option<At>,
    /// When it goes on.
    due: Now,
    /// Of which shards everything was read here.
    read: BTreeSet<ShardId>,
}

/// Names a pair: a shard, and another replica of it.
type At = (ShardId, NodeId);

/// How far one pair is.
#[derive(Debug)]
struct Pair {
    state: PairState,
    step: Step,
    /// Keys that differed in each comparison so far. All that there are, before the first.
    open: Option<BTreeSet<u64>>,
    /// It is not tried before this.
    retry: Now,
    /// Since when it comes no further.
    blocked: Option<Now>,
    /// How often a comparison of it came to no end.
    breaks: u32,
    figures: RepairFigures,
    keys: Vec<Address>,
}

/// What comes next for a pair.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    /// It was not begun.
    Begin,
    /// This disk is read, from there on.
    Here(Option<Place>),
    /// The other one is asked to read its own, from there on; or was, in this request, and has
    /// until then to answer.
    There(Option<Place>, Option<(RequestId, Now)>),
    /// A comparison begins, as soon as there is room for one.
    Compare,
    /// It is under way.
    Comparing(RequestId),
}

impl Step {
    /// What is told of a pair that is there.
    fn state(&self) -> PairState {
        match self {
            Self::Begin => PairState::Waiting,
            Self::Here(_) | Self::There(..) => PairState::Reading,
            Self::Compare | Self::Comparing(_) => PairState::Comparing,
        }
    }
}

/// What a comparison tells the job that it is made for.
#[derive(Debug, Default)]
pub(crate) struct Told {
    job: u64,
    pub(crate) is_preview: bool,
    /// What was found to differ, by the hashes of keys: two that have one are kept in mind as one,
    /// which is found to differ if either is.
    found: BTreeSet<u64>,
    is_more: bool,
    first: Vec<Address>,
    differences: u64,
    pub(crate) brought: u64,
    pub(crate) sent: u64,
    pub(crate) bytes: u64,
}

/// A comparison that was made for a job, and is over.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) at: Now,
    pair: At,
    told: Box<Told>,
    outcome: Outcome,
    is_to_the_end: bool,
}

impl Told {
    pub(crate) fn note(&mut self, found: &[Difference<Place>]) {
        self.differences += found.len() as u64;
        for Difference { key, .. } in found {
            if self.first.len() < KEYS_TOLD && !self.first.contains(&key.0) {
                self.first.push(key.0.clone());
            }
            match self.found.len() < KEYS_REMEMBERED {
                true => _ = self.found.insert(hash(key)),
                false => self.is_more = true,
            }
        }
    }
}

fn hash(place: &Place) -> u64 {
    let mut bytes = Vec::new();
    place.append_to(&mut bytes);
    xxh3_64(&bytes)
}

impl Trees {
    /// A comparison that was made for a job is over.
    pub(crate) fn ended(&mut self, comparison: Comparison, is_to_the_end: bool, at: Now) {
        let (pair, outcome) = ((comparison.shard, comparison.with), comparison.outcome());
        let Some(told) = comparison.told else { return };
        self.done = Some(Done { at, pair, told, outcome, is_to_the_end });
    }
}

impl Job {
    pub(crate) fn is_running(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether it compares a shard, or is about to.
    pub(crate) fn is_at_work_on(&self, shard: ShardId) -> bool {
        let of_it = self.pairs.iter().filter(|((of, _), _)| *of == shard);
        let is_open = |pair: &Pair| {
            let is_shut = PairState::Blocked(Obstacle::Away) == pair.state
                || PairState::Blocked(Obstacle::Joining) == pair.state;
            !is_shut && !pair.state.is_final()
        };
        self.is_running() && of_it.map(|(_, pair)| pair).any(is_open)
    }

    /// When it has something to do.
    pub(crate) fn wake_at(&self) -> Option<Now> {
        self.is_running().then_some(self.due)
    }

    /// Whether both sides read what their disks hold before they compare.
    fn reads(&self) -> bool {
        match self.asked.mode {
            RepairMode::Full | RepairMode::Preview => true,
            RepairMode::Incremental { .. } => false,
        }
    }

    fn is_preview(&self) -> bool {
        self.asked.mode == RepairMode::Preview
    }

    fn cancel(&mut self, now: Now) {
        self.ended = Some((now, RepairState::Cancelled));
        let open = self.pairs.values_mut().filter(|pair| !pair.state.is_final());
        open.for_each(|pair| pair.state = PairState::Failed(Obstacle::Cancelled));
    }
}

impl Pair {
    fn new(now: Now) -> Self {
        Self {
            state: PairState::Waiting,
            step: Step::Begin,
            open: None,
            retry: now,
            blocked: None,
            breaks: 0,
            figures: RepairFigures::default(),
            keys: Vec::new(),
        }
    }
}

impl Node {
    /// Begins a repair, ends it, or tells how far it is.
    pub(crate) fn repair_asked<D: Disk>(
        &mut self,
        client: Client,
        repair: Repair,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), model::Failure> {
        match repair {
            Repair::Start(asked) => self.start_repair(*asked, turn.now)?,
            Repair::Show => {}
            Repair::Cancel(id) => self.cancel_repair(id, turn.now),
        }
        let status = self.repair_status(turn.now);
        self.answer(client, Reply::Repair(Box::new(status)), turn);
        Ok(())
    }

    fn start_repair(&mut self, asked: StartRepair, now: Now) -> Result<(), Refusal> {
        if self.trees.job.as_ref().is_some_and(|job| Some(job.id) == asked.id) {
            return Ok(());
        }
        if let Some(job) = self.trees.job.as_ref().filter(|job| job.is_running()) {
            return Err(Refusal::RepairRuns { id: job.id });
        }
        let (range, pairs) = self.pairs_of(&asked)?;
        let pairs = pairs.into_iter().map(|pair| (pair, Pair::new(now))).collect();
        let id = asked.id.unwrap_or_else(|| self.rng.random());
        let (at, ended, read) = (None, None, BTreeSet::new());
        self.accept_losses(&asked);
        let job = Job { id, asked, range, begun: now, ended, pairs, at, due: now, read };
        (self.trees.job, self.trees.done) = (Some(job), None);
        Ok(())
    }

    fn cancel_repair(&mut self, id: Option<u64>, now: Now) {
        let meant = |job: &&mut Job| job.is_running() && id.is_none_or(|id| id == job.id);
        let Some(job) = self.trees.job.as_mut().filter(meant) else { return };
        job.cancel(now);
        self.trees.comparisons.retain(|_, comparison| comparison.told.is_none());
        self.trees.done = None;
    }

    /// What is asked for, as keys of each shard, and which pairs that is here.
    fn pairs_of(&self, asked: &StartRepair) -> Result<Asked, Refusal> {
        let (mut range, mut keyspace) = (KeyRange::ALL, None);
        if let Some(extent) = &asked.of {
            let found = self.in_force().keyspaces.get(&extent.keyspace);
            let found = found.ok_or_else(|| Refusal::UnknownKeyspace(extent.keyspace.clone()))?;
            if let Some(shard) = extent.shards.iter().find(|shard| found.shards <= **shard) {
                let (keyspace, shard, shards) = (extent.keyspace.clone(), *shard, found.shards);
                return Err(Refusal::NoSuchShard { keyspace, shard, shards });
            }
            range = self.range_of(extent)?;
            keyspace = Some((found.id, &extent.shards));
        }
        let is_meant = |shard: ShardId| match keyspace {
            Some((id, shards)) => {
                id == shard.keyspace && (shards.is_empty() || shards.contains(&shard.index))
            }
            None => true,
        };
        let is_asked = |node: &NodeId| {
            *node != self.config.id && (asked.with.is_empty() || asked.with.contains(node))
        };
        let kept = self.contracts.kept_by(self.config.id).filter(|(shard, _)| is_meant(*shard));
        let pairs = kept.flat_map(|(shard, nodes)| nodes.iter().map(move |node| (shard, *node)));
        let pairs = pairs.filter(|(_, node)| is_asked(node) && !range.is_empty()).collect();
        Ok((range, pairs))
    }

    fn range_of(&self, extent: &Extent) -> Result<KeyRange<Place>, Refusal> {
        let Some(Stretch { table, from, to }) = &extent.table else { return Ok(KeyRange::ALL) };
        let (_, table) = self.in_force().table(&extent.keyspace, table)?;
        let at = |table: TableId, key: Key| Place(Address { table, key });
        let next = table.id.number().checked_add(1).map(TableId::new);
        let from = from.clone().unwrap_or_else(first_key);
        let to = match to {
            Some(to) => Some(at(table.id, to.clone())),
            None => next.map(|next| at(next, first_key())),
        };
        Ok(KeyRange { from: Some(at(table.id, from)), to })
    }

    /// What is known here of repairs.
    pub fn repair_status(&self, now: Now) -> RepairStatus {
        let kept = self.contracts.kept_by(self.config.id);
        let pairs = kept.flat_map(|(shard, nodes)| nodes.iter().map(move |node| (shard, *node)));
        let others = pairs.filter(|(_, node)| *node != self.config.id);
        RepairStatus {
            node: self.config.id,
            job: self.trees.job.as_ref().map(|job| self.job_status(job, now)),
            proofs: others.map(|pair| self.proof(pair, now)).collect(),
        }
    }

    fn proof(&self, (shard, with): (ShardId, NodeId), now: Now) -> Proof {
        let (equal, at) =
            (self.trees.equals.get(&(shard, with)), self.trees.proofs.get(&(shard, with)));
        let max = self.config.limits.repair_interval * OVERDUE;
        let is_old = max < now.since(at.copied().unwrap_or(self.started));
        Proof {
            keyspace: self.name_of(shard),
            shard,
            with,
            ago: equal.map(|at| now.since(*at)),
            is_overdue: is_old && self.config.id < with,
        }
    }

    fn name_of(&self, shard: ShardId) -> Name {
        let mut all = self.in_force().keyspaces.values();
        let found = all.find(|keyspace| keyspace.id == shard.keyspace);
        found.expect("a shard that is kept is of a keyspace that is known").name.clone()
    }

    fn job_status(&self, job: &Job, now: Now) -> RepairJob {
        let (until, state) = job.ended.unwrap_or((now, RepairState::Running));
        RepairJob {
            id: job.id,
            asked: job.asked.clone(),
            state,
            took: until.since(job.begun),
            pairs: job.pairs.iter().map(|(at, pair)| self.pair_status(*at, pair)).collect(),
        }
    }

    fn pair_status(&self, (shard, with): (ShardId, NodeId), pair: &Pair) -> RepairPair {
        let (mut figures, mut keys) = (pair.figures, pair.keys.clone());
        if let Step::Comparing(request) = &pair.step
            && let Some(comparison) = self.trees.comparisons.get(request)
            && let Some(told) = &comparison.told
        {
            add(&mut figures, &mut keys, told);
            figures.ranges_left = comparison.ranges_left();
        }
        let tables = &self.in_force().tables;
        let named = |Address { table, key }: Address| {
            let found = tables.values().find(|other| other.id == table);
            Some((found?.name.clone(), key))
        };
        let keys = keys.into_iter().filter_map(named).collect();
        let (keyspace, state) = (self.name_of(shard), pair.state);
        RepairPair { keyspace, shard, with, state, figures, keys }
    }

    /// The number of the repair that is under way here, or of the last one.
    pub fn repair_id(&self) -> Option<u64> {
        self.trees.job.as_ref().map(|job| job.id)
    }

    /// The pairs of the repair that is under way here, or of the last one, and whether they are
    /// proved equal.
    pub fn repair_pairs(&self) -> impl Iterator<Item = (ShardId, NodeId, bool)> {
        let pairs = self.trees.job.iter().flat_map(|job| &job.pairs);
        pairs.map(|((shard, with), pair)| (*shard, *with, pair.state == PairState::Proved))
    }
}

type Asked = (KeyRange<Place>, Vec<At>);

/// The least key of a table.
fn first_key() -> Key {
    Key::new(Bytes::from_static(&[0]), Bytes::new()).expect("it is not empty")
}

/// Adds what a comparison has come to.
fn add(figures: &mut RepairFigures, keys: &mut Vec<Address>, told: &Told) {
    figures.differences += told.differences;
    figures.brought += told.brought;
    figures.sent += told.sent;
    figures.bytes += told.bytes;
    let news: Vec<_> = told.first.iter().filter(|key| !keys.contains(key)).cloned().collect();
    keys.extend(news);
    keys.truncate(KEYS_TOLD);
}
