//! Levels at this node: what a request waits for, whether it is worth attempting, and what
//! to say of those that answered.

use std::collections::BTreeSet;

use model::{
    Ack, Cast, Electorate, Failure, Holder, Kind, Need, NodeId, Now, ReadNeed, ReadOptions,
    Receipt, Refusal, Region, ShardId, Table, Voter, WriteNeed, WriteOptions, votes,
};
use mutant::{Mutant, is};
use placement::Layout;

use crate::Node;
use crate::contracts::{Contracts, Site};
use crate::flight::Client;

impl Node {
    /// Whom a read waits for, if it can be attempted.
    pub(crate) fn read_need(
        &self,
        site: &Site,
        options: ReadOptions,
        now: Now,
    ) -> Result<ReadNeed, Failure> {
        let need = site.electorate().read(options, &self.here)?;
        self.attempt(site, need.least(), &[&need.answers], &need.primaries, now)?;
        Ok(need)
    }

    /// Whom a monotonic read waits for beside: replicas alone, and as many as a read that names no
    /// level. Returns who must have what it answers: so many that the others are too few for any
    /// such read.
    pub(crate) fn monotonic_need(
        &self,
        site: &Site,
        need: &mut ReadNeed,
        now: Now,
    ) -> Result<Need, Failure> {
        let electorate = site.electorate();
        let read = electorate.read(ReadOptions::default(), &self.here)?;
        need.primaries = std::mem::take(&mut need.primaries).and(read.answers);
        self.attempt(site, need.least(), &[&need.answers], &need.primaries, now)?;
        Ok(Need::default().and_meets(electorate.reads()?))
    }

    /// Whom a write waits for that was asked for in the region `here`, if it can be attempted.
    pub(crate) fn write_need(
        &self,
        site: &Site,
        options: WriteOptions,
        here: &Region,
        now: Now,
    ) -> Result<WriteNeed, Failure> {
        let need = site.electorate().write(options, here)?;
        let anybody = [&need.acks, &need.disks];
        self.attempt(site, need.least(), &anybody, &need.primaries, now)?;
        Ok(need)
    }

    /// The region that local levels are about: that of the node that the client asked, whoever
    /// takes the request up.
    pub(crate) fn region_of(&self, client: Client) -> &Region {
        let asked = match client {
            Client::Node { node, .. } if !is(Mutant::LocalIsElsewhere) => {
                self.config.layout.members.get(&node)
            }
            Client::Node { .. } | Client::Ticket(_) | Client::Nobody => None,
        };
        asked.map_or(&self.here, |member| &member.region)
    }

    /// Whom a page of a list waits for, if it can be attempted. Guests list nothing: what they
    /// keep is only a part of a table.
    pub(crate) fn list_need(
        &self,
        site: &Site,
        options: ReadOptions,
        now: Now,
    ) -> Result<ReadNeed, Failure> {
        let primaries = site.electorate().read(options, &self.here)?.whole();
        self.attempt(site, primaries.least(), &[], &primaries, now)?;
        Ok(ReadNeed { primaries, ..ReadNeed::default() })
    }

    /// Refuses a request that the live replicas could not answer, with guests in the place of
    /// the others where guests count.
    pub(crate) fn attempt(
        &self,
        site: &Site,
        wanted: u8,
        anybody: &[&Need],
        primaries: &Need,
        now: Now,
    ) -> Result<(), Failure> {
        let is_alive = |node: NodeId| self.serves(node, now);
        let is_met = |guests: &[NodeId]| {
            let may = |node: NodeId| is_alive(node) || guests.contains(&node);
            anybody.iter().all(|need| need.is_met(may)) && primaries.is_met(is_alive)
        };
        let stood_in_for = match is(Mutant::GuestsNotCountedOn) {
            true => Vec::new(),
            false => self.stood_in_for(site, anybody, now),
        };
        if is_met(&[]) || is_met(&stood_in_for) {
            return Ok(());
        }
        let needs = anybody.iter().copied().chain([primaries]);
        let lacks = needs.map(|need| need.lacking(is_alive)).find(|lacks| !lacks.is_empty());
        let alive = site.replicas.iter().filter(|node| is_alive(**node)).count();
        let (alive, lacks) = (small(alive), lacks.unwrap_or_default());
        Err(Failure::NotAttempted { wanted, alive, replicas: site.n, lacks })
    }
}

impl Site {
    pub(crate) fn read_receipt(&self, acks: Vec<Ack>, need: &ReadNeed) -> Receipt {
        let kind = match is(Mutant::StrictAlways) {
            true => Kind::Strict,
            false => self.electorate().read_kind(&acks),
        };
        self.receipt(kind, acks, need.least())
    }

    /// A receipt that says nothing of a write, or of how old what was found can be.
    pub(crate) fn receipt(&self, kind: Kind, acks: Vec<Ack>, wanted: u8) -> Receipt {
        let (shard, replicas, cast) = (self.shard, self.n, self.cast(&acks));
        Receipt { kind, dot: None, shard, acks, wanted, replicas, cast, staleness: None }
    }

    /// The votes of these, where there are any.
    fn cast(&self, acks: &[Ack]) -> Option<Cast> {
        if self.table.voting.votes.is_empty() {
            return None;
        }
        let votes = |is_it: &dyn Fn(NodeId) -> bool| {
            let voters = self.voters.iter().filter(|voter| is_it(voter.node));
            voters.map(|voter| u16::from(voter.votes)).sum()
        };
        let counted =
            |ack: &Ack| if is(Mutant::GuestsCastNoVotes) { ack.node } else { ack.voter() };
        let took_part = |node: NodeId| acks.iter().any(|ack| counted(ack) == node);
        Some(Cast { got: votes(&took_part), of: votes(&|_| true) })
    }

    /// What to say when nobody has answered who may know of a write.
    pub(crate) fn nobody_told(&self, acks: Vec<Ack>) -> Failure {
        let (got, kind) = (small(votes(&acks)), self.electorate().read_kind(&acks));
        let receipt = self.receipt(kind, acks, 1);
        Failure::TooFewAnswers { wanted: 1, got, receipt, lacks: String::new() }
    }

    /// What to say when too few have answered a read: that they are too few, or that they
    /// are enough for the level and less than was demanded.
    pub(crate) fn read_failure(&self, acks: Vec<Ack>, need: &ReadNeed) -> Failure {
        let (is_met, lacks) = (need.is_met_alone(&acks), need.lacking(&acks));
        let (wanted, got) = (need.least(), small(votes(&acks)));
        let receipt = self.read_receipt(acks, need);
        if is_met {
            return Failure::Weaker { receipt };
        }
        if is(Mutant::ReadTakenForWrite) {
            return Failure::Unknown { wanted, got, receipt: Some(receipt), lacks };
        }
        Failure::TooFewAnswers { wanted, got, receipt, lacks }
    }
}

/// The replicas that answered, as a receipt names them.
pub(crate) fn acks_of(nodes: &[NodeId]) -> Vec<Ack> {
    nodes.iter().map(|node| Ack::of_replica(*node, false)).collect()
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Whether a table can be kept as it is declared: whoever is given votes exists, and in
/// each shard its levels are in range and meet.
pub(crate) fn check(layout: &Layout, contracts: &Contracts, table: &Table) -> Result<(), Refusal> {
    for holder in table.voting.votes.keys() {
        let exists = match holder {
            Holder::Node(node) => layout.members.contains_key(node),
            Holder::Zone(region, zone) => layout
                .members
                .values()
                .any(|member| (&member.region, &member.zone) == (region, zone)),
        };
        if !exists {
            let text = format!("{holder} is given votes, and there is no such node or zone");
            return Err(Refusal::Contract(text));
        }
    }
    // Shards whose replicas are alike are checked once: it is the same answer.
    let mut seen = BTreeSet::new();
    for index in 0..contracts.shards(table.keyspace) {
        let voters = contracts.voters(ShardId { keyspace: table.keyspace, index }, table);
        let place = |voter: &Voter| (voter.region.clone(), voter.zone.clone(), voter.votes);
        let mut places: Vec<_> = voters.iter().map(place).collect();
        places.sort_unstable();
        if seen.insert(places) {
            Electorate { voters: &voters, table }.check()?;
        }
    }
    Ok(())
}
