//! What is asked and told of repairs. Nodes do not hand such requests on; whoever does is understood.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{KeyspaceId, NodeId, Obstacle, PairState, RepairMode, RepairState, ShardId};
use prost::{Message, Oneof};

use crate::parts::{
    Key, Time, Unusable, Usable, narrow, numbered, present, put_name, take_name, wrong,
};

numbered!(put_state, take_state, RepairState {
    RepairState::Running = 1,
    RepairState::Ended = 2,
    RepairState::Cancelled = 3,
});

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Repair {
    #[prost(oneof = "Asked", tags = "1, 2, 3, 4")]
    asked: Option<Asked>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Asked {
    #[prost(message, boxed, tag = "1")]
    Start(Box<Start>),
    #[prost(bool, tag = "2")]
    Show(bool),
    #[prost(bool, tag = "3")]
    CancelAny(bool),
    #[prost(fixed64, tag = "4")]
    Cancel(u64),
}

#[derive(Clone, PartialEq, Message)]
struct Start {
    #[prost(uint32, tag = "1")]
    mode: u32,
    /// Of an incremental one.
    #[prost(message, optional, tag = "2")]
    age: Option<Time>,
    #[prost(message, optional, tag = "3")]
    of: Option<Extent>,
    #[prost(uint32, repeated, tag = "4")]
    with: Vec<u32>,
    #[prost(message, optional, tag = "5")]
    patience: Option<Time>,
    #[prost(fixed64, optional, tag = "6")]
    id: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Extent {
    #[prost(bytes = "bytes", tag = "1")]
    keyspace: Bytes,
    #[prost(uint32, repeated, tag = "2")]
    shards: Vec<u32>,
    /// Empty: all.
    #[prost(bytes = "bytes", tag = "3")]
    table: Bytes,
    #[prost(message, optional, tag = "4")]
    from: Option<Key>,
    #[prost(message, optional, tag = "5")]
    to: Option<Key>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RepairStatus {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(message, optional, tag = "2")]
    job: Option<Job>,
    #[prost(message, repeated, tag = "3")]
    proofs: Vec<Proof>,
}

#[derive(Clone, PartialEq, Message)]
struct At {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(uint32, tag = "2")]
    keyspace: u32,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(uint32, tag = "4")]
    with: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Proof {
    #[prost(message, optional, tag = "1")]
    at: Option<At>,
    #[prost(message, optional, tag = "2")]
    ago: Option<Time>,
    #[prost(bool, tag = "3")]
    is_overdue: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Job {
    #[prost(fixed64, tag = "1")]
    id: u64,
    #[prost(message, optional, tag = "2")]
    asked: Option<Start>,
    #[prost(uint32, tag = "3")]
    state: u32,
    #[prost(message, optional, tag = "4")]
    took: Option<Time>,
    #[prost(message, repeated, tag = "5")]
    pairs: Vec<Pair>,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(message, optional, tag = "1")]
    at: Option<At>,
    #[prost(uint32, tag = "2")]
    state: u32,
    /// Of one that is blocked or was given up.
    #[prost(uint32, tag = "3")]
    obstacle: u32,
    /// How many keys differ each time, if that is it.
    #[prost(uint64, tag = "4")]
    differing: u64,
    /// In the order of their declaration.
    #[prost(uint64, repeated, tag = "5")]
    figures: Vec<u64>,
    #[prost(message, repeated, tag = "6")]
    keys: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(bytes = "bytes", tag = "1")]
    table: Bytes,
    #[prost(message, optional, tag = "2")]
    key: Option<Key>,
}

impl Repair {
    pub(crate) fn put(repair: &model::Repair) -> Self {
        let asked = match repair {
            model::Repair::Start(start) => Asked::Start(Box::new(Start::put(start))),
            model::Repair::Show => Asked::Show(true),
            model::Repair::Cancel(None) => Asked::CancelAny(true),
            model::Repair::Cancel(Some(id)) => Asked::Cancel(*id),
        };
        Self { asked: Some(asked) }
    }

    pub(crate) fn take(self) -> Usable<model::Repair> {
        Ok(match self.asked.ok_or(Unusable::Unknown)? {
            Asked::Start(start) => model::Repair::Start(Box::new(start.take()?)),
            Asked::Show(_) => model::Repair::Show,
            Asked::CancelAny(_) => model::Repair::Cancel(None),
            Asked::Cancel(id) => model::Repair::Cancel(Some(id)),
        })
    }
}

impl Start {
    fn put(start: &model::StartRepair) -> Self {
        let (mode, age) = match start.mode {
            RepairMode::Full => (1, None),
            RepairMode::Incremental { age } => (2, Some(Time::put(age))),
            RepairMode::Preview => (3, None),
        };
        Self {
            mode,
            age,
            of: start.of.as_ref().map(Extent::put),
            with: start.with.iter().map(|node| node.number().into()).collect(),
            patience: Some(Time::put(start.patience)),
            id: start.id,
        }
    }

    fn take(self) -> Usable<model::StartRepair> {
        let mode = match self.mode {
            0 => return Err(wrong("a number missing that says which")),
            1 => RepairMode::Full,
            2 => RepairMode::Incremental { age: present(self.age)?.take()? },
            3 => RepairMode::Preview,
            _ => return Err(Unusable::Unknown),
        };
        let node = |number| Ok(NodeId::new(narrow(number)?));
        Ok(model::StartRepair {
            id: self.id,
            mode,
            of: self.of.map(Extent::take).transpose()?,
            with: self.with.into_iter().map(node).collect::<Usable<_>>()?,
            patience: present(self.patience)?.take()?,
        })
    }
}

impl Extent {
    fn put(extent: &model::Extent) -> Self {
        let model::Extent { keyspace, shards, table } = extent;
        let (from, to) = match table {
            Some(model::Stretch { from, to, .. }) => (from.as_ref(), to.as_ref()),
            None => (None, None),
        };
        Self {
            keyspace: put_name(keyspace),
            shards: shards.iter().map(|shard| u32::from(*shard)).collect(),
            table: table.as_ref().map(|table| put_name(&table.table)).unwrap_or_default(),
            from: from.map(Key::put),
            to: to.map(Key::put),
        }
    }

    fn take(self) -> Usable<model::Extent> {
        let Self { keyspace, shards, table, from, to } = self;
        let stretch = || -> Usable<_> {
            let (from, to) = (from.map(Key::take).transpose()?, to.map(Key::take).transpose()?);
            Ok(model::Stretch { table: take_name(&table)?, from, to })
        };
        Ok(model::Extent {
            keyspace: take_name(&keyspace)?,
            shards: shards.into_iter().map(narrow).collect::<Usable<BTreeSet<u16>>>()?,
            table: if table.is_empty() { None } else { Some(stretch()?) },
        })
    }
}

impl At {
    fn put(name: &model::Name, shard: ShardId, with: NodeId) -> Option<Self> {
        let (keyspace, index) = (shard.keyspace.number(), shard.index.into());
        let with = with.number().into();
        Some(Self { name: put_name(name), keyspace, shard: index, with })
    }

    fn take(at: Option<Self>) -> Usable<(model::Name, ShardId, NodeId)> {
        let Self { name, keyspace, shard, with } = present(at)?;
        let shard = ShardId { keyspace: KeyspaceId::new(keyspace), index: narrow(shard)? };
        Ok((take_name(&name)?, shard, NodeId::new(narrow(with)?)))
    }
}

impl RepairStatus {
    pub(crate) fn put(status: &model::RepairStatus) -> Self {
        Self {
            node: status.node.number().into(),
            job: status.job.as_ref().map(Job::put),
            proofs: status.proofs.iter().map(Proof::put).collect(),
        }
    }

    pub(crate) fn take(self) -> Usable<model::RepairStatus> {
        Ok(model::RepairStatus {
            node: NodeId::new(narrow(self.node)?),
            job: self.job.map(Job::take).transpose()?,
            proofs: self.proofs.into_iter().map(Proof::take).collect::<Usable<_>>()?,
        })
    }
}

impl Proof {
    fn put(proof: &model::Proof) -> Self {
        let at = At::put(&proof.keyspace, proof.shard, proof.with);
        Self { at, ago: proof.ago.map(Time::put), is_overdue: proof.is_overdue }
    }

    fn take(self) -> Usable<model::Proof> {
        let (keyspace, shard, with) = At::take(self.at)?;
        let (ago, is_overdue) = (self.ago.map(Time::take).transpose()?, self.is_overdue);
        Ok(model::Proof { keyspace, shard, with, ago, is_overdue })
    }
}

impl Job {
    fn put(job: &model::RepairJob) -> Self {
        Self {
            id: job.id,
            asked: Some(Start::put(&job.asked)),
            state: put_state(job.state),
            took: Some(Time::put(job.took)),
            pairs: job.pairs.iter().map(Pair::put).collect(),
        }
    }

    fn take(self) -> Usable<model::RepairJob> {
        Ok(model::RepairJob {
            id: self.id,
            asked: present(self.asked)?.take()?,
            state: take_state(self.state)?,
            took: present(self.took)?.take()?,
            pairs: self.pairs.into_iter().map(Pair::take).collect::<Usable<_>>()?,
        })
    }
}

impl Pair {
    fn put(pair: &model::RepairPair) -> Self {
        let (state, obstacle) = match pair.state {
            PairState::Waiting => (1, None),
            PairState::Reading => (2, None),
            PairState::Comparing => (3, None),
            PairState::Blocked(obstacle) => (4, Some(obstacle)),
            PairState::Proved => (5, None),
            PairState::Passed => (6, None),
            PairState::Compared => (7, None),
            PairState::Failed(obstacle) => (8, Some(obstacle)),
        };
        let (obstacle, differing) = obstacle.map_or((0, 0), put_obstacle);
        let named = |(table, key): &(model::Name, model::Key)| Named {
            table: put_name(table),
            key: Some(Key::put(key)),
        };
        let at = At::put(&pair.keyspace, pair.shard, pair.with);
        let keys = pair.keys.iter().map(named).collect();
        Self { at, state, obstacle, differing, figures: put_figures(&pair.figures), keys }
    }

    fn take(self) -> Usable<model::RepairPair> {
        let (keyspace, shard, with) = At::take(self.at)?;
        let obstacle = || take_obstacle(self.obstacle, self.differing);
        let state = match self.state {
            0 => return Err(wrong("a number missing that says which")),
            1 => PairState::Waiting,
            2 => PairState::Reading,
            3 => PairState::Comparing,
            4 => PairState::Blocked(obstacle()?),
            5 => PairState::Proved,
            6 => PairState::Passed,
            7 => PairState::Compared,
            8 => PairState::Failed(obstacle()?),
            _ => return Err(Unusable::Unknown),
        };
        let named = |Named { table, key }| Ok((take_name(&table)?, present(key)?.take()?));
        let keys = self.keys.into_iter().map(named).collect::<Usable<_>>()?;
        let figures = take_figures(&self.figures)?;
        Ok(model::RepairPair { keyspace, shard, with, state, figures, keys })
    }
}

fn put_figures(figures: &model::RepairFigures) -> Vec<u64> {
    let model::RepairFigures { keys, read, ranges_left, passes, differences, brought, sent, bytes } =
        *figures;
    vec![keys, read, ranges_left, passes, differences, brought, sent, bytes]
}

/// Later versions may count more.
fn take_figures(figures: &[u64]) -> Usable<model::RepairFigures> {
    let [keys, read, ranges_left, passes, differences, brought, sent, bytes, ..] = *figures else {
        return Err(wrong("figures that are too few"));
    };
    Ok(model::RepairFigures { keys, read, ranges_left, passes, differences, brought, sent, bytes })
}

fn put_obstacle(obstacle: Obstacle) -> (u32, u64) {
    match obstacle {
        Obstacle::Away => (1, 0),
        Obstacle::Silent => (2, 0),
        Obstacle::Unread => (3, 0),
        Obstacle::Disk => (4, 0),
        Obstacle::Differing { keys } => (5, keys),
        Obstacle::Changing => (6, 0),
        Obstacle::Cancelled => (7, 0),
        Obstacle::Joining => (8, 0),
    }
}

fn take_obstacle(number: u32, keys: u64) -> Usable<Obstacle> {
    Ok(match number {
        0 => return Err(wrong("a number missing that says which")),
        1 => Obstacle::Away,
        2 => Obstacle::Silent,
        3 => Obstacle::Unread,
        4 => Obstacle::Disk,
        5 => Obstacle::Differing { keys },
        6 => Obstacle::Changing,
        7 => Obstacle::Cancelled,
        8 => Obstacle::Joining,
        _ => return Err(Unusable::Unknown),
    })
}
