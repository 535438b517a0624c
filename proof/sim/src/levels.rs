//! Levels as a client would count them who has pencil and paper.
//!
//! The engine turns levels into needs, and answers every question about them by the rules
//! of needs. What is here knows nothing of that: it counts the replicas, votes and zones of
//! a set of nodes, and tries all sets where the question is about all sets. An answer is
//! judged by this; a mistake would have to be made twice, in two ways, to go unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Ack, Kind, Level, NodeId, ReadOptions, Region, Spread, Table, Voter, WriteOptions, Zone,
};

/// The replicas of one shard as a table counts them, seen from one region.
#[derive(Clone, Copy)]
pub(crate) struct Poll<'a> {
    pub(crate) voters: &'a [Voter],
    pub(crate) table: &'a Table,
    pub(crate) here: &'a Region,
    /// Whether others may stand in for replicas.
    pub(crate) sloppy: bool,
}

/// Those who took part, as who counts them sees it: the replicas for whom somebody answered,
/// and those of them that answered themselves.
struct Turnout {
    votes: Vec<NodeId>,
    themselves: Vec<NodeId>,
}

impl Turnout {
    fn new(acks: &[Ack]) -> Self {
        let mut turnout = Self { votes: Vec::new(), themselves: Vec::new() };
        for ack in acks {
            match ack.stands_for {
                Some(replica) => turnout.votes.push(replica),
                None => {
                    turnout.votes.push(ack.node);
                    turnout.themselves.push(ack.node);
                }
            }
        }
        turnout
    }
}

/// Replicas that answered themselves.
pub(crate) fn replicas(nodes: &[NodeId]) -> Vec<Ack> {
    nodes.iter().map(|node| Ack { node: *node, durable: true, stands_for: None }).collect()
}

impl Poll<'_> {
    fn of<'a>(&'a self, nodes: &'a [NodeId]) -> impl Iterator<Item = &'a Voter> + Clone {
        self.voters.iter().filter(|voter| nodes.contains(&voter.node))
    }

    fn everybody(&self) -> Vec<NodeId> {
        self.voters.iter().map(|voter| voter.node).collect()
    }

    /// All but these.
    pub(crate) fn others(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        self.everybody().into_iter().filter(|node| !nodes.contains(node)).collect()
    }

    /// Whether these nodes have most of the votes, of all or in a region.
    fn are_most(&self, nodes: &[NodeId], region: Option<&Region>) -> bool {
        let counts = |voter: &&Voter| region.is_none_or(|region| voter.region == *region);
        let votes = |voter: &Voter| u32::from(voter.votes);
        let all: u32 = self.voters.iter().filter(counts).map(votes).sum();
        let theirs: u32 = self.of(nodes).filter(counts).map(votes).sum();
        all < 2 * theirs
    }

    /// Whether these nodes are enough for a level.
    fn are_enough(&self, level: Level, nodes: &[NodeId]) -> bool {
        let count = self.of(nodes).count();
        match level {
            Level::Any | Level::One => 1 <= count,
            Level::Two => 2 <= count,
            Level::Three => 3 <= count,
            Level::All => count == self.voters.len(),
            Level::Quorum => self.are_most(nodes, None),
            Level::LocalOne => self.of(nodes).any(|voter| voter.region == *self.here),
            Level::LocalQuorum => self.are_most(nodes, Some(self.here)),
            Level::EachQuorum => {
                self.voters.iter().all(|voter| self.are_most(nodes, Some(&voter.region)))
            }
            Level::Count(votes) => {
                let theirs: u32 = self.of(nodes).map(|voter| u32::from(voter.votes)).sum();
                u32::from(votes) <= theirs
            }
        }
    }

    fn are_spread(&self, spread: Spread, nodes: &[NodeId]) -> bool {
        usize::from(spread.nodes) <= self.of(nodes).count() && self.are_zones(spread, nodes)
    }

    fn are_zones(&self, spread: Spread, nodes: &[NodeId]) -> bool {
        let zones: BTreeSet<(&Region, &Zone)> =
            self.of(nodes).map(|voter| (&voter.region, &voter.zone)).collect();
        usize::from(spread.zones) <= zones.len()
    }

    /// So many nodes may be anybody; zones are those of the replicas.
    fn is_spread(&self, spread: Spread, turnout: &Turnout) -> bool {
        self.are_spread(Spread { zones: 0, ..spread }, &turnout.votes)
            && self.are_zones(spread, &turnout.themselves)
    }

    /// Whether a level asks for somebody, and for no more than there are.
    fn can_be(&self, level: Level) -> bool {
        level != Level::Count(0) && self.are_enough(level, &self.everybody())
    }

    /// Whether these answers are enough for a read.
    pub(crate) fn is_read(&self, options: ReadOptions, acks: &[Ack]) -> bool {
        let turnout = Turnout::new(acks);
        self.are_enough(options.r.unwrap_or(self.table.read), &turnout.votes)
            && options.pr.is_none_or(|pr| self.are_enough(pr, &turnout.themselves))
            && self.is_spread(options.spread, &turnout)
            && options.min <= self.read_kind(acks)
    }

    /// The same for a monotonic read, which replicas alone answer, as many as the table says.
    pub(crate) fn is_monotonic_read(&self, options: ReadOptions, acks: &[Ack]) -> bool {
        let themselves = Turnout::new(acks).themselves;
        self.is_read(options, acks) && self.are_enough(self.table.read, &themselves)
    }

    fn is_acked(&self, options: WriteOptions, acks: &[Ack]) -> bool {
        let turnout = Turnout::new(acks);
        self.are_enough(options.w.unwrap_or(self.table.write), &turnout.votes)
            && options.pw.is_none_or(|pw| self.are_enough(pw, &turnout.themselves))
            && self.is_spread(options.spread, &turnout)
            && self.is_spread(self.table.voting.spread, &turnout)
    }

    /// Whether these acknowledgements are enough for a write, some of them from disks.
    pub(crate) fn is_written(&self, options: WriteOptions, acks: &[Ack]) -> bool {
        let disks: Vec<Ack> = acks.iter().copied().filter(|ack| ack.durable).collect();
        self.is_acked(options, acks)
            && options.dw.is_none_or(|dw| self.are_enough(dw, &Turnout::new(&disks).votes))
            && options.min <= self.write_kind(acks)
    }

    /// Whether every set that is enough by the one rule is enough for a level. A region
    /// without replicas has no local levels, and takes those of all regions for them.
    fn is_at_least(&self, weakest: Level, is_enough: impl Fn(&[NodeId]) -> bool) -> bool {
        let is_far = self.voters.iter().all(|voter| voter.region != *self.here);
        let weakest = match (weakest, is_far) {
            (Level::LocalOne, true) => Level::One,
            (Level::LocalQuorum, true) => Level::Quorum,
            (level, _) => level,
        };
        self.sets().iter().all(|set| !is_enough(set) || self.are_enough(weakest, set))
    }

    fn sets(&self) -> Vec<Vec<NodeId>> {
        let mut sets = vec![Vec::new()];
        for voter in self.voters {
            let with = |set: &Vec<NodeId>| set.iter().copied().chain([voter.node]).collect();
            let more: Vec<Vec<NodeId>> = sets.iter().map(with).collect();
            sets.extend(more);
        }
        sets
    }

    /// Whether a read may be asked for.
    pub(crate) fn is_proper_read(&self, options: ReadOptions) -> bool {
        let levels = [Some(options.r.unwrap_or(self.table.read)), options.pr];
        let anyhow = ReadOptions { min: Kind::Any, ..options };
        let weakest = self.table.voting.weakest_read.filter(|_| options.r.is_some());
        levels.into_iter().flatten().all(|level| self.can_be(level))
            && self.are_spread(options.spread, &self.everybody())
            && weakest.is_none_or(|weakest| {
                self.is_at_least(weakest, |set| self.is_read(anyhow, &replicas(set)))
            })
    }

    /// Whether a write may be asked for.
    pub(crate) fn is_proper_write(&self, options: WriteOptions) -> bool {
        let levels = [Some(options.w.unwrap_or(self.table.write)), options.pw, options.dw];
        let weakest = self.table.voting.weakest_write.filter(|_| options.w.is_some());
        levels.into_iter().flatten().all(|level| self.can_be(level))
            && self.are_spread(options.spread, &self.everybody())
            && weakest.is_none_or(|weakest| {
                self.is_at_least(weakest, |set| self.is_acked(options, &replicas(set)))
            })
    }

    /// This poll as each region sees it in which there is a replica.
    fn elsewhere(&self) -> impl Iterator<Item = Self> {
        self.voters.iter().map(|voter| Self { here: &voter.region, ..*self })
    }

    /// What an answer of these to a read is worth: strict if no write at the table's level
    /// can do without the replicas among them, wherever it is coordinated.
    pub(crate) fn read_kind(&self, acks: &[Ack]) -> Kind {
        self.kind(acks, |poll, others| poll.is_acked(WriteOptions::default(), &replicas(others)))
    }

    /// The same of a write.
    pub(crate) fn write_kind(&self, acks: &[Ack]) -> Kind {
        self.kind(acks, |poll, others| poll.are_enough(self.table.read, others))
    }

    fn kind(&self, acks: &[Ack], is_opposite: impl Fn(&Self, &[NodeId]) -> bool) -> Kind {
        let is_missed = |nodes: &[NodeId]| {
            let others = self.others(nodes);
            self.elsewhere().any(|poll| is_opposite(&poll, &others))
        };
        let Turnout { votes, themselves } = Turnout::new(acks);
        match (themselves.is_empty(), is_missed(&themselves)) {
            (true, _) => Kind::Any,
            (false, false) => Kind::Strict,
            (false, true) if is_missed(&votes) => Kind::Partial,
            (false, true) => Kind::Sloppy,
        }
    }

    /// Whether reads at the table's level meet every write at the table's level, and
    /// writes each other.
    pub(crate) fn meets(&self) -> bool {
        let write = WriteOptions::default();
        let polls: Vec<Self> = self.elsewhere().collect();
        self.sets().iter().all(|set| {
            let is_one = |poll: &Self| {
                poll.are_enough(self.table.read, set) || poll.is_acked(write, &replicas(set))
            };
            let others = replicas(&self.others(set));
            let is_other = |poll: &Self| poll.is_acked(write, &others);
            !(polls.iter().any(is_one) && polls.iter().any(is_other))
        })
    }

    /// Whether the table's own levels can be met, in every region with a replica, and are no
    /// weaker than it allows.
    pub(crate) fn is_sound(&self) -> bool {
        let (read, write) = (ReadOptions::default(), WriteOptions::default());
        let voting = &self.table.voting;
        self.are_spread(voting.spread, &self.everybody())
            && self.elsewhere().all(|poll| {
                let read_is = |set: &[NodeId]| poll.is_read(read, &replicas(set));
                let write_is = |set: &[NodeId]| poll.is_acked(write, &replicas(set));
                poll.can_be(self.table.read)
                    && poll.can_be(self.table.write)
                    && voting
                        .weakest_read
                        .is_none_or(|level| poll.can_be(level) && poll.is_at_least(level, read_is))
                    && voting
                        .weakest_write
                        .is_none_or(|level| poll.can_be(level) && poll.is_at_least(level, write_is))
            })
    }
}

/// Where nodes stand, and how the shards of each table are counted.
#[derive(Default)]
pub(crate) struct Places {
    pub(crate) regions: BTreeMap<NodeId, Region>,
    /// By table and number of the shard.
    pub(crate) voters: BTreeMap<(model::TableId, u16), Vec<Voter>>,
    /// Whether the keyspace has guests.
    pub(crate) sloppy: bool,
}

impl Places {
    /// How a node counts the replicas of a shard.
    pub(crate) fn poll<'a>(&'a self, table: &'a Table, shard: u16, at: NodeId) -> Poll<'a> {
        let voters = self.voters.get(&(table.id, shard)).map(Vec::as_slice).unwrap_or_default();
        let here = self.regions.get(&at).expect("clients ask the nodes of the layout only");
        Poll { voters, table, here, sloppy: self.sloppy }
    }
}
