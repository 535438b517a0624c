//! Keyspaces and tables: the contracts under which data is kept.

use std::collections::BTreeMap;
use std::fmt;

use crate::{
    KeyspaceId, Level, Limits, Name, NodeId, Refusal, Region, Spread, TableId, VOTES_MAX, Voter,
    Zone,
};

/// Shards of a keyspace that does not say how many. Small enough that a laptop's cluster
/// stays light, large enough that a cluster of a dozen nodes is balanced within a few
/// per cent.
pub const SHARDS_DEFAULT: u16 = 64;

/// The most shards of a keyspace.
pub const SHARDS_MAX: u16 = 4096;

/// How many replicas are kept in which region.
pub type ReplicaMap = BTreeMap<Region, u8>;

/// A replication contract, declared once and then fixed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keyspace {
    /// Its number in this cluster.
    pub id: KeyspaceId,
    /// Its name, unique in the cluster.
    pub name: Name,
    /// Into how many shards its keys are hashed: a power of two up to [`SHARDS_MAX`].
    pub shards: u16,
    /// How many replicas are kept where. At least one in all.
    pub replicas: ReplicaMap,
    /// Whether guests stand in for replicas that are away. If not, the keyspace is strict:
    /// only replicas answer, and a request is refused for which there are too few.
    pub sloppy: bool,
}

impl Keyspace {
    /// N: the replicas of one shard in all regions together.
    pub fn n(&self) -> u8 {
        self.replicas.values().fold(0, |n, replicas| n.saturating_add(*replicas))
    }
}

/// What becomes of concurrent values. Part of the table's identity: it must be declared,
/// and never changes behind an application's back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// All are kept and handed to the application.
    Siblings,
}

impl Policy {
    /// Reads what [`as_str`](Self::as_str) writes.
    pub fn parse(text: &str) -> Option<Self> {
        (text == "siblings").then_some(Self::Siblings)
    }

    /// The policy as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Siblings => "siblings",
        }
    }
}

/// When a replica says that it has a write.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// After `fsync`: the write survives the loss of power at every replica at once.
    #[default]
    Synced,
    /// After handing it to the operating system: the write survives the death of the
    /// process, and is lost if *all* replicas that have it lose power before they have
    /// brought it to disk, which each does about a second later.
    Buffered,
}

impl Durability {
    /// Reads what [`as_str`](Self::as_str) writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "synced" => Some(Self::Synced),
            "buffered" => Some(Self::Buffered),
            _ => None,
        }
    }

    /// The durability as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Buffered => "buffered",
        }
    }
}

/// A conflict policy and defaults inside one keyspace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Its number in this cluster.
    pub id: TableId,
    /// The keyspace it is in.
    pub keyspace: KeyspaceId,
    /// Its name, unique in the keyspace.
    pub name: Name,
    /// What becomes of concurrent values.
    pub policy: Policy,
    /// When a replica says that it has a write.
    pub durability: Durability,
    /// Replicas that answer a read which does not say how many.
    pub read: Level,
    /// Replicas that acknowledge a write which does not say how many.
    pub write: Level,
    /// How replicas are counted.
    pub voting: Voting,
    /// How many concurrent values its keys may hold.
    pub siblings: SiblingRules,
}

/// How many concurrent values the keys of a table may hold, and what writers have to know of them.
/// Beyond what is said here the [limits](crate::Limits) of the nodes hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SiblingRules {
    /// Whether a put without a context is refused where the key holds a value.
    pub require_context: bool,
    /// With how many values a write is counted as one to be warned of.
    pub warn: Option<u16>,
    /// The most values of one key. A put without a context beyond is refused: nothing is dropped.
    pub max: Option<u16>,
    /// The most bytes of the values of one key together, if there are several.
    pub bytes_max: Option<u32>,
}

impl SiblingRules {
    /// Whether some key could keep to them.
    ///
    /// # Errors
    ///
    /// [`Refusal::Contract`] that says why none could.
    pub fn check(&self) -> Result<(), Refusal> {
        let Self { warn, max, bytes_max, .. } = *self;
        let wrong = |text: &str| Err(Refusal::Contract(text.to_owned()));
        if [warn, max].contains(&Some(0)) || bytes_max == Some(0) {
            return wrong("a key that holds no value at all is of no use: name at least one");
        }
        match (warn, max) {
            (Some(warn), Some(max)) if max < warn => {
                let text = format!(
                    "nobody would be warned: no key holds {warn} values, the most is {max}"
                );
                Err(Refusal::Contract(text))
            }
            _ => Ok(()),
        }
    }

    /// What a node allows, and the table does not forbid.
    pub fn within(&self, limits: &Limits) -> Limits {
        let min = |most: usize, mine: Option<usize>| mine.map_or(most, |mine| mine.min(most));
        Limits {
            siblings_max: min(limits.siblings_max, self.max.map(usize::from)),
            object_bytes_max: min(limits.object_bytes_max, self.bytes_max.map(|max| max as usize)),
            ..*limits
        }
    }
}

/// How the replicas of a table are counted, and what may not be asked of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Voting {
    /// Votes of those that have another number than one.
    pub votes: Votes,
    /// How far those must be spread out that acknowledge a write.
    pub spread: Spread,
    /// No read may wait for less than a read at this level does.
    pub weakest_read: Option<Level>,
    /// No write may wait for less than a write at this level does.
    pub weakest_write: Option<Level>,
    /// Whether reads at the table's levels may miss writes at the table's levels, and
    /// writes may miss each other.
    pub may_miss: bool,
}

/// How many votes somebody has.
pub type Votes = BTreeMap<Holder, u8>;

/// Who has votes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Holder {
    /// One node.
    Node(NodeId),
    /// Each node of a zone that is not named itself.
    Zone(Region, Zone),
}

impl Holder {
    /// Reads `n1` or `region/zone`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((region, zone)) = text.split_once('/') {
            return Some(Self::Zone(Name::new(region).ok()?, Name::new(zone).ok()?));
        }
        let number = text.strip_prefix('n').filter(|digits| !digits.starts_with('+'))?;
        number.parse().ok().map(|number| Self::Node(NodeId::new(number)))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{node}"),
            Self::Zone(region, zone) => write!(f, "{region}/{zone}"),
        }
    }
}

impl Voting {
    /// How many votes a replica has.
    pub fn votes_of(&self, replica: &Voter) -> u8 {
        let node = self.votes.get(&Holder::Node(replica.node));
        let zone = || {
            let holder = Holder::Zone(replica.region.clone(), replica.zone.clone());
            self.votes.get(&holder)
        };
        node.or_else(zone).copied().unwrap_or(1)
    }

    /// Whether nobody has more votes than there may be.
    ///
    /// # Errors
    ///
    /// [`Refusal::Contract`] that names who has.
    pub fn check_votes(&self) -> Result<(), Refusal> {
        match self.votes.iter().find(|(_, votes)| VOTES_MAX < **votes) {
            None => Ok(()),
            Some((holder, votes)) => {
                let text = format!("{holder} has {votes} votes, the most is {VOTES_MAX}");
                Err(Refusal::Contract(text))
            }
        }
    }
}
