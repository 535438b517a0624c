//! What a table's levels come to for one shard.
//!
//! A table says by what levels it is read and written unless a request says otherwise, how
//! weak a request may be at most, and how many votes which replica has. For one shard, with
//! its replicas where they are, that is a handful of needs. They answer every question
//! about levels: whom a request waits for, whether it is too weak, what its answer is
//! worth, and whether the table may be declared at all.
//!
//! ```text
//! table: read ONE, write ALL            a read of n2 meets every write: strict
//! table: read ONE, write QUORUM         read at n3, written at n1 n2: may miss, to be declared so
//! ```
//!
//! `LOCAL` levels mean another need in each region. What an operation must meet is then all
//! of them, because any node may be asked.

use mutant::{Mutant, is};

use crate::level::regions;
use crate::need::{has_replica, has_vote};
use crate::{
    Ack, Kind, Level, Need, NodeId, ReadNeed, ReadOptions, Refusal, Region, Spread, Table, Voter,
    WriteNeed, WriteOptions,
};

/// The replicas of one shard under the contract of one table.
#[derive(Clone, Copy, Debug)]
pub struct Electorate<'a> {
    /// The replicas, with the votes that the table gives them.
    pub voters: &'a [Voter],
    /// The contract.
    pub table: &'a Table,
}

impl Electorate<'_> {
    /// Whom a read waits for that a node in the region `here` coordinates.
    ///
    /// # Errors
    ///
    /// As [`Level::need`]; [`Refusal::Weak`] if the table allows no read as weak.
    pub fn read(&self, options: ReadOptions, here: &Region) -> Result<ReadNeed, Refusal> {
        let level = options.r.unwrap_or(self.table.read);
        let mut answers = level.need("r", self.voters, here)?;
        let mut primaries = Need::default();
        if let Some(pr) = options.pr {
            primaries = primaries.and(pr.need("pr", self.voters, here)?);
        }
        (answers, primaries) = self.and_spread(options.spread, answers, primaries)?;
        if options.r.is_some() {
            let weakest = self.table.voting.weakest_read;
            self.check_weakest("r", level, &answers, &primaries, weakest, here)?;
        }
        (answers, primaries) =
            self.and_minimum(options.min, answers, primaries, || self.writes())?;
        Ok(ReadNeed { answers, primaries })
    }

    /// Whom a write waits for that a node in the region `here` coordinates.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(&self, options: WriteOptions, here: &Region) -> Result<WriteNeed, Refusal> {
        let level = options.w.unwrap_or(self.table.write);
        let mut acks = level.need("w", self.voters, here)?;
        let mut primaries = Need::default();
        if let Some(pw) = options.pw {
            let pw = pw.need("pw", self.voters, here)?;
            if is(Mutant::GuestCountsForPw) {
                acks = acks.and(pw);
            } else {
                primaries = primaries.and(pw);
            }
        }
        if !is(Mutant::SpreadForgotten) {
            let spread = options.spread.or(self.table.voting.spread);
            (acks, primaries) = self.and_spread(spread, acks, primaries)?;
        }
        if options.w.is_some() {
            let weakest = self.table.voting.weakest_write;
            self.check_weakest("w", level, &acks, &primaries, weakest, here)?;
        }
        (acks, primaries) = self.and_minimum(options.min, acks, primaries, || self.reads())?;
        let disks = match options.dw {
            Some(dw) => dw.need("dw", self.voters, here)?,
            None => Need::default(),
        };
        Ok(WriteNeed { acks, primaries, disks })
    }

    /// So many nodes may be guests: those are different nodes. In which zones the replicas
    /// are that have it only they can say.
    fn and_spread(
        &self,
        spread: Spread,
        answers: Need,
        primaries: Need,
    ) -> Result<(Need, Need), Refusal> {
        let nodes = Spread { zones: 0, ..spread }.need(self.voters)?;
        let zones = Spread { nodes: 0, ..spread }.need(self.voters)?;
        Ok((answers.and(nodes), primaries.and(zones)))
    }

    /// Also waits until the answer is worth so much.
    fn and_minimum(
        &self,
        min: Kind,
        answers: Need,
        primaries: Need,
        opposites: impl FnOnce() -> Result<Vec<Need>, Refusal>,
    ) -> Result<(Need, Need), Refusal> {
        // One replica took part exactly if no operation could have all of them beside it.
        let all = || Need::default().and_nodes(self.voters, self.voters.len() as u16);
        let one = |need: Need| need.and_meets([all()]);
        Ok(match min {
            _ if is(Mutant::MinimumIgnored) => (answers, primaries),
            Kind::Any => (answers, primaries),
            Kind::Partial => (answers, one(primaries)),
            Kind::Sloppy => (answers.and_meets(opposites()?), one(primaries)),
            Kind::Strict => (answers, primaries.and_meets(opposites()?)),
        })
    }

    /// What those who answered a read make of it.
    pub fn read_kind(&self, acks: &[Ack]) -> Kind {
        self.kind(acks, self.writes())
    }

    /// What those who have a write make of it.
    pub fn write_kind(&self, acks: &[Ack]) -> Kind {
        self.kind(acks, self.reads())
    }

    /// Strict if every opposite request at the table's level meets these replicas, wherever
    /// it is coordinated; sloppy if it would if guests were replicas.
    fn kind(&self, acks: &[Ack], opposites: Result<Vec<Need>, Refusal>) -> Kind {
        let Ok(opposites) = opposites else { return Kind::Partial };
        let meet = |has: &dyn Fn(NodeId) -> bool| opposites.iter().all(|need| need.must_meet(has));
        if is(Mutant::GuestCountsAsStrict) && meet(&|node| has_vote(acks, node)) {
            Kind::Strict
        } else if !acks.iter().any(Ack::is_primary) {
            Kind::Any
        } else if meet(&|node| has_replica(acks, node)) {
            Kind::Strict
        } else if !acks.iter().all(Ack::is_primary) && meet(&|node| has_vote(acks, node)) {
            Kind::Sloppy
        } else {
            Kind::Partial
        }
    }

    /// What reads wait for that name no level, for each region where that is something else.
    ///
    /// # Errors
    ///
    /// As [`Level::need`].
    pub fn reads(&self) -> Result<Vec<Need>, Refusal> {
        self.everywhere("read", self.table.read)
    }

    /// What writes wait for that name no level, for each region where that is something
    /// else.
    ///
    /// # Errors
    ///
    /// As [`Level::need`].
    pub fn writes(&self) -> Result<Vec<Need>, Refusal> {
        let spread = self.table.voting.spread.need(self.voters)?;
        let writes = self.everywhere("write", self.table.write)?.into_iter();
        Ok(writes.map(|write| write.and(spread.clone())).collect())
    }

    fn everywhere(&self, what: &'static str, level: Level) -> Result<Vec<Need>, Refusal> {
        let need = |region: &Region| level.need(what, self.voters, region);
        if level.is_local() {
            return regions(self.voters).into_iter().map(need).collect();
        }
        self.voters.iter().take(1).map(|voter| need(&voter.region)).collect()
    }

    /// A local level that is the weakest allowed means all regions together where the
    /// region keeps no replicas: otherwise nothing at all could be asked there.
    fn check_weakest(
        &self,
        what: &'static str,
        asked: Level,
        need: &Need,
        primaries: &Need,
        weakest: Option<Level>,
        here: &Region,
    ) -> Result<(), Refusal> {
        let weakest = weakest.filter(|weakest| *weakest != asked && !is(Mutant::GuardrailIgnored));
        let Some(weakest) = weakest else { return Ok(()) };
        let is_here = self.voters.iter().any(|voter| voter.region == *here);
        let least = if is_here { weakest } else { weakest.everywhere() };
        let need = need.clone().and(primaries.clone());
        if need.implies(&least.need(what, self.voters, here)?, self.voters) {
            return Ok(());
        }
        Err(Refusal::Weak { what, asked, weakest })
    }

    /// Whether a table can be declared so: its levels are in range and no weaker than it
    /// allows, and reads and writes meet writes, unless it says that they need not.
    ///
    /// # Errors
    ///
    /// As [`Level::need`]; [`Refusal::Weak`]; [`Refusal::MayMiss`].
    pub fn check(&self) -> Result<(), Refusal> {
        let (reads, writes) = (self.reads()?, self.writes()?);
        let voting = &self.table.voting;
        let weakest = [
            ("read", self.table.read, &reads, voting.weakest_read),
            ("write", self.table.write, &writes, voting.weakest_write),
        ];
        for (what, level, needs, weakest) in weakest {
            for (index, here) in regions(self.voters).into_iter().enumerate() {
                let Some(need) = needs.get(index).or(needs.first()) else { continue };
                self.check_weakest(what, level, need, &Need::default(), weakest, here)?;
            }
        }
        if voting.may_miss {
            return Ok(());
        }
        self.check_meets("a read", &reads, &writes)?;
        self.check_meets("a write", &writes, &writes)
    }

    fn check_meets(
        &self,
        what: &'static str,
        ours: &[Need],
        writes: &[Need],
    ) -> Result<(), Refusal> {
        for (one, other) in ours.iter().flat_map(|one| writes.iter().map(move |other| (one, other)))
        {
            if let Some((nodes, written)) = one.apart(other, self.voters) {
                return Err(Refusal::MayMiss { what, nodes, written });
            }
        }
        Ok(())
    }
}
