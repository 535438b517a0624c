//! Networks that are cut, deaf in one direction, slow or lossy, or end connections.
//!
//! Five nodes, each in a network namespace of its own, and between them a switch of ours
//! ([`switch`]) that does to their packets what it is told. Clients reach every node at all
//! times: that is how one sees what a node answers that cannot reach the others.
//!
//! ```text
//!  load, witnesses ── perfect cables ──▶ n1  n2  n3  n4  n5
//!                                         └───┴─ rules ┴───┘
//! ```
//!
//! What is demanded, besides that nothing is lost:
//!
//! - *while it is broken*, a node that can talk with a quorum, itself included, answers every
//!   request with success. One that cannot answers every request with the failure that is
//!   its name, within the deadline, and at once when it has noticed;
//! - each node's opinion of who is alive becomes what the network is;
//! - *after it is healed*, all of that is forgotten within [`RECOVERY_MAX`], each node is connected
//!   to each other, and every request to every node succeeds;
//! - *it was broken at all*: the switch has dropped packets in every direction that was cut.
//!
//! Talking takes both directions. A node that is heard and does not hear is as good as away,
//! at both ends.
//!
//! [`mod@sloppy`] has a cluster and demands of its own: where guests stand in for replicas, fewer
//! nodes are enough.

mod evict;
mod lossy;
mod oneway;
mod reset;
mod sloppy;
mod split;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use client::{KeyspaceContract, Replicas, TableContract};
use rand::RngExt;
use switch::{Network, Rule};

use super::{Bench, Sabotage, Scene};
use crate::cluster::{Cluster, Place};

use crate::outcome::{Figures, Stop};
use crate::process::sleep;
use crate::witness::{Demand, Must, TABLE, Testimony, Witnesses};
use crate::worker::Workers;

pub(super) use evict::run as evict;
pub(super) use lossy::run as lossy;
pub(super) use oneway::run as oneway;
pub(super) use reset::run as reset;
pub(super) use sloppy::run as sloppy;
pub(super) use split::run as split;

/// So many that two can be cut off, and that each of a bridge's ends has a quorum.
const NODES: u16 = 5;

/// A majority of them. All of them are replicas of what the witnesses write.
const QUORUM: usize = 3;

/// Replicas of what the load writes. Fewer than nodes, so that requests are passed on too.
const LOAD_REPLICAS: u8 = 3;

/// How long a request of a witness may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// After so long a node has noticed whom it does not hear: two seconds of silence, and what
/// was on its way.
const NOTICED: Duration = Duration::from_millis(3_500);

/// A cut that lasts less tells little of a node that is cut off: its requests hang for as long.
const CUT_TOLD: Duration = Duration::from_secs(4);

/// Requests that begin so soon after a cut may owe their success to what was on its way.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// How long after a network is healed all nodes may still not see each other: as long as a
/// client waits by default.
const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// A cut of less than two seconds is not noticed by the nodes, but by TCP: it may need as long
/// again before it repeats what was lost.
const UNNOTICED: Duration = Duration::from_secs(2);

/// How long is looked at the healed network.
const HEALTHY: Duration = Duration::from_millis(1_000);

/// How long after that everything stays as it is, or the next cut would catch requests that
/// began at the end of that time.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Directions in which nothing gets through.
type Lanes = BTreeSet<(u16, u16)>;

/// A cluster in namespaces, under load, with its witnesses.
struct Arena {
    witnesses: Witnesses,
    workers: Workers,
    /// Before the network, which its processes are in.
    bench: Bench,
    network: Network,
    sabotage: Option<Sabotage>,
    figures: Figures,
    demands: Vec<Demand>,
    /// The longest that the nodes took to find each other again.
    recovery: Duration,
}

impl Arena {
    fn start(scene: &Scene<'_>, deadline: Duration) -> Result<Self, Stop> {
        let mut rng = scene.rng();
        let network = Network::create(usize::from(NODES), rng.random())?;
        let places: Vec<Place> = network.ports().map(|port| place(&network, port)).collect();
        let cluster = Cluster::prepare_at(&scene.plan.binary, scene.dir, &places)?;
        let mut bench = Bench::over(scene, cluster, LOAD_REPLICAS)?;
        bench.load.declare_more(TABLE, &contract())?;
        let address = |id: u16| Ok((id, bench.cluster.address(id)?));
        let nodes: BTreeMap<_, _> =
            bench.cluster.ids().map(address).collect::<Result<_, Stop>>()?;
        let workers = bench.load.start(rng.random());
        let witnesses = Witnesses::start(&nodes, deadline, rng.random());
        let (figures, demands, recovery) = (Figures::default(), Vec::new(), Duration::ZERO);
        let sabotage = bench.sabotage.take();
        Ok(Self { witnesses, workers, bench, network, sabotage, figures, demands, recovery })
    }

    /// Cuts, looks, heals, looks.
    fn round(&mut self, name: &str, lanes: &Lanes, lasts: Duration) -> Result<(), Stop> {
        let name = &format!("{name} of {lasts:.1?}");
        let before = self.blocked(lanes);
        let from = self.set(lanes, Rule::blocked());
        sleep(lasts.min(NOTICED))?;
        let noticed = Instant::now();
        for id in self.bench.cluster.ids().filter(|_| NOTICED <= lasts) {
            self.demand_opinion(name, id, lanes)?;
        }
        sleep(lasts.saturating_sub(from.elapsed()))?;
        let to = Instant::now();
        let (while_cut, later) = (format!("{name}, cut"), format!("{name}, cut and noticed"));
        for id in self.bench.cluster.ids() {
            if QUORUM <= reachable(id, lanes).len() {
                self.demand(&while_cut, id, (from, to), Must::Succeed);
            } else if CUT_TOLD <= lasts {
                self.demand(&while_cut, id, (from + ON_ITS_WAY, to), Must::Fail);
                self.demand(&later, id, (noticed, to), Must::Decline);
            }
        }
        self.heal(name, if lasts < NOTICED { UNNOTICED } else { Duration::ZERO })?;
        self.figures.rounds += 1;
        self.figures.faults += lanes.iter().map(|_| 1).sum::<u64>();
        let same = |(lane, count): &((u16, u16), u64)| before.get(lane) == Some(count);
        match self.blocked(lanes).into_iter().find(same) {
            None => Ok(()),
            Some((lane, _)) => {
                Err(Stop::Failed(format!("{name}: nothing was stopped in {lane:?}")))
            }
        }
    }

    /// Perfect cables again; all nodes have to find each other and, after a while at least,
    /// serve everybody.
    fn heal(&mut self, name: &str, after: Duration) -> Result<(), Stop> {
        if self.sabotage != Some(Sabotage::Heal) {
            self.network.heal();
        }
        let healed = Instant::now();
        for id in self.bench.cluster.ids() {
            loop {
                let alive = self.bench.cluster.alive(id)?;
                let peers = self.bench.cluster.connected(id);
                if alive == reachable(id, &Lanes::new()) && peers.len() + 1 == alive.len() {
                    break;
                }
                if RECOVERY_MAX < healed.elapsed() {
                    let why = format!(
                        "{name}, healed: after {RECOVERY_MAX:?} n{id} believes only {alive:?} to be alive, and is connected to {peers:?}"
                    );
                    return Err(Stop::Failed(why));
                }
                sleep(Duration::from_millis(20))?;
            }
        }
        self.recovery = self.recovery.max(healed.elapsed());
        eprintln!("{name}: all nodes see each other {:.1?} after it was healed", healed.elapsed());
        sleep(after.saturating_sub(healed.elapsed()))?;
        let found = Instant::now();
        sleep(HEALTHY)?;
        let now = Instant::now();
        for id in self.bench.cluster.ids() {
            self.demand(&format!("{name}, healed"), id, (found, now), Must::Succeed);
        }
        sleep(LAST_ANSWERS)
    }

    /// Writes down what must be true of the requests to a node within a time.
    fn demand(&mut self, when: &str, node: u16, (from, to): (Instant, Instant), must: Must) {
        self.demands.push(Demand { when: when.to_owned(), node, from, to, must });
    }

    /// Runs what is to be done to the network, and then compares: everything that was kept is
    /// there, and nothing else is. The files are kept if something is wrong.
    fn attempt(
        mut self,
        rounds: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(Testimony, Figures), Stop> {
        let done = rounds(&mut self);
        let Self { witnesses, workers, mut bench, network, mut figures, .. } = self;
        let judged = done
            .and_then(|()| workers.finish())
            .and_then(|()| witnesses.finish())
            .and_then(|seen| seen.check_all(&self.demands).map(|()| seen));
        let mut seen = judged?;
        if self.sabotage == Some(Sabotage::Write) {
            seen.kept.push("never-written".to_owned());
        }
        bench.check(&mut figures)?;
        bench.load.check_elements(TABLE, &seen.kept)?;
        figures.acknowledged += seen.kept.iter().map(|_| 1).sum::<u64>();
        let all = pairs().map(|(from, to)| network.counts(from.into(), to.into()));
        let all = all.fold(switch::Counts::default(), |sum, counts| sum.plus(&counts));
        eprintln!("recovered within {:.1?}; packets: {all:?}", self.recovery);
        drop(bench);
        Ok((seen, figures))
    }

    fn set(&self, lanes: &Lanes, rule: Rule) -> Instant {
        lanes.iter().for_each(|lane| self.set_one(*lane, rule));
        Instant::now()
    }

    fn set_one(&self, (from, to): (u16, u16), rule: Rule) {
        if self.sabotage != Some(Sabotage::Fault) {
            self.network.set(from.into(), to.into(), rule);
        }
    }

    fn blocked(&self, lanes: &Lanes) -> BTreeMap<(u16, u16), u64> {
        let count = |(from, to): (u16, u16)| self.network.counts(from.into(), to.into()).blocked;
        lanes.iter().map(|lane| (*lane, count(*lane))).collect()
    }

    fn demand_opinion(&self, name: &str, id: u16, lanes: &Lanes) -> Result<(), Stop> {
        let (alive, right) = (self.bench.cluster.alive(id)?, reachable(id, lanes));
        if alive == right {
            return Ok(());
        }
        Err(Stop::Failed(format!("{name}: n{id} believes {alive:?} to be alive, not {right:?}")))
    }
}

fn place(network: &Network, port: usize) -> Place {
    let entry = ["ip", "netns", "exec", network.namespace(port)];
    Place { host: network.address(port), entry: entry.map(str::to_owned).to_vec() }
}

/// Every node has everything, so that each knows by itself what must succeed.
fn contract() -> (KeyspaceContract, TableContract) {
    let replicas = u8::try_from(NODES).ok().map(Replicas::Here);
    (KeyspaceContract { shards: Some(8), replicas, sloppy: false }, TableContract::new("siblings"))
}

/// All directions between two nodes.
fn pairs() -> impl Iterator<Item = (u16, u16)> {
    let all = (1..=NODES).flat_map(|from| (1..=NODES).map(move |to| (from, to)));
    all.filter(|(from, to)| from != to)
}

/// Both directions between each of the one and each of the others.
fn between(one: &[u16], others: &[u16]) -> Lanes {
    let pairs = one.iter().flat_map(|one| others.iter().map(move |other| (*one, *other)));
    pairs.flat_map(|(one, other)| [(one, other), (other, one)]).collect()
}

/// The nodes that one can talk with: both directions are open. Itself is one.
fn reachable(id: u16, lanes: &Lanes) -> BTreeSet<u16> {
    let is_open = |other: &u16| !lanes.contains(&(id, *other)) && !lanes.contains(&(*other, id));
    (1..=NODES).filter(is_open).collect()
}

impl From<switch::Error> for Stop {
    fn from(error: switch::Error) -> Self {
        match error {
            switch::Error::Unavailable(why) => Self::Skipped(why),
            switch::Error::Failed(_) | switch::Error::Io(_) => Self::failed(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn talking_takes_both_directions() {
        assert_eq!(reachable(1, &Lanes::new()), [1, 2, 3, 4, 5].into());
        let one_way = Lanes::from([(1, 2)]);
        assert_eq!(reachable(1, &one_way), [1, 3, 4, 5].into());
        assert_eq!(reachable(2, &one_way), [2, 3, 4, 5].into());
        assert_eq!(reachable(3, &one_way), [1, 2, 3, 4, 5].into());
    }

    #[test]
    fn a_split_leaves_a_quorum_on_one_side_and_a_bridge_at_all() {
        let split = between(&[1, 2], &[3, 4, 5]);
        let sizes = |lanes: &Lanes| (1..=NODES).map(|id| reachable(id, lanes).len()).collect();
        let (of_split, of_bridge): (Vec<usize>, Vec<usize>) =
            (sizes(&split), sizes(&between(&[1, 2], &[4, 5])));
        assert_eq!(of_split, [2, 2, 3, 3, 3]);
        assert_eq!(of_bridge, [3, 3, 5, 3, 3]);
    }
}
