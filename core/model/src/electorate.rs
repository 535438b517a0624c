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
use crate::{
    Kind, Level, Need, NodeId, ReadOptions, Refusal, Region, Table, Voter, WriteNeed, WriteOptions,
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
    pub fn read(&self, options: ReadOptions, here: &Region) -> Result<Need, Refusal> {
        let level = options.r.unwrap_or(self.table.read);
        let mut need = level.need("r", self.voters, here)?;
        if let Some(pr) = options.pr {
            need = need.and(pr.need("pr", self.voters, here)?);
        }
        need = need.and(options.spread.need(self.voters)?);
        if options.r.is_some() {
            self.check_weakest("r", level, &need, self.table.voting.weakest_read, here)?;
        }
        if options.min == Kind::Strict && !is(Mutant::MinimumIgnored) {
            need = need.and_meets(self.writes()?);
        }
        Ok(need)
    }

    /// Whom a write waits for that a node in the region `here` coordinates.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(&self, options: WriteOptions, here: &Region) -> Result<WriteNeed, Refusal> {
        let level = options.w.unwrap_or(self.table.write);
        let mut acks = level.need("w", self.voters, here)?;
        if let Some(pw) = options.pw {
            acks = acks.and(pw.need("pw", self.voters, here)?);
        }
        if !is(Mutant::SpreadForgotten) {
            let spread = options.spread.or(self.table.voting.spread);
            acks = acks.and(spread.need(self.voters)?);
        }
        if options.w.is_some() {
            self.check_weakest("w", level, &acks, self.table.voting.weakest_write, here)?;
        }
        if options.min == Kind::Strict && !is(Mutant::MinimumIgnored) {
            acks = acks.and_meets(self.reads()?);
        }
        let disks = match options.dw {
            Some(dw) => dw.need("dw", self.voters, here)?,
            None => Need::default(),
        };
        Ok(WriteNeed { acks, disks })
    }

    /// What the replicas that answered a read make of it.
    pub fn read_kind(&self, nodes: &[NodeId]) -> Kind {
        self.kind(nodes, self.writes())
    }

    /// What the replicas that have a write make of it.
    pub fn write_kind(&self, nodes: &[NodeId]) -> Kind {
        self.kind(nodes, self.reads())
    }

    /// Strict if every opposite request at the table's level meets these nodes, wherever it
    /// is coordinated.
    fn kind(&self, nodes: &[NodeId], opposites: Result<Vec<Need>, Refusal>) -> Kind {
        let meets = |opposite: &Need| opposite.must_meet(|node| nodes.contains(&node));
        match opposites {
            Ok(opposites) if opposites.iter().all(meets) => Kind::Strict,
            Ok(_) | Err(_) => Kind::Partial,
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
        weakest: Option<Level>,
        here: &Region,
    ) -> Result<(), Refusal> {
        let weakest = weakest.filter(|weakest| *weakest != asked && !is(Mutant::GuardrailIgnored));
        let Some(weakest) = weakest else { return Ok(()) };
        let is_here = self.voters.iter().any(|voter| voter.region == *here);
        let least = if is_here { weakest } else { weakest.everywhere() };
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
                self.check_weakest(what, level, need, weakest, here)?;
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
