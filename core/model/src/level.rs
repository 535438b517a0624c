//! Whose answers are awaited, by name.
//!
//! A client names a level (`QUORUM`) or a number (`w=2`), and may demand more: so many
//! of them primaries (`pw`), so many with the write on disk (`dw`), in so many zones. What
//! that comes to depends on the replicas of the shard, on their votes and on where the
//! coordinator stands. A level becomes a [`Need`] here, and means nothing anywhere else.
//!
//! ```text
//!                 replicas n1 n2 n3 here, n4 n5 there, one vote each
//! ONE ANY         1 of all             LOCAL_ONE      1 of n1 n2 n3
//! TWO THREE       2, 3 of all          LOCAL_QUORUM   2 of n1 n2 n3
//! QUORUM          3 votes of 5         EACH_QUORUM    2 of n1 n2 n3, and 2 of n4 n5
//! ALL             all 5                4              4 votes of 5
//! ```
//!
//! `ONE`, `TWO` and `THREE` count replicas; `QUORUM` and numbers count votes, which is the
//! same unless a table gives some replicas more votes than others.
//!
//! `ANY` asks for one copy anywhere. Where only replicas take writes, that is `ONE`; in a
//! sloppy keyspace that of a guest is one, too.
//!
//! Source: consistency levels after Cassandra; `pr`, `pw`, `dw` after Riak.

use std::fmt;

use mutant::{Mutant, is};

use crate::{Kind, Need, Refusal, Region, Voter};

/// Whose answers are awaited, by name or by count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// One copy anywhere.
    Any,
    /// One replica.
    One,
    /// Two replicas.
    Two,
    /// Three replicas.
    Three,
    /// A majority of all votes.
    Quorum,
    /// All replicas.
    All,
    /// One replica in the coordinator's region.
    LocalOne,
    /// A majority of the votes in the coordinator's region.
    LocalQuorum,
    /// A majority of the votes in each region.
    EachQuorum,
    /// So many votes.
    Count(u8),
}

/// The levels that have a name, and the name.
const NAMED: [(Level, &str); 9] = [
    (Level::Any, "ANY"),
    (Level::One, "ONE"),
    (Level::Two, "TWO"),
    (Level::Three, "THREE"),
    (Level::Quorum, "QUORUM"),
    (Level::All, "ALL"),
    (Level::LocalOne, "LOCAL_ONE"),
    (Level::LocalQuorum, "LOCAL_QUORUM"),
    (Level::EachQuorum, "EACH_QUORUM"),
];

impl Level {
    /// Reads a name as [`Display`](fmt::Display) writes it, in either case, or a number.
    pub fn parse(text: &str) -> Option<Self> {
        let named = NAMED.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        named.map(|(level, _)| *level).or_else(|| text.parse().ok().map(Self::Count))
    }

    /// Whether it depends on where the coordinator stands.
    pub fn is_local(self) -> bool {
        matches!(self, Self::LocalOne | Self::LocalQuorum)
    }

    /// The same level of all regions together.
    #[must_use]
    pub fn everywhere(self) -> Self {
        match self {
            Self::LocalOne => Self::One,
            Self::LocalQuorum => Self::Quorum,
            Self::Any | Self::One | Self::Two | Self::Three | Self::Quorum => self,
            Self::All | Self::EachQuorum | Self::Count(_) => self,
        }
    }

    /// What this level waits for, at a coordinator in the region `here`. `what` names the
    /// option that asks for it.
    ///
    /// # Errors
    ///
    /// [`Refusal::Level`] if it asks for none, or for more than there are.
    /// [`Refusal::NotLocal`] if it is about this region, and no replica is there.
    pub fn need(
        self,
        what: &'static str,
        voters: &[Voter],
        here: &Region,
    ) -> Result<Need, Refusal> {
        let local: Vec<&Voter> = match self.is_local() && !is(Mutant::LocalCountsFar) {
            true => voters.iter().filter(|voter| voter.region == *here).collect(),
            false => voters.iter().collect(),
        };
        if local.is_empty() {
            let (level, region) = (self.to_string(), here.clone());
            return Err(Refusal::NotLocal { what, level, region });
        }
        let n = local.len() as u64;
        let nodes = |count: u64| -> Result<Need, Refusal> {
            in_range(what, count, n, "replicas")?;
            Ok(Need::default().and_nodes(local.iter().copied(), count as u16))
        };
        let need = match self {
            Self::Any | Self::One | Self::LocalOne => nodes(1)?,
            Self::Two => nodes(2)?,
            Self::Three => nodes(3)?,
            Self::All => nodes(n)?,
            Self::Quorum | Self::LocalQuorum => majority(what, &local)?,
            Self::Count(count) => votes(what, &local, count.into())?,
            Self::EachQuorum => return each(what, voters),
        };
        Ok(if self.is_local() { need.within(here) } else { need })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, NAMED.iter().find(|(level, _)| level == self)) {
            (Self::Count(count), _) => write!(f, "{count}"),
            (_, Some((_, name))) => f.write_str(name),
            (_, None) => unreachable!("every level but a count has a name"),
        }
    }
}

fn each(what: &'static str, voters: &[Voter]) -> Result<Need, Refusal> {
    let mut need = Need::default();
    for region in regions(voters) {
        let there: Vec<&Voter> = voters.iter().filter(|voter| voter.region == *region).collect();
        need = need.and(majority(what, &there)?.within(region));
    }
    Ok(need)
}

/// The regions of these voters, each once.
pub(crate) fn regions(voters: &[Voter]) -> Vec<&Region> {
    let mut regions: Vec<&Region> = voters.iter().map(|voter| &voter.region).collect();
    regions.sort_unstable();
    regions.dedup();
    regions
}

fn sum(voters: &[&Voter]) -> u64 {
    voters.iter().map(|voter| u64::from(voter.votes)).sum()
}

fn majority(what: &'static str, voters: &[&Voter]) -> Result<Need, Refusal> {
    votes(what, voters, sum(voters) / 2 + 1)
}

fn votes(what: &'static str, voters: &[&Voter], count: u64) -> Result<Need, Refusal> {
    let is_plain = voters.iter().all(|voter| voter.votes == 1);
    in_range(what, count, sum(voters), if is_plain { "replicas" } else { "votes" })?;
    Ok(Need::default().and_votes(voters.iter().copied(), count as u16))
}

fn in_range(
    what: &'static str,
    asked: u64,
    there_are: u64,
    of: &'static str,
) -> Result<(), Refusal> {
    let small = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
    if (1..=there_are).contains(&asked) {
        return Ok(());
    }
    Err(Refusal::Level { what, asked: small(asked), replicas: small(there_are), of })
}

/// How far those that answer must be spread out, at the least. Zero demands nothing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Spread {
    /// Different nodes, whatever their votes.
    pub nodes: u8,
    /// Different zones.
    pub zones: u8,
}

impl Spread {
    /// What either demands.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { nodes: self.nodes.max(other.nodes), zones: self.zones.max(other.zones) }
    }

    /// What this waits for.
    ///
    /// # Errors
    ///
    /// [`Refusal::Level`] if there are not so many.
    pub fn need(self, voters: &[Voter]) -> Result<Need, Refusal> {
        let mut need = Need::default();
        if self.nodes != 0 {
            in_range("min_nodes", self.nodes.into(), voters.len() as u64, "replicas")?;
            need = need.and_nodes(voters, self.nodes.into());
        }
        if self.zones != 0 {
            let mut zones: Vec<_> =
                voters.iter().map(|voter| (&voter.region, &voter.zone)).collect();
            zones.sort_unstable();
            zones.dedup();
            in_range("min_zones", self.zones.into(), zones.len() as u64, "zones")?;
            need = need.and_zones(voters, self.zones.into());
        }
        Ok(need)
    }
}

/// What a read asks for. What is left out comes from the table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReadOptions {
    /// Replicas that must answer.
    pub r: Option<Level>,
    /// Of these, how many must be primaries.
    pub pr: Option<Level>,
    /// How far they must be spread out.
    pub spread: Spread,
    /// What the answer must be worth.
    pub min: Kind,
}

/// What a write asks for. What is left out comes from the table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WriteOptions {
    /// Replicas that must have the write.
    pub w: Option<Level>,
    /// Of these, how many must be primaries.
    pub pw: Option<Level>,
    /// Of these, how many must have it on disk (`fsync`).
    pub dw: Option<Level>,
    /// How far those that have it must be spread out.
    pub spread: Spread,
    /// What the answer must be worth.
    pub min: Kind,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, NodeId};

    fn voters(regions: &[(&str, u16)]) -> Vec<Voter> {
        let mut voters = Vec::new();
        for (region, count) in regions {
            let region = Name::new(region).unwrap();
            for _ in 0..*count {
                let (node, zone) = (NodeId::new(voters.len() as u16 + 1), Name::new("z").unwrap());
                voters.push(Voter { node, region: region.clone(), zone, votes: 1 });
            }
        }
        voters
    }

    fn least(level: Level, regions: &[(&str, u16)]) -> u8 {
        level.need("r", &voters(regions), &Name::new("eu").unwrap()).unwrap().least()
    }

    #[test]
    fn levels_count_a_majority_of_all_replicas() {
        for (n, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)] {
            assert_eq!(least(Level::Quorum, &[("eu", n)]), quorum, "N = {n}");
            assert_eq!(least(Level::All, &[("eu", n)]), n as u8);
        }
    }

    #[test]
    fn local_levels_count_replicas_of_one_region_and_each_quorum_those_of_all() {
        let regions = [("eu", 3), ("us", 5)];
        for (level, is) in [
            (Level::Quorum, 5),
            (Level::LocalQuorum, 2),
            (Level::LocalOne, 1),
            (Level::EachQuorum, 5),
            (Level::Any, 1),
        ] {
            assert_eq!(least(level, &regions), is, "{level}");
        }
        let there = Name::new("asia").unwrap();
        let refused = Level::LocalOne.need("r", &voters(&regions), &there);
        assert!(matches!(refused, Err(Refusal::NotLocal { what: "r", .. })), "{refused:?}");
    }

    #[test]
    fn numbers_count_votes_and_words_count_replicas() {
        let mut voters = voters(&[("eu", 3)]);
        voters[0].votes = 3;
        let here = Name::new("eu").unwrap();
        let met = |level: Level, node: u16| {
            let need = level.need("w", &voters, &here).unwrap();
            need.is_met(|other| other == NodeId::new(node))
        };
        assert!(met(Level::Count(3), 1) && met(Level::Quorum, 1), "three votes of five");
        assert!(!met(Level::Count(3), 2) && !met(Level::Two, 1));
        assert!(Level::Count(6).need("w", &voters, &here).is_err());
    }

    #[test]
    fn a_level_that_cannot_be_met_is_refused() {
        let here = Name::new("eu").unwrap();
        for level in [Level::Three, Level::Count(0), Level::Count(3)] {
            let refused = level.need("r", &voters(&[("eu", 2)]), &here);
            assert!(matches!(refused, Err(Refusal::Level { what: "r", .. })), "{level}");
        }
    }

    #[test]
    fn levels_are_read_as_they_are_written() {
        for (level, name) in NAMED {
            assert_eq!(Level::parse(&level.to_string()), Some(level));
            assert_eq!(Level::parse(&name.to_lowercase()), Some(level));
        }
        assert_eq!(Level::parse("7"), Some(Level::Count(7)));
        assert_eq!(Level::parse("MOST"), None);
    }
}
