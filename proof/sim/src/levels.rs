//! Levels as a client would count them who has pencil and paper.
//!
//! The engine turns levels into needs, and answers every question about them by the rules
//! of needs. What is here knows nothing of that: it counts the replicas, votes and zones of
//! a set of nodes, and tries all sets where the question is about all sets. An answer is
//! judged by this; a mistake would have to be made twice, in two ways, to go unnoticed.

use std::collections::{BTreeMap, BTreeSet};

use model::{Kind, Level, NodeId, ReadOptions, Region, Spread, Table, Voter, WriteOptions, Zone};

/// The replicas of one shard as a table counts them, seen from one region.
#[derive(Clone, Copy)]
pub(crate) struct Poll<'a> {
    pub(crate) voters: &'a [Voter],
    pub(crate) table: &'a Table,
    pub(crate) here: &'a Region,
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
        let zones: BTreeSet<(&Region, &Zone)> =
            self.of(nodes).map(|voter| (&voter.region, &voter.zone)).collect();
        usize::from(spread.nodes) <= self.of(nodes).count()
            && usize::from(spread.zones) <= zones.len()
    }

    /// Whether a level asks for somebody, and for no more than there are.
    fn can_be(&self, level: Level) -> bool {
        level != Level::Count(0) && self.are_enough(level, &self.everybody())
    }

    /// Whether these answers are enough for a read.
    pub(crate) fn is_read(&self, options: ReadOptions, nodes: &[NodeId]) -> bool {
        self.are_enough(options.r.unwrap_or(self.table.read), nodes)
            && options.pr.is_none_or(|pr| self.are_enough(pr, nodes))
            && self.are_spread(options.spread, nodes)
            && options.min <= self.read_kind(nodes)
    }

    fn is_acked(&self, options: WriteOptions, nodes: &[NodeId]) -> bool {
        self.are_enough(options.w.unwrap_or(self.table.write), nodes)
            && options.pw.is_none_or(|pw| self.are_enough(pw, nodes))
            && self.are_spread(options.spread, nodes)
            && self.are_spread(self.table.voting.spread, nodes)
    }

    /// Whether these acknowledgements are enough for a write, some of them from disks.
    pub(crate) fn is_written(
        &self,
        options: WriteOptions,
        nodes: &[NodeId],
        disks: &[NodeId],
    ) -> bool {
        self.is_acked(options, nodes)
            && options.dw.is_none_or(|dw| self.are_enough(dw, disks))
            && options.min <= self.write_kind(nodes)
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
        let anyhow = ReadOptions { min: Kind::Partial, ..options };
        let weakest = self.table.voting.weakest_read.filter(|_| options.r.is_some());
        levels.into_iter().flatten().all(|level| self.can_be(level))
            && self.are_spread(options.spread, &self.everybody())
            && weakest
                .is_none_or(|weakest| self.is_at_least(weakest, |set| self.is_read(anyhow, set)))
    }

    /// Whether a write may be asked for.
    pub(crate) fn is_proper_write(&self, options: WriteOptions) -> bool {
        let levels = [Some(options.w.unwrap_or(self.table.write)), options.pw, options.dw];
        let weakest = self.table.voting.weakest_write.filter(|_| options.w.is_some());
        levels.into_iter().flatten().all(|level| self.can_be(level))
            && self.are_spread(options.spread, &self.everybody())
            && weakest
                .is_none_or(|weakest| self.is_at_least(weakest, |set| self.is_acked(options, set)))
    }

    /// This poll as each region sees it in which there is a replica.
    fn elsewhere(&self) -> impl Iterator<Item = Self> {
        self.voters.iter().map(|voter| Self { here: &voter.region, ..*self })
    }

    /// What an answer of these to a read is worth: strict if no write at the table's level
    /// can do without them, wherever it is coordinated.
    pub(crate) fn read_kind(&self, nodes: &[NodeId]) -> Kind {
        let others = self.others(nodes);
        let misses = |poll: Self| poll.is_acked(WriteOptions::default(), &others);
        if self.elsewhere().any(misses) { Kind::Partial } else { Kind::Strict }
    }

    /// The same of a write.
    pub(crate) fn write_kind(&self, nodes: &[NodeId]) -> Kind {
        let others = self.others(nodes);
        let misses = |poll: Self| poll.are_enough(self.table.read, &others);
        if self.elsewhere().any(misses) { Kind::Partial } else { Kind::Strict }
    }

    /// Whether reads at the table's level meet every write at the table's level, and
    /// writes each other.
    pub(crate) fn meets(&self) -> bool {
        let write = WriteOptions::default();
        let polls: Vec<Self> = self.elsewhere().collect();
        self.sets().iter().all(|set| {
            let is_one =
                |poll: &Self| poll.are_enough(self.table.read, set) || poll.is_acked(write, set);
            let others = self.others(set);
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
                let read_is = |set: &[NodeId]| poll.is_read(read, set);
                let write_is = |set: &[NodeId]| poll.is_acked(write, set);
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
}

impl Places {
    /// How a node counts the replicas of a shard.
    pub(crate) fn poll<'a>(&'a self, table: &'a Table, shard: u16, at: NodeId) -> Poll<'a> {
        let voters = self.voters.get(&(table.id, shard)).map(Vec::as_slice).unwrap_or_default();
        let here = self.regions.get(&at).expect("clients ask the nodes of the layout only");
        Poll { voters, table, here }
    }
}
