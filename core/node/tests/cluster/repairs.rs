//! Repairs that an operator asks for: what they bring, what they leave alone, and what they say.
//!
//! A node that reads for a repair finds that its disk has lost something, and compares by itself, too.
//! Where that would hide what the repair does, the questions of all but the first node are held.

use model::{
    Extent, Obstacle, PairState, Repair, RepairJob, RepairMode, RepairPair, RepairState,
    RepairStatus, StartRepair, Stretch,
};
use node::Cause;

use super::harness::*;

/// Nothing is found by itself in these tests: no leaf is scrubbed.
fn filled(keys: u32) -> Cluster {
    let scrub_interval = Duration::from_secs(30 * 86_400);
    let mut cluster = Cluster::with_limits(3, Limits { scrub_interval, ..Limits::default() });
    for number in 0..keys {
        cluster.put(1, &format!("k{number:03}"), "v", &none());
    }
    cluster.wait(3_000);
    cluster
}

fn of_all(mode: RepairMode) -> StartRepair {
    StartRepair {
        id: None,
        mode,
        of: None,
        with: BTreeSet::new(),
        patience: Duration::from_secs(600),
    }
}

/// Keys of the table from one to another.
fn of_keys(from: &str, to: &str) -> StartRepair {
    let (from, to) = (Some(key(from, "")), Some(key(to, "")));
    let table = Some(Stretch { table: name("t"), from, to });
    let of = Some(Extent { keyspace: name("ks"), shards: BTreeSet::new(), table });
    StartRepair { of, ..of_all(RepairMode::Full) }
}

impl Cluster {
    fn repair(&mut self, at: u16, repair: Repair) -> RepairStatus {
        match self.ask(at, Request::Repair(repair)) {
            Reply::Repair(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    fn start_repair(&mut self, at: u16, asked: StartRepair) -> RepairJob {
        self.repair(at, Repair::Start(Box::new(asked))).job.unwrap()
    }

    fn job(&mut self, at: u16) -> RepairJob {
        self.repair(at, Repair::Show).job.unwrap()
    }

    /// Does a repair to its end.
    fn repaired(&mut self, at: u16, asked: StartRepair) -> RepairJob {
        self.start_repair(at, asked);
        for _ in 0..600 {
            self.wait(100);
            let job = self.job(at);
            if job.state != RepairState::Running {
                return job;
            }
        }
        panic!("it finds no end: {:?}", self.job(at));
    }

    /// A disk loses what it has under these keys, without a word.
    fn lose(&mut self, node: u16, lost: impl Fn(&str) -> bool) -> usize {
        let objects = &mut self.disk_of(node).objects;
        let before = objects.len();
        objects.retain(|(_, _, key), _| !lost(str::from_utf8(key.partition()).unwrap()));
        before - objects.len()
    }

    fn disk_of(&mut self, node: u16) -> &mut Memory {
        &mut self.nodes.get_mut(&NodeId::new(node)).unwrap().1
    }

    fn held_at(&mut self, node: u16) -> usize {
        self.disk_of(node).objects.len()
    }
}

fn states(job: &RepairJob) -> Vec<PairState> {
    job.pairs.iter().map(|pair| pair.state).collect()
}

fn sum(job: &RepairJob, figure: fn(&RepairPair) -> u64) -> u64 {
    job.pairs.iter().map(figure).sum()
}

/// Nobody hears what the others hold, and only the first node is answered, so that nothing is compared
/// by itself.
fn by_repairs(from: NodeId, _: NodeId, message: &Message) -> bool {
    let is_own = matches!(message, Message::Compare(_)) && from != NodeId::new(1);
    is_own || matches!(message, Message::Clocks(_) | Message::Alike(_))
}

#[test]
fn a_full_repair_finds_what_no_tree_knows_of_and_proves_that_all_are_equal() {
    let mut cluster = filled(200);
    cluster.holds = by_repairs;
    assert_eq!(cluster.lose(1, |key| key.ends_with('1')), 20);
    assert_eq!(cluster.lose(2, |key| key.ends_with('2')), 20);
    assert_eq!(cluster.lose(3, |key| key.ends_with('3')), 20);
    let job = cluster.repaired(1, of_all(RepairMode::Full));
    assert_eq!(states(&job), [PairState::Proved; 2]);
    assert_eq!((1..=3).map(|node| cluster.held_at(node)).collect::<Vec<_>>(), [200; 3]);
    assert_eq!(sum(&job, |pair| pair.figures.brought), 20, "what n1 lacks comes once");
    assert!(sum(&job, |pair| pair.figures.sent) >= 40, "{job:?}");
    assert_eq!(sum(&job, |pair| pair.figures.passes), 4, "each twice: what was found, and nothing");
    assert_eq!(job.pairs[0].keys.len(), 10);
    assert!(job.pairs[0].figures.bytes > 0 && job.pairs[0].figures.read >= 360, "{job:?}");
    let proofs = cluster.repair(1, Repair::Show).proofs;
    assert!(proofs.iter().all(|proof| proof.ago.unwrap() < Duration::from_secs(60)));
}

#[test]
fn a_repair_of_some_keys_touches_no_others() {
    let mut cluster = filled(200);
    cluster.holds = by_repairs;
    assert_eq!(cluster.lose(2, |key| key >= "k100"), 100);
    let job = cluster.repaired(1, of_keys("k120", "k150"));
    assert_eq!(states(&job), [PairState::Proved; 2]);
    assert_eq!(sum(&job, |pair| pair.figures.sent), 30);
    assert_eq!(job.pairs[0].figures.keys, 30);
    let is_there = |cluster: &mut Cluster, text: &str| {
        cluster.disk_of(2).objects.keys().any(|(_, _, held)| *held == key(text, ""))
    };
    for (text, expected) in [("k119", false), ("k120", true), ("k149", true), ("k150", false)] {
        assert_eq!(is_there(&mut cluster, text), expected, "{text}");
    }
    assert_eq!(cluster.held_at(2), 130);
}

#[test]
fn a_preview_says_what_differs_and_changes_nothing() {
    let mut cluster = filled(200);
    cluster.lose(1, |key| key == "k007");
    cluster.lose(2, |key| key.starts_with("k10"));
    cluster.holds = |from, to, message| {
        by_repairs(from, to, message) || matches!(message, Message::Bring(_) | Message::Merge(_))
    };
    let job = cluster.repaired(1, of_all(RepairMode::Preview));
    assert_eq!(states(&job), [PairState::Compared; 2]);
    let differences: Vec<u64> = job.pairs.iter().map(|pair| pair.figures.differences).collect();
    assert_eq!(differences, [11, 1], "n2 lacks ten, and n1 one");
    assert_eq!(job.pairs[1].keys, [(name("t"), key("k007", ""))]);
    let is_sent = |(_, input): &(NodeId, Input)| {
        let Input::Received { message, .. } = input else { return false };
        matches!(message, Message::Bring(_) | Message::Merge(_))
    };
    assert!(!cluster.held.iter().any(is_sent), "something was sent");
    assert_eq!((cluster.held_at(1), cluster.held_at(2)), (199, 190));
}

#[test]
fn a_repair_that_is_cancelled_goes_no_further() {
    let mut cluster = filled(200);
    cluster.holds = by_repairs;
    cluster.lose(2, |_| true);
    let limits = Limits { exchange_bytes_max: 16 << 10, ..Limits::default() };
    cluster.limit(1, limits);
    let id = cluster.start_repair(1, of_all(RepairMode::Full)).id;
    while cluster.held_at(2) == 0 {
        cluster.wait(100);
    }
    cluster.repair(1, Repair::Cancel(Some(id.wrapping_add(1))));
    assert_eq!(cluster.job(1).state, RepairState::Running, "that was another one");
    cluster.repair(1, Repair::Cancel(Some(id)));
    let held = cluster.held_at(2);
    assert!(held < 200, "{held}");
    cluster.wait(10_000);
    assert_eq!(cluster.held_at(2), held);
    let job = cluster.job(1);
    assert_eq!(job.state, RepairState::Cancelled);
    assert_eq!(states(&job), [PairState::Failed(Obstacle::Cancelled); 2]);
    assert_eq!(cluster.start_repair(1, of_all(RepairMode::Full)).state, RepairState::Running);
}

#[test]
fn a_pair_whose_other_replica_is_away_is_done_when_it_is_back() {
    let mut cluster = filled(50);
    cluster.holds = by_repairs;
    cluster.stop(2);
    cluster.start_repair(1, of_all(RepairMode::Full));
    cluster.wait(5_000);
    let blocked = PairState::Blocked(Obstacle::Away);
    assert_eq!(states(&cluster.job(1)), [blocked, PairState::Proved], "the other goes on");
    cluster.start(2);
    cluster.wait(10_000);
    let job = cluster.job(1);
    assert_eq!((job.state, states(&job)), (RepairState::Ended, vec![PairState::Proved; 2]));
}

#[test]
fn a_pair_whose_other_replica_stays_away_is_given_up_and_not_proved() {
    let mut cluster = filled(50);
    cluster.stop(3);
    let patience = Duration::from_secs(20);
    let job = cluster.repaired(1, StartRepair { patience, ..of_all(RepairMode::Full) });
    assert_eq!(states(&job), [PairState::Proved, PairState::Failed(Obstacle::Away)]);
    assert!(job.took >= patience);
}

#[test]
fn there_is_one_repair_at_a_time() {
    let mut cluster = filled(5);
    let id = cluster.start_repair(1, of_all(RepairMode::Full)).id;
    let again = Request::Repair(Repair::Start(Box::new(of_all(RepairMode::Preview))));
    match cluster.ask(1, again) {
        Reply::Failed(Failure::Refused(Refusal::RepairRuns { id: named })) => assert_eq!(named, id),
        other => panic!("{other:?}"),
    }
    let other = cluster.start_repair(2, of_all(RepairMode::Full));
    assert_eq!(other.state, RepairState::Running, "another node may");
    cluster.wait(5_000);
    assert_ne!(cluster.start_repair(1, of_all(RepairMode::Full)).id, id, "it is over");
}

#[test]
fn what_there_is_not_is_not_repaired() {
    let mut cluster = filled(1);
    let extent = |keyspace: &str, shard: u16, table: &str| {
        let table = Some(Stretch { table: name(table), from: None, to: None });
        let of = Some(Extent { keyspace: name(keyspace), shards: [shard].into(), table });
        Request::Repair(Repair::Start(Box::new(StartRepair { of, ..of_all(RepairMode::Full) })))
    };
    for (request, says) in [
        (extent("ks", 1, "t"), "numbered from 0 to 0"),
        (extent("k", 0, "t"), "no keyspace k"),
        (extent("ks", 0, "u"), "no table u"),
    ] {
        match cluster.ask(1, request) {
            Reply::Failed(failure) => assert!(failure.to_string().contains(says), "{failure}"),
            other => panic!("{other:?}"),
        }
    }
    let job = cluster
        .repaired(1, StartRepair { with: [NodeId::new(3)].into(), ..of_all(RepairMode::Full) });
    assert_eq!(job.pairs.iter().map(|pair| pair.with.number()).collect::<Vec<_>>(), [3]);
}

#[test]
fn an_incremental_repair_passes_over_what_was_proven_lately() {
    let mut cluster = filled(50);
    let age = Duration::from_secs(10);
    let job = cluster.repaired(1, of_all(RepairMode::Incremental { age }));
    assert_eq!(states(&job), [PairState::Passed; 2], "they have told each other");
    cluster.holds = by_repairs;
    cluster.wait(15_000);
    let job = cluster.repaired(1, of_all(RepairMode::Incremental { age }));
    assert_eq!(states(&job), [PairState::Proved; 2]);
    assert_eq!(sum(&job, |pair| pair.figures.read), 0);
}

#[test]
fn what_was_proven_before_a_node_was_away_is_not_passed_over() {
    let mut cluster = filled(50);
    cluster.holds = by_repairs;
    cluster.stop(3);
    *cluster.disk_of(3) =
        Memory { acceptor: cluster.disk_of(3).acceptor.clone(), ..Memory::default() };
    cluster.start(3);
    let age = Duration::from_secs(60);
    let job = cluster.repaired(1, of_all(RepairMode::Incremental { age }));
    assert_eq!(states(&job), [PairState::Passed, PairState::Proved]);
    assert_eq!(cluster.held_at(3), 50);
}

#[test]
fn what_is_written_meanwhile_does_not_keep_a_repair_from_its_end() {
    let mut cluster = filled(50);
    cluster.lose(2, |key| key == "k010");
    // What is written does not reach n2, so that each comparison finds something.
    cluster.holds = |_, to, message| match message {
        Message::Clocks(_) | Message::Alike(_) => true,
        Message::Merge(merge) => to == NodeId::new(2) && merge.cause == Cause::Write,
        _ => false,
    };
    cluster.start_repair(1, of_all(RepairMode::Full));
    for number in 0..60 {
        cluster.put(1, &format!("new{number}"), "v", &none());
        cluster.wait(100);
    }
    let job = cluster.job(1);
    assert_eq!((job.state, states(&job)), (RepairState::Ended, vec![PairState::Proved; 2]));
    assert!(job.pairs[0].figures.differences >= 3, "{job:?}");
    assert!(cluster.disk_of(2).objects.keys().any(|(_, _, held)| *held == key("k010", "")));
}

#[test]
fn what_differs_each_time_is_never_called_proved() {
    let mut cluster = filled(50);
    cluster.lose(2, |key| key == "k010" || key == "k011");
    cluster.holds = |_, to, message| match message {
        Message::Clocks(_) | Message::Alike(_) => true,
        Message::Merge(merge) => to == NodeId::new(2) && merge.cause == Cause::Repair,
        _ => false,
    };
    let job = cluster.repaired(1, of_all(RepairMode::Full));
    let differing = PairState::Failed(Obstacle::Differing { keys: 2 });
    assert_eq!(states(&job), [differing, PairState::Proved]);
}

#[test]
fn messages_that_are_lost_are_sent_again() {
    let mut cluster = filled(200);
    cluster.lose(2, |key| key == "k010");
    cluster.holds = |_, _, message| {
        matches!(
            message,
            Message::Clocks(_) | Message::Alike(_) | Message::Examined(_) | Message::Compared(_)
        )
    };
    cluster.start_repair(1, of_all(RepairMode::Full));
    cluster.wait(10_000);
    let silent = PairState::Blocked(Obstacle::Silent);
    assert!(states(&cluster.job(1)).contains(&silent));
    // What was asked long ago is answered at last, and concerns nobody.
    let held = std::mem::take(&mut cluster.held);
    cluster.inputs.extend(held);
    cluster.holds = by_repairs;
    cluster.settle();
    cluster.wait(20_000);
    assert_eq!(states(&cluster.job(1)), [PairState::Proved; 2]);
    assert_eq!(cluster.held_at(2), 200);
}
