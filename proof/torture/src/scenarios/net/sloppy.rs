//! A sloppy keyspace: writes go on wherever a client finds a node and that node finds enough
//! others, whoever they are.
//!
//! Seven nodes, five replicas of each key, three of which a write asks for. In each round
//!
//! ```text
//! cut      three nodes | four nodes     both sides go on, and nobody is refused from the first moment
//! heal     what guests kept is handed over, all replicas hold all, hints end at 0
//! kill     three of seven with kill -9  the four that are left go on
//! guest    one of those that keep hints, with kill -9; it comes back and still has them
//! return   two of the three come back and get theirs; those of the third stay
//! return   the third comes back, too
//! ```
//!
//! What is demanded: every write to a node that can talk with two others is acknowledged, each
//! label is right, answers are strict where nothing is wrong, and after a return every replica
//! *by itself* holds everything within [`EQUAL_MAX`], and guests nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::{KeyspaceContract, Replicas, TableContract};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use switch::{Network, Rule};

use super::{LAST_ANSWERS, Scene, place};
use crate::cluster::{Cluster, Place};
use crate::http::ask;
use crate::outcome::{Figures, Stop};
use crate::process::{eventually, run as run_program, sleep};
use crate::replicas::wait_until_all_hold;
use crate::scenarios::{Bench, Sabotage};
use crate::told::STATUS_PATIENCE;
use crate::writers::{Demand, TABLE, Writers, kept};

const NODES: u16 = 7;

const REPLICAS: u8 = 5;

/// What writes ask for, and a quorum of the replicas.
const QUORUM: usize = 3;

/// How long a cut lasts: it is noticed after two seconds, and guests are called before and after.
const CUT: Duration = Duration::from_millis(5_000);

/// How long the dead are missed.
const MISSED: Duration = Duration::from_millis(2_500);

/// How long is looked at a cluster without faults.
const HEALTHY: Duration = Duration::from_millis(1_500);

/// How long after a return guests may still keep something, and a replica lack something. A second
/// until hints are offered, one until clocks are compared, and the rest for a machine
/// that has other things to do.
const EQUAL_MAX: Duration = Duration::from_secs(10);

/// How long is waited for hints that nobody can take, in the words of the command.
const IN_VAIN: &str = "1s";

pub(in crate::scenarios) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let rounds = scene.rounds(1, 40);
    let mut arena = Arena::start(scene, &mut rng)?;
    let mut figures = Figures::default();
    arena.look_healthy("before")?;
    for _ in 0..rounds {
        let mut nodes: Vec<u16> = (1..=NODES).collect();
        nodes.shuffle(&mut rng);
        let (few, many) = nodes.split_at(QUORUM);
        arena.cut(few, many)?;
        arena.kill(few, many)?;
        figures.rounds += 1;
    }
    arena.finish(&mut figures)?;
    Ok(figures)
}

struct Arena<'a> {
    scene: &'a Scene<'a>,
    writers: Writers,
    /// Before the network, which its processes are in.
    bench: Bench,
    network: Network,
    nodes: BTreeMap<u16, SocketAddr>,
    demands: Vec<Demand>,
    faults: u64,
}

impl<'a> Arena<'a> {
    fn start(scene: &'a Scene<'a>, rng: &mut SmallRng) -> Result<Self, Stop> {
        let network = Network::create(usize::from(NODES), rng.random())?;
        let places: Vec<Place> = network.ports().map(|port| place(&network, port)).collect();
        let cluster = Cluster::prepare_at(&scene.plan.binary, scene.dir, &places)?;
        let bench = Bench::over(scene, cluster, REPLICAS)?;
        let replicas = Some(Replicas::Here(REPLICAS));
        let keyspace = KeyspaceContract { shards: Some(8), replicas, sloppy: true };
        bench.load.declare_more(TABLE, &(keyspace, TableContract::new("siblings")))?;
        let address = |id: u16| Ok((id, bench.cluster.address(id)?));
        let nodes: BTreeMap<_, _> =
            bench.cluster.ids().map(address).collect::<Result<_, Stop>>()?;
        let writers = Writers::start(&nodes, rng.random());
        let (demands, faults) = (Vec::new(), 0);
        Ok(Self { scene, writers, bench, network, nodes, demands, faults })
    }

    /// Two sides that do not hear each other, each with enough nodes.
    fn cut(&mut self, few: &[u16], many: &[u16]) -> Result<(), Stop> {
        let (from, before, stopped) = (Instant::now(), self.writers.sloppy(), self.stopped());
        if self.scene.is_real() {
            self.between(few, many, Rule::blocked());
        }
        sleep(CUT)?;
        let to = Instant::now();
        self.demand("cut", self.bench.cluster.ids(), (from, to), false);
        if self.stopped() == stopped || self.writers.sloppy() == before {
            return Err(Stop::failed("cut: nothing was stopped, or nobody had a guest"));
        }
        self.faults += (few.len() * many.len()) as u64;
        if self.bench.sabotage != Some(Sabotage::Heal) {
            self.network.heal();
        }
        self.make_whole("cut")
    }

    /// Kills a few, then a guest that keeps hints for them, and brings all of them back, one
    /// later than the others.
    fn kill(&mut self, few: &[u16], many: &[u16]) -> Result<(), Stop> {
        let from = Instant::now();
        self.faults += self.bench.cluster.kill(few)?;
        sleep(MISSED)?;
        let killed = Instant::now();
        self.demand("killed", many.iter().copied(), (from, killed), false);
        // One of them is killed next, and must have answered what began before.
        sleep(LAST_ANSWERS)?;
        let dead: BTreeSet<u16> = few.iter().copied().collect();
        let guest = self.kill_guest(many, &dead)?;
        let others = many.iter().copied().filter(|node| *node != guest);
        self.demand("guest killed", others, (killed, Instant::now()), false);
        let Some((last, back)) = few.split_last() else { return Ok(()) };
        let returned = Instant::now();
        back.iter().try_for_each(|node| self.bench.cluster.start(*node))?;
        eventually("those that are back have all that was kept for them", || {
            let kept = self.hints(many.iter().chain(back));
            back.iter().all(|node| !kept.contains_key(node))
        })?;
        let took = returned.elapsed();
        eprintln!("killed: hints of those that are back are handed over after {took:.1?}");
        self.hints_stay(*last, many)?;
        self.bench.cluster.start(*last)?;
        self.make_whole("killed")
    }

    /// Kills one that keeps hints for the dead, and starts it again. It has to keep what it
    /// kept. Returns which it was.
    fn kill_guest(&mut self, alive: &[u16], dead: &BTreeSet<u16>) -> Result<u16, Stop> {
        let keeps = |node: &&u16| !self.hints([*node]).is_empty();
        let guest = alive.iter().find(keeps).copied();
        let guest = guest.ok_or_else(|| Stop::failed("nobody keeps anything for the dead"))?;
        let before = self.hints([&guest]);
        self.faults += self.bench.cluster.kill(&[guest])?;
        self.bench.cluster.start(guest)?;
        let after = self.hints([&guest]);
        let lost = dead.iter().find(|node| after.get(node) < before.get(node));
        match lost {
            None => Ok(guest),
            Some(node) => Err(Stop::Failed(format!(
                "n{guest} kept {before:?} when it was killed, and {after:?} when it was back: \
                 hints for n{node} are lost"
            ))),
        }
    }

    /// What is kept for one that does not come back is kept, and who waits for it is told.
    fn hints_stay(&self, away: u16, alive: &[u16]) -> Result<(), Stop> {
        let waited = self.wait_for_hints(alive, IN_VAIN);
        let is_told =
            matches!(&waited, Err(Stop::Failed(why)) if why.contains(&format!("n{away}")));
        if is_told && self.hints(alive).contains_key(&away) {
            return Ok(());
        }
        let kept = self.hints(alive);
        Err(Stop::Failed(format!("hints for n{away}, which is away: {kept:?}, {waited:?}")))
    }

    /// Everything is there again: waits until all see each other, until guests keep nothing, and
    /// until each replica holds everything; and demands that it goes well from then on.
    fn make_whole(&mut self, name: &str) -> Result<(), Stop> {
        let returned = Instant::now();
        let names = self.writers.kept();
        self.bench.cluster.wait_for_all_alive()?;
        let seen = returned.elapsed();
        self.wait_for_hints(&self.bench.cluster.ids().collect::<Vec<_>>(), "30s")?;
        let handed_over = returned.elapsed();
        let table = (TABLE, usize::from(REPLICAS));
        wait_until_all_hold(&self.nodes, table, &names, EQUAL_MAX)?;
        let equal = returned.elapsed();
        eprintln!(
            "{name}: seen by all after {seen:.1?}, no hints after {handed_over:.1?}, {} writes \
             looked at in each replica after {equal:.1?}",
            names.len()
        );
        if seen + EQUAL_MAX < handed_over {
            let late = handed_over - seen;
            return Err(Stop::Failed(format!("{name}: hints were kept for another {late:.1?}")));
        }
        self.look_healthy(name)
    }

    fn look_healthy(&mut self, name: &str) -> Result<(), Stop> {
        let from = Instant::now();
        sleep(HEALTHY)?;
        let name = format!("{name}, nothing wrong");
        self.demand(&name, self.bench.cluster.ids(), (from, Instant::now()), true);
        // What begins later may meet the next fault.
        Ok(())
    }

    /// Judges what was seen, and looks at everything once more.
    fn finish(self, figures: &mut Figures) -> Result<(), Stop> {
        let Self { writers, mut bench, network, demands, faults, .. } = self;
        let writes = writers.finish()?;
        let mut wrong: Vec<String> =
            demands.iter().filter_map(|demand| demand.check(&writes).err()).collect();
        let receipts = writes.iter().filter_map(|write| Some((write, write.answer.as_ref().ok()?)));
        wrong.extend(receipts.filter_map(|(write, receipt)| {
            receipt.check(QUORUM).err().map(|why| format!("{}: {why}", write.name))
        }));
        wrong.iter().for_each(|why| eprintln!("{why}"));
        if let Some(why) = wrong.into_iter().next() {
            return Err(Stop::Failed(why));
        }
        let mut names = kept(&writes);
        if bench.sabotage == Some(Sabotage::Write) {
            names.push("never-written".to_owned());
        }
        bench.check(figures)?;
        bench.load.check_elements(TABLE, &names)?;
        figures.acknowledged += names.len() as u64;
        figures.checked += names.len() as u64;
        figures.faults += faults;
        let kinds =
            writes.iter().filter_map(|write| Some(write.answer.as_ref().ok()?.kind.clone()));
        let mut counts = BTreeMap::<String, u64>::new();
        kinds.for_each(|kind| *counts.entry(kind).or_default() += 1);
        let failed = writes.iter().filter(|write| write.answer.is_err()).count();
        eprintln!("labels: {counts:?}; {failed} writes met a node that was dead");
        drop((bench, network));
        Ok(())
    }

    fn demand(
        &mut self,
        when: &str,
        nodes: impl IntoIterator<Item = u16>,
        (from, to): (Instant, Instant),
        strict: bool,
    ) {
        let demand = |node| Demand { when: when.to_owned(), node, from, to, strict };
        self.demands.extend(nodes.into_iter().map(demand));
    }

    fn between(&self, few: &[u16], many: &[u16], rule: Rule) {
        for (one, other) in few.iter().flat_map(|one| many.iter().map(move |other| (*one, *other)))
        {
            self.network.set_both(one.into(), other.into(), rule);
        }
    }

    /// How many packets were stopped so far.
    fn stopped(&self) -> u64 {
        let all = (1..=usize::from(NODES))
            .flat_map(|one| (1..=usize::from(NODES)).map(move |other| (one, other)));
        all.map(|(one, other)| self.network.counts(one, other).blocked).sum()
    }

    /// How many objects these keep for whom, as they say.
    fn hints<'n>(&self, nodes: impl IntoIterator<Item = &'n u16>) -> BTreeMap<u16, u64> {
        let mut all = BTreeMap::new();
        for node in nodes {
            let hints = self.bench.cluster.address(*node).ok().and_then(hints_of);
            for (target, count) in hints.unwrap_or_default() {
                *all.entry(target).or_default() += count;
            }
        }
        all
    }

    /// As an operator does.
    fn wait_for_hints(&self, nodes: &[u16], within: &str) -> Result<(), Stop> {
        let binary = self.scene.plan.binary.display().to_string();
        let mut words =
            vec![binary, "hints".into(), "wait".into(), "--within".into(), within.into()];
        for node in nodes {
            words.extend([
                "--node".into(),
                format!("http://{}", self.bench.cluster.address(*node)?),
            ]);
        }
        run_program(&words.iter().map(String::as_str).collect::<Vec<_>>()).map(|_| ())
    }
}

fn hints_of(address: SocketAddr) -> Option<BTreeMap<u16, u64>> {
    let status = ask(address, "GET", "/v1/status", "", STATUS_PATIENCE).ok()?;
    let status: serde_json::Value = serde_json::from_str(&status.body).ok()?;
    let hints = status.get("hints")?.as_array()?.iter();
    let hint = |hint: &serde_json::Value| {
        Some((u16::try_from(hint.get("node")?.as_u64()?).ok()?, hint.get("count")?.as_u64()?))
    };
    hints.map(hint).collect()
}
