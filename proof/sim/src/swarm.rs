//! Swarm: each seed draws its own kind of world.
//!
//! A world in which everything goes wrong a little finds fewer bugs than many worlds in
//! which a few things go wrong a lot: a crash every second, say, hides what only happens
//! when a node lives long enough to fall behind. So a seed first draws which faults exist
//! at all and how often, the size and shape of the cluster, how slow network and disk are
//! and what clients do; the rest of the run follows from this [`Plan`].
//!
//! Source: Groce et al., "Swarm Testing" (ISSTA 2012).

mod aimed;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Durability, Level};
use serde::{Deserialize, Serialize};

pub use self::aimed::Worlds;
use crate::dice::{Dice, Part};
use crate::faults::FaultKind;
use crate::words;

/// What kind of world one seed draws.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Plan {
    /// Nodes in the cluster.
    pub nodes: u16,
    /// Regions they are dealt out to. Nodes of two regions are far from each other, if any
    /// are.
    pub regions: u16,
    /// Zones they are spread over.
    pub zones: u16,
    /// N.
    pub replicas: u8,
    /// Whether guests stand in for replicas that are away.
    #[serde(default)]
    pub sloppy: bool,
    /// Shards of the keyspace.
    pub shards: u16,
    /// The tables, by their defaults.
    pub tables: Vec<TablePlan>,
    /// The most concurrent values under one key.
    pub siblings_max: usize,
    /// The most requests that one node coordinates at once.
    pub requests_max: usize,
    /// The most keys that a replica looks at for one page of a list.
    pub page_objects_max: usize,
    /// The most writes of a shard that a log remembers.
    #[serde(default = "long_log")]
    pub log_entries_max: usize,
    /// How many runs of superseded dots a context may have.
    #[serde(default = "long_context")]
    pub context_runs_max: usize,
    /// How many of them may be of one life.
    #[serde(default = "long_context")]
    pub own_runs_max: usize,
    /// The most bytes that a node keeps for replicas that are away.
    #[serde(default = "roomy")]
    pub hint_bytes_max: u64,
    /// Whether everything that is stored is read again all the time. Else what a disk has lost is
    /// found by reads only, and trees have to follow changes by themselves.
    #[serde(default)]
    pub scrubs: bool,
    /// Mean microseconds between two repairs that operators begin. Zero for none.
    #[serde(default)]
    pub repairs: u64,
    /// Mean microseconds between two nodes whose disks operators give up. Zero for none.
    #[serde(default)]
    pub evictions: u64,
    /// Programs that watch a table.
    #[serde(default)]
    pub watchers: usize,
    /// For how many microseconds lines of logs are kept for them.
    #[serde(default)]
    pub changes_retention: u64,
    /// Mean microseconds between two declarations of further keyspaces and tables. Zero
    /// for none.
    pub declares: u64,
    /// What clients do.
    pub clients: ClientPlan,
    /// How the network behaves while there are faults.
    pub network: NetworkPlan,
    /// How the disks behave.
    pub disk: DiskPlan,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// Microseconds with faults, under load.
    pub safety: u64,
    /// Microseconds without faults, under load.
    pub liveness: u64,
    /// How many times there are faults and then none.
    #[serde(default = "once")]
    pub rounds: u64,
    /// By how many thousandths the clocks of nodes run fast or slow, at most.
    pub drift: u64,
    /// Whether faults may destroy all copies of what was acknowledged. Then nothing is
    /// expected to be kept, and no answer may lie all the same.
    pub destroys: bool,
}

/// The defaults of one table.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct TablePlan {
    /// When its replicas acknowledge.
    #[serde(with = "words::durability")]
    pub durability: Durability,
    /// How many answer a read.
    #[serde(with = "words::level")]
    pub read: Level,
    /// How many acknowledge a write.
    #[serde(with = "words::level")]
    pub write: Level,
    /// How its replicas are counted.
    #[serde(default)]
    pub voting: VotingPlan,
    /// Whether it takes no put without a context where there is a value.
    #[serde(default)]
    pub require_context: bool,
    /// The most siblings of its keys, if it says so.
    #[serde(default)]
    pub siblings_max: Option<u16>,
}

/// How the replicas of a table are counted, as far as the world has what it takes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct VotingPlan {
    /// The votes of nodes, by number from one on. One for those beyond.
    pub votes: Vec<u8>,
    /// Whether every other zone has two votes for each of its nodes.
    pub zones: bool,
    /// Nodes that must acknowledge a write, whatever their votes.
    pub min_nodes: u8,
    /// Zones in which somebody must acknowledge a write.
    pub min_zones: u8,
    /// Whether no request may be weaker than the table's own level.
    pub guarded: bool,
}

/// What clients do.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct ClientPlan {
    /// How many there are, each with one request at a time.
    pub count: usize,
    /// Mean microseconds between the answer to one request and the next request.
    pub think: u64,
    /// Partition keys per table.
    pub partitions: usize,
    /// Sort keys per partition key.
    pub sorts: usize,
    /// Weights of put, delete, get, list.
    pub weights: [u32; 4],
    /// How often in a thousand a request is about the first key.
    pub hot: u32,
    /// How many microseconds all clients are at work before they all rest as long. Zero if
    /// they never do.
    pub lull: u64,
    /// How often in a thousand a request names a keyspace or table that does not exist.
    pub nowhere: u32,
    /// How often in a thousand a write ignores what its client has read.
    pub blind: u32,
    /// How often in a thousand a write hands back an older context than the last.
    pub stale: u32,
    /// How often in a thousand a request names its own levels.
    pub levels: u32,
    /// How often in a thousand a request demands a spread or a kind. Where there are such, the
    /// levels that requests name are all there are; else those that only count.
    pub demands: u32,
    /// How often in a thousand a write is larger than a value or an object may be, or about
    /// as large.
    pub large: u32,
    /// How often in a thousand a context is handed back for another key, or forged.
    pub foreign: u32,
    /// How often in a thousand a client goes away before it is answered.
    pub leaves: u32,
    /// How often in a thousand a write has a token, and is tried again with it.
    pub tokens: u32,
    /// How often in a thousand a client that was not told what became of a write with a token
    /// asks for it; and a third as often one that was.
    pub outcomes: u32,
    /// How many clients in a thousand are in a session.
    pub sessions: u32,
    /// How often in a thousand a read is monotonic.
    pub monotonic: u32,
    /// Mean microseconds that a client is willing to wait.
    pub timeout: u64,
}

/// How the network behaves.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct NetworkPlan {
    /// Mean microseconds one way.
    pub delay: u64,
    /// How often in a thousand a message takes up to fifty times that.
    pub tail: u32,
    /// How often in a thousand a message vanishes.
    pub loss: u32,
    /// How often in a thousand a message arrives twice.
    pub twice: u32,
    /// How often in a thousand a message arrives seconds late.
    pub late: u32,
    /// How often in ten thousand the bytes of a message are damaged on their way.
    pub damage: u32,
    /// How many microseconds later than another a message may be sent and arrive before
    /// it. Nothing if any message may overtake any other.
    pub window: Option<u64>,
    /// Microseconds that some pairs of nodes are further apart, at most.
    pub far: u64,
    /// How often in a thousand the ends of a broken connection hear of it.
    pub notice: u32,
}

/// How the disks behave.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct DiskPlan {
    /// Mean microseconds to hand a group to the operating system.
    pub commit: u64,
    /// Mean microseconds of an `fsync`.
    pub sync: u64,
    /// How often in a thousand either takes up to fifty times that.
    pub tail: u32,
    /// How often in a thousand a step finds that nothing can be read.
    pub unreadable: u32,
    /// Mean microseconds between two records that are damaged, each on one disk, without a
    /// word. Zero for none.
    pub rot: u64,
    /// Weights of a record that vanishes, is as it was earlier, or has flipped bits.
    pub rots: [u32; 3],
}

/// What goes wrong, as weights.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct FaultPlan {
    /// Mean microseconds between two faults.
    pub gap: u64,
    /// Mean microseconds that a fault lasts.
    pub lasts: u64,
    /// What may go wrong, and how often compared with the rest.
    pub kinds: BTreeMap<FaultKind, u32>,
}

fn long_log() -> usize {
    100_000
}

fn long_context() -> usize {
    16
}

/// Room for more than any run writes.
fn roomy() -> u64 {
    1 << 30
}

const MILLISECOND: u64 = 1_000;
const SECOND: u64 = 1_000_000;

impl Plan {
    /// The world that a seed stands for.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Part::Plan);
        let nodes = dice.pick(&[3, 3, 3, 4, 5, 5, 6, 7, 9, 12]);
        let replicas = dice.pick(&[3, 3, 3, 3, 2, 1, 5, 7]).min(u8::try_from(nodes).unwrap_or(3));
        let network = network(&mut dice);
        let mut levels = Dice::new(seed, Part::Levels);
        // A declaration takes several round trips, one declaration after the other.
        let sloppy = u16::from(replicas) < nodes && Dice::new(seed, Part::Guests).chance(350);
        let mut contexts = Dice::new(seed, Part::Contexts);
        let mut rules = Dice::new(seed, Part::Rules);
        let mut watching = Dice::new(seed, Part::Watchers);
        let watchers = watching.pick(&[0, 0, 0, 1, 2]);
        let retention =
            watching.pick(&[None, Some(2 * SECOND), Some(20 * SECOND), Some(600 * SECOND)]);
        let often = if network.far == 0 { 300 * MILLISECOND } else { 2 * SECOND };
        Self {
            nodes,
            regions: dice.pick(&[1, 1, 1, 2, 3]),
            zones: dice.pick(&[1, 1, 2, 3, 5]),
            replicas,
            sloppy,
            shards: dice.pick(&[1, 2, 8, 16]),
            tables: vec![
                counted(&mut levels, &table(&mut dice, Durability::Synced, replicas)),
                counted(&mut levels, &table(&mut dice, Durability::Buffered, replicas)),
            ]
            .into_iter()
            .map(|table| ruled(&mut rules, table))
            .collect(),
            siblings_max: dice.pick(&[100, 100, 4]),
            requests_max: dice.pick(&[10_000, 10_000, 10_000, 4]),
            page_objects_max: dice.pick(&[1_000, 1_000, 5, 2]),
            log_entries_max: Dice::new(seed, Part::Logs).pick(&[long_log(), long_log(), 200, 20]),
            context_runs_max: contexts.pick(&[0, 0, 1, 4, 16]),
            own_runs_max: contexts.pick(&[0, 1, 4, 32, 32]),
            hint_bytes_max: Dice::new(seed, Part::Rooms).pick(&[
                roomy(),
                roomy(),
                roomy(),
                400,
                1_500,
                6_000,
            ]),
            scrubs: Dice::new(seed, Part::Trees).chance(600),
            repairs: Dice::new(seed, Part::Repairs).pick(&[0, 0, SECOND, 3 * SECOND]),
            evictions: 0,
            watchers,
            changes_retention: retention.filter(|_| 0 < watchers).unwrap_or(0),
            declares: dice.pick(&[0, 0, often, 2 * SECOND]),
            clients: ClientPlan {
                demands: levels.pick(&[0, 0, 50, 300]),
                tokens: Dice::new(seed, Part::Tokens).pick(&[0, 0, 500, 1000]),
                outcomes: Dice::new(seed, Part::Outcomes).pick(&[0, 100, 500]),
                sessions: Dice::new(seed, Part::Sessions).pick(&[0, 0, 300, 1000]),
                monotonic: Dice::new(seed, Part::Monotonic).pick(&[0, 0, 200, 800]),
                ..clients(&mut dice)
            },
            network,
            disk: DiskPlan {
                commit: dice.pick(&[20, 100, 500]),
                sync: dice.pick(&[200, 2 * MILLISECOND, 20 * MILLISECOND]),
                tail: dice.pick(&[0, 5, 50]),
                unreadable: dice.pick(&[0, 0, 0, 20]),
                rot: dice.pick(&[0, 0, 0, 100 * MILLISECOND, SECOND]),
                rots: dice.pick(&[[1, 0, 0], [2, 1, 1], [0, 1, 0], [0, 0, 1]]),
            },
            faults: faults(&mut dice),
            safety: dice.between(5, 20) * SECOND,
            liveness: 3 * SECOND,
            drift: dice.pick(&[0, 0, 10, 500]),
            rounds: dice.pick(&[1, 1, 1, 2]),
            destroys: false,
        }
    }

    /// Whether guests may have no room for what they are asked to keep.
    pub(crate) fn has_little_room(&self) -> bool {
        self.sloppy && self.hint_bytes_max < roomy()
    }

    /// Whether a node may come back with another disk: not while anything is declared.
    pub(crate) fn may_replace_disks(&self) -> bool {
        self.declares == 0
    }

    /// How long a healthy cluster may take for one key: one second, and what the round trips of
    /// a write that is forwarded take on this network, with syncs of these disks, both drawn
    /// from a distribution with a mean. In thousands of worlds a fifth of it was needed at
    /// most. The clock by which the time is up may run twice as fast as it should. A
    /// write with a token is not waited for that long: it is passed on to another, and in a sloppy
    /// keyspace begun anew in the end. Guests that have no room are asked one after the other.
    pub(crate) fn patience(&self) -> Duration {
        let guests = u64::from(self.nodes.saturating_sub(self.replicas.into()));
        let hops = if self.clients.tokens == 0 { 8 } else { 16 };
        let hops = if self.has_little_room() { hops + 2 * guests } else { hops };
        let round_trips = hops * self.network.far + 40 * self.network.delay + 10 * self.disk.sync;
        Duration::from_secs(1) + Duration::from_micros(2 * round_trips)
    }

    /// How long it may take for a list, which goes from page to page and from shard to shard.
    pub(crate) fn list_patience(&self) -> Duration {
        let keys = self.clients.partitions * self.clients.sorts;
        let pages = keys.div_ceil(self.page_objects_max.max(1)) as u64 + u64::from(self.shards);
        let page = 4 * self.network.far + 10 * self.network.delay;
        self.patience() + Duration::from_micros(2 * pages * page)
    }

    /// Tells the size of the world in a few words, for people who look through many seeds.
    pub fn summary(&self) -> String {
        let Self { nodes, regions, replicas, shards, clients, .. } = self;
        format!(
            "{nodes} nodes in {regions} regions, N={replicas}, {shards} shards, {} clients",
            clients.count
        )
    }
}

const fn once() -> u64 {
    1
}

/// Mostly a majority on both sides; sometimes levels that need not meet, so that partial
/// answers are seen, too.
fn table(dice: &mut Dice, durability: Durability, replicas: u8) -> TablePlan {
    let any = Level::Count(u8::try_from(dice.between(1, u64::from(replicas))).unwrap_or(1));
    let read = dice.pick(&[Level::Quorum, Level::Quorum, Level::One, Level::All, any]);
    let write = dice.pick(&[Level::Quorum, Level::Quorum, Level::Quorum, Level::One, any]);
    let voting = VotingPlan::default();
    TablePlan { durability, read, write, voting, require_context: false, siblings_max: None }
}

/// The same table, in some worlds with levels about regions, votes and minima.
fn counted(dice: &mut Dice, table: &TablePlan) -> TablePlan {
    let near = [Level::LocalQuorum, Level::LocalOne, Level::EachQuorum, Level::Quorum, Level::Any];
    let read = if dice.chance(300) { dice.pick(&near) } else { table.read };
    let write = if dice.chance(300) { dice.pick(&near) } else { table.write };
    let votes = if dice.chance(250) {
        (0..dice.between(1, 7)).map(|_| dice.pick(&[0, 1, 1, 2, 3])).collect()
    } else {
        Vec::new()
    };
    let voting = VotingPlan {
        votes,
        zones: dice.chance(100),
        min_nodes: dice.pick(&[0, 0, 0, 2]),
        min_zones: dice.pick(&[0, 0, 0, 2]),
        guarded: dice.chance(150),
    };
    TablePlan { read, write, voting, ..table.clone() }
}

/// The same table, in some worlds with rules for siblings.
fn ruled(dice: &mut Dice, table: TablePlan) -> TablePlan {
    let (require_context, siblings_max) = (dice.chance(250), dice.pick(&[None, None, Some(2)]));
    TablePlan { require_context, siblings_max, ..table }
}

fn clients(dice: &mut Dice) -> ClientPlan {
    let count = dice.pick(&[2, 4, 8, 12]);
    ClientPlan {
        count,
        think: count as u64 * SECOND / dice.pick(&[40, 100, 200]),
        partitions: dice.pick(&[1, 3, 8, 8, 40]),
        sorts: dice.pick(&[1, 2, 4]),
        weights: dice.pick(&[
            [40, 10, 45, 5],
            [70, 5, 20, 5],
            [30, 30, 35, 5],
            [45, 5, 40, 10],
            [8, 2, 85, 5],
            [30, 55, 10, 5],
        ]),
        hot: dice.pick(&[0, 0, 800]),
        lull: dice.pick(&[0, 0, 0, 2 * SECOND]),
        nowhere: dice.pick(&[0, 10]),
        blind: dice.pick(&[0, 50, 500]),
        stale: dice.pick(&[0, 50, 300]),
        levels: dice.pick(&[0, 200, 700]),
        demands: 0,
        large: dice.pick(&[0, 0, 100]),
        foreign: dice.pick(&[0, 20, 100]),
        leaves: dice.pick(&[0, 0, 50]),
        tokens: 0,
        outcomes: 0,
        sessions: 0,
        monotonic: 0,
        timeout: dice.pick(&[200 * MILLISECOND, SECOND, 3 * SECOND]),
    }
}

fn network(dice: &mut Dice) -> NetworkPlan {
    NetworkPlan {
        delay: dice.pick(&[200, MILLISECOND, 10 * MILLISECOND]),
        tail: dice.pick(&[0, 10, 100]),
        loss: dice.pick(&[0, 0, 10, 100]),
        twice: dice.pick(&[0, 0, 10, 100]),
        late: dice.pick(&[0, 2, 20]),
        damage: dice.pick(&[0, 0, 5, 50]),
        window: dice.pick(&[None, None, Some(0), Some(MILLISECOND)]),
        far: dice.pick(&[0, 0, 0, 50 * MILLISECOND, 200 * MILLISECOND]),
        notice: dice.pick(&[0, 700, 1000]),
    }
}

/// Each kind exists in some worlds only. What stops everything is rarer. Copies of disks are
/// put back more often than other things happen, because the atlas spares most of them.
fn faults(dice: &mut Dice) -> FaultPlan {
    let mut kinds = BTreeMap::new();
    for kind in FaultKind::ALL {
        let weights: &[u32] = if *kind == FaultKind::Blackout {
            &[0, 0, 0, 1]
        } else if *kind == FaultKind::Restore {
            &[0, 0, 2, 4, 6, 8]
        } else {
            &[0, 0, 0, 1, 2, 5]
        };
        let weight = dice.pick(weights);
        if weight != 0 {
            kinds.insert(*kind, weight);
        }
    }
    FaultPlan {
        gap: dice.pick(&[300 * MILLISECOND, SECOND, 4 * SECOND]),
        lasts: dice.pick(&[20 * MILLISECOND, 100 * MILLISECOND, SECOND, SECOND, 4 * SECOND]),
        kinds,
    }
}
