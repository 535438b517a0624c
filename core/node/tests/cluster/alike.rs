//! What replicas say to each other while nothing differs, and when it begins to.

use crate::harness::*;

/// Two replicas in sync, and the shard with their one key.
fn in_sync() -> (Cluster, ShardId) {
    let mut cluster = Cluster::with_table(2, 2);
    cluster.put(1, "k", "v", &none());
    cluster.wait(5_000);
    let shard = *cluster
        .nodes
        .get(&NodeId::new(1))
        .unwrap()
        .1
        .objects
        .keys()
        .map(|(at, ..)| at)
        .next()
        .unwrap();
    (cluster, shard)
}

impl Cluster {
    fn lines_at(&self, node: u16) -> usize {
        self.nodes.get(&NodeId::new(node)).unwrap().1.log.len()
    }

    fn staleness(&self, node: u16, shard: ShardId) -> Option<Duration> {
        self.nodes.get(&NodeId::new(node)).unwrap().0.staleness(shard, self.now)
    }

    /// A node begins a new life, with its clocks, which here are what its objects say.
    fn begin_anew(&mut self, node: u16) {
        let id = NodeId::new(node);
        self.stop(node);
        self.lives += 1;
        let (_, disk) = self.nodes.remove(&id).unwrap();
        let mut clocks: BTreeMap<ShardId, DotSet> = BTreeMap::new();
        for ((shard, ..), object) in &disk.objects {
            let _ = clocks.entry(*shard).or_default().union(object.context());
        }
        let config = config(id, self.lives, &self.layout);
        let begun = Node::new(config, clocks, disk.acceptor.clone(), self.now);
        self.nodes.insert(id, (begun, disk));
        self.come_back(node);
    }

    /// What the network has, and begins to keep from here on.
    fn take_held(&mut self) -> Vec<(NodeId, Input)> {
        std::mem::take(&mut self.held).into()
    }
}

fn is_clocks(message: &Message) -> bool {
    matches!(message, Message::Clocks(_))
}

fn is_alike(message: &Message) -> bool {
    matches!(message, Message::Alike(_))
}

#[test]
fn replicas_in_sync_say_only_that_they_are_and_know_it() {
    let (mut cluster, shard) = in_sync();
    cluster.holds = |_, _, message| is_clocks(message);
    cluster.wait(30_000);
    assert!(cluster.take_held().is_empty());
    for node in [1, 2] {
        assert!(cluster.staleness(node, shard).unwrap() < Duration::from_secs(3));
        assert_eq!(cluster.lines_at(node), 0);
    }
}

#[test]
fn a_write_is_told_with_the_next_round_and_then_they_are_alike_again() {
    let (mut cluster, _) = in_sync();
    // The write itself is lost.
    cluster.holds = |_, _, message| matches!(message, Message::Merge(_));
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    cluster.ask(1, put("other", "v", &none(), one));
    cluster.holds = |_, _, _| false;
    cluster.wait(1_300);
    let objects = |node| &cluster.nodes.get(&NodeId::new(node)).unwrap().1.objects;
    assert_eq!((objects(2).len(), objects(2)), (2, objects(1)), "it came within a round");
    cluster.wait(3_000);
    assert_eq!([1, 2].map(|node| cluster.lines_at(node)), [0, 0], "both know that both have it");
    cluster.holds = |_, _, message| is_clocks(message);
    cluster.take_held();
    cluster.wait(10_000);
    assert!(cluster.take_held().is_empty());
}

#[test]
fn a_word_about_what_was_before_is_taken_for_no_other() {
    let (mut cluster, shard) = in_sync();
    cluster.holds = |_, _, message| is_alike(message);
    cluster.wait(1_300);
    let alike = cluster.take_held();
    assert!(alike.iter().any(|(to, _)| *to == NodeId::new(1)));
    // What n2 does not have is written, and what it said before comes late, again and again.
    cluster.holds = |from, to, _| from == NodeId::new(2) || to == NodeId::new(2);
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    cluster.ask(1, put("other", "v", &none(), one));
    for _ in 0..50 {
        cluster.inputs.extend(alike.clone());
        cluster.wait(100);
    }
    assert_eq!(cluster.lines_at(1), 1, "n2 was taken to have it");
    assert!(cluster.staleness(1, shard).unwrap() >= Duration::from_secs(5));
}

#[test]
fn a_new_life_is_told_everything_and_the_word_of_an_old_one_fits_nowhere() {
    let (mut cluster, shard) = in_sync();
    cluster.holds = |_, _, message| is_alike(message);
    cluster.wait(1_300);
    let old: Vec<_> =
        cluster.take_held().into_iter().filter(|(to, _)| *to == NodeId::new(2)).collect();
    assert!(!old.is_empty());
    cluster.holds = |_, _, _| true;
    cluster.begin_anew(2);
    cluster.take_held();
    for _ in 0..20 {
        cluster.inputs.extend(old.clone());
        cluster.wait(100);
    }
    assert_eq!(cluster.staleness(2, shard), None, "it has heard nothing in this life");
    cluster.holds = |_, _, _| false;
    cluster.wait(4_000);
    for node in [1, 2] {
        assert!(cluster.staleness(node, shard).unwrap() < Duration::from_secs(3), "n{node}");
    }
}

#[test]
fn what_was_said_in_short_and_is_lost_is_said_in_full_to_who_does_not_say_it_back() {
    let (mut cluster, shard) = in_sync();
    // n2 hears nothing, and n1 hears that, as n2 has a write of its own.
    cluster.holds = |from, to, _| from == NodeId::new(1) && to == NodeId::new(2);
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    cluster.ask(2, put("other", "v", &none(), one));
    cluster.wait(5_000);
    assert_eq!(cluster.lines_at(2), 1);
    cluster.holds = |_, _, _| false;
    cluster.wait(3_000);
    assert_eq!([1, 2].map(|node| cluster.lines_at(node)), [0, 0]);
    assert!(cluster.staleness(2, shard).unwrap() < Duration::from_secs(3));
}

/// A program of before ignores what it does not know, and would hear nothing at all.
#[test]
fn who_does_not_understand_it_is_told_everything() {
    let (mut cluster, shard) = in_sync();
    // Each begins anew, the second as a program of before.
    cluster.holds = |from, to, message| from != to && (is_clocks(message) || is_alike(message));
    cluster.begin_anew(2);
    for _ in 0..100 {
        cluster.wait(100);
        for (to, mut input) in cluster.take_held() {
            if let Input::Received { from, message: Message::Clocks(clocks) } = &mut input {
                clocks.hears_alike &= *from != NodeId::new(2) && to != NodeId::new(2);
            }
            let Input::Received { message, .. } = &input else { panic!("{input:?}") };
            assert!(is_clocks(message), "{message:?}");
            cluster.inputs.push_back((to, input));
        }
        cluster.settle();
    }
    for node in [1, 2] {
        assert!(cluster.staleness(node, shard).unwrap() < Duration::from_secs(3), "n{node}");
    }
}

/// As one would be that comes from another life, or a day late: only the last bits of its stamps fit.
#[test]
fn stamps_of_which_the_last_bits_fit_by_chance_are_those_of_nobody() {
    let (mut cluster, shard) = in_sync();
    cluster.holds = |from, _, message| from == NodeId::new(2) && is_alike(message);
    cluster.wait(1_300);
    let (to, input) = cluster.take_held().pop().unwrap();
    let Input::Received { from, message: Message::Alike(alike) } = input else { panic!() };
    cluster.holds = |from, _, _| from == NodeId::new(2);
    cluster.wait(20_000);
    for later in 1..60 {
        for stamp in [0, later] {
            let (stamp, echo) = (alike.stamp.wrapping_add(stamp), alike.echo.wrapping_add(later));
            let message = Message::Alike(node::Alike { stamp, echo, ..alike });
            cluster.inputs.push_back((to, Input::Received { from, message }));
        }
    }
    cluster.settle();
    assert!(cluster.staleness(1, shard).unwrap() >= Duration::from_secs(20));
    // As it was said it is true.
    let before = cluster.staleness(1, shard);
    cluster.inputs.push_back((to, Input::Received { from, message: Message::Alike(alike) }));
    cluster.settle();
    assert!(cluster.staleness(1, shard) < before);
}
