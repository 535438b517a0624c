//! Disks that are given up, replaced, salvaged, restored and put back; and what was deleted, which stays
//! deleted although everybody has forgotten that it was.
//!
//! Three nodes, all of them replicas of all keys. One is to be lost, of another an old copy of its
//! disk is made. In each round
//!
//! ```text
//! write    keys that stay, keys that go early, keys that go late
//! keep     a backup of each node, and a copy of a stopped node's directory
//! delete   those that go early: tombstones are forgotten as soon as all three have them
//! cut      one node off. It alone accepts writes and a delete; the others delete what goes late,
//!          and keep the tombstones
//! evict    it: they are forgotten. Its network comes back: it is retired, now and after a start
//! replace  its disk by an empty one: it is made whole, and takes part
//! salvage  the disk before: what it alone had accepted comes back, once, and nothing else
//! restore  the backups into another cluster: it has what they have
//! put back the copy: what is held there of what was deleted is refuted
//! ```
//!
//! [Readers] ask every node for every key at every level from the beginning to the end. Writes have no
//! idempotency keys: tombstones of those that have stay for hours.
//!
//! A node with an old copy of its disk lacks what it has acknowledged since, which no operator may do to it
//! ("Backups" in `docs/operations/running.md`). Here all others hold that at the time. What is demanded
//! is that even then nothing is shown by a quorum that was deleted, and that the others refute it.

mod desk;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::{KeyspaceContract, Level, Replicas, TableContract};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use switch::{Network, Rule};

use self::desk::Desk;
use super::{NOTICED, Scene, place};
use crate::book::{Book, TABLE};
use crate::cluster::{Cluster, Place};
use crate::held::Held;
use crate::load::Load;
use crate::outcome::{Figures, Stop};
use crate::process::sleep;
use crate::readers::Readers;
use crate::scenarios::Sabotage;

const NODES: u16 = 3;

const REPLICAS: u8 = 3;

/// Keys of each kind.
const KEYS: usize = 16;

/// How long after the last replica has acknowledged a delete somebody may still remember it: a
/// second until clocks are compared, one until what is settled is looked at, and the rest
/// for a machine that has other things to do.
const FORGOTTEN_MAX: Duration = Duration::from_secs(10);

/// How long tombstones are watched that must stay: longer than they take when they may go.
const STAY: Duration = Duration::from_millis(4_000);

/// How long a node whose disk was given up may not know of it once it hears the others.
const RETIRED_MAX: Duration = Duration::from_secs(10);

/// How long an empty disk may take to become whole.
const WHOLE_MAX: Duration = Duration::from_secs(20);

/// How long values may be held by an old copy of a disk that everybody else has forgotten.
const REFUTED_MAX: Duration = Duration::from_secs(20);

/// How long is looked at a node that must not take part in anything.
const RETIRED: Duration = Duration::from_millis(1_000);

/// How many answers each node has to give in a round at the least.
const ANSWERS_MIN: u64 = 100;

pub(in crate::scenarios) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let mut arena = Arena::start(scene, &mut rng)?;
    for round in 0..scene.rounds(1, 20) {
        let mut nodes: Vec<u16> = (1..=NODES).collect();
        nodes.shuffle(&mut rng);
        let [lost, copied, other] = nodes.as_slice() else {
            unreachable!("there are three nodes");
        };
        arena.round(&Round::new(scene, round, (*lost, *copied, *other))?)?;
        arena.figures.rounds += 1;
    }
    arena.finish()
}

struct Arena<'a> {
    scene: &'a Scene<'a>,
    readers: Readers,
    desk: Desk,
    /// Before the network, which its processes are in.
    cluster: Cluster,
    network: Network,
    figures: Figures,
}

/// Who is mistreated in a round, and what its keys are called.
struct Round {
    number: u64,
    lost: u16,
    copied: u16,
    other: u16,
    dir: PathBuf,
    /// Keys that keep a value.
    stay: Vec<String>,
    /// Keys that are deleted while all are there.
    early: Vec<String>,
    /// Keys that are deleted while one is cut off.
    late: Vec<String>,
    /// Keys that only the one which is cut off ever hears of.
    alone: Vec<String>,
}

impl Round {
    fn new(
        scene: &Scene<'_>,
        number: u64,
        (lost, copied, other): (u16, u16, u16),
    ) -> Result<Self, Stop> {
        let dir = scene.dir.join(format!("round-{number}"));
        fs::create_dir_all(&dir)?;
        let keys = |kind: &str| (0..KEYS).map(|index| format!("{number}-{kind}-{index}")).collect();
        let (stay, early, late, alone) =
            (keys("stays"), keys("early"), keys("late"), keys("alone"));
        Ok(Self { number, lost, copied, other, dir, stay, early, late, alone })
    }

    fn those_left(&self) -> [u16; 2] {
        [self.copied, self.other]
    }
}

impl<'a> Arena<'a> {
    fn start(scene: &'a Scene<'a>, rng: &mut SmallRng) -> Result<Self, Stop> {
        let network = Network::create(usize::from(NODES), rng.random())?;
        let places: Vec<Place> = network.ports().map(|port| place(&network, port)).collect();
        let mut cluster = Cluster::prepare_at(&scene.plan.binary, scene.dir, &places)?;
        cluster.start_all()?;
        let load = Load::declare(cluster.urls(), REPLICAS, 0)?;
        let replicas = Some(Replicas::Here(REPLICAS));
        let keyspace = KeyspaceContract { shards: Some(8), replicas, sloppy: false };
        load.declare_more(TABLE, &(keyspace, TableContract::new("siblings")))?;
        let address = |id: u16| Ok((id, cluster.address(id)?));
        let nodes: BTreeMap<u16, SocketAddr> =
            cluster.ids().map(address).collect::<Result<_, Stop>>()?;
        let book = Arc::new(Book::default());
        let readers = Readers::start(&book, &nodes, rng.random());
        let desk = Desk::new(book, &scene.plan.binary, &cluster)?;
        Ok(Self { scene, readers, desk, cluster, network, figures: Figures::default() })
    }

    fn round(&mut self, round: &Round) -> Result<(), Stop> {
        let before = self.answers();
        self.write(round)?;
        let kept = self.keep(round)?;
        self.delete_early(round)?;
        let alone = self.cut(round)?;
        self.evict(round)?;
        self.come_back(round)?;
        let old = self.replace(round)?;
        self.salvage(round, &old, &alone)?;
        self.restore(round, &kept)?;
        self.put_back(round)?;
        let silent = self.answers().into_iter().find(|(node, count)| {
            *count < before.get(node).copied().unwrap_or_default() + ANSWERS_MIN
        });
        match silent {
            None => self.readers.check(),
            Some((node, count)) => {
                Err(Stop::Failed(format!("n{node} has shown only {count} keys in all")))
            }
        }
    }

    fn answers(&self) -> BTreeMap<u16, u64> {
        self.cluster.ids().map(|node| (node, self.readers.answered(node))).collect()
    }

    /// Stops reading, and looks at everything once more, everywhere.
    fn finish(self) -> Result<Figures, Stop> {
        let Self { scene, readers, desk, cluster, network, mut figures } = self;
        figures.checked = readers.finish()?;
        if scene.plan.sabotage == Some(Sabotage::Write) {
            desk.book.forge();
        }
        for node in cluster.ids() {
            for level in [Level::One, Level::Quorum, Level::All] {
                figures.checked += desk.read_all(node, level)?.len() as u64;
            }
        }
        figures.acknowledged = desk.book.acknowledged();
        drop((cluster, network));
        Ok(figures)
    }

    /// Waits until something is so, as long as no reader is shown what is wrong. Returns how long it
    /// took.
    fn within(
        &self,
        max: Duration,
        what: &str,
        mut is_so: impl FnMut(&Self) -> Result<bool, Stop>,
    ) -> Result<Duration, Stop> {
        let begun = Instant::now();
        loop {
            self.readers.check()?;
            let is_so = is_so(self)?;
            let looked = begun.elapsed();
            if is_so {
                eprintln!("{what}: after {looked:.1?}");
                return Ok(looked);
            }
            if max < looked {
                return Err(Stop::Failed(format!("not within {max:?}: {what}")));
            }
            sleep(Duration::from_millis(50))?;
        }
    }

    /// Those of some keys that are not so at one of these replicas, and who holds what of them.
    fn unlike<'n>(
        &self,
        names: impl IntoIterator<Item = &'n String>,
        replicas: &[u16],
        is_so: impl Fn(&str, Held) -> bool,
    ) -> Result<Vec<String>, Stop> {
        let Some(asked) = replicas.first() else { return Ok(Vec::new()) };
        let mut unlike = Vec::new();
        for name in names {
            let held = self.cluster.held(*asked, TABLE, name)?;
            let is_right = |node: &u16| held.get(node).is_some_and(|of_it| is_so(name, *of_it));
            if !replicas.iter().all(is_right) {
                unlike.push(format!("{name}: {held:?}"));
            }
        }
        Ok(unlike)
    }

    /// Waits until these replicas have forgotten that some keys were deleted.
    fn until_forgotten(&self, names: &[String], replicas: &[u16]) -> Result<Duration, Stop> {
        let what = format!("{} tombstones are forgotten by {replicas:?}", names.len());
        self.within(FORGOTTEN_MAX, &what, |arena| {
            Ok(arena.unlike(names, replicas, |_, held| held.is_nothing())?.is_empty())
        })
    }

    fn set(&self, node: u16, rule: Rule) {
        for other in self.cluster.ids().filter(|other| *other != node) {
            self.network.set_both(node.into(), other.into(), rule);
        }
    }

    /// How many packets from or to a node were stopped so far, in the direction with the fewest.
    fn stopped(&self, node: u16) -> u64 {
        let others = self.cluster.ids().filter(|other| *other != node);
        let lanes = others.flat_map(|other| [(node, other), (other, node)]);
        let counts = lanes.map(|(from, to)| self.network.counts(from.into(), to.into()).blocked);
        counts.min().unwrap_or_default()
    }

    /// What a node says that its disk is to the cluster.
    fn disk(&self, node: u16) -> Result<String, Stop> {
        let status = self.cluster.answer(node, "/v1/status")?;
        let body = status.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let status: serde_json::Value = serde_json::from_str(body).map_err(Stop::failed)?;
        let state = status.get("disk").and_then(|disk| disk.get("state")?.as_str());
        state.map(str::to_owned).ok_or_else(|| Stop::failed("no state of a disk"))
    }
}
