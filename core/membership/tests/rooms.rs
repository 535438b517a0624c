//! Nodes that talk over a made-up network with a clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use membership::{Membership, Peer, Reach};
use model::{NodeId, Now, Standing};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// How long a message takes from one continent to another.
const FAR: Duration = Duration::from_millis(150);

enum Said {
    Probe { hears: bool },
    Probed { hears: bool },
    Gossip(Vec<u8>),
}

#[derive(Default)]
struct Room {
    now: Now,
    nodes: BTreeMap<NodeId, Membership>,
    wire: BTreeMap<(Now, u64), (NodeId, NodeId, Said)>,
    sent: u64,
    /// Directions that carry nothing.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Nodes that are not stepped.
    asleep: BTreeSet<NodeId>,
}

fn node(number: u16) -> NodeId {
    NodeId::new(number)
}

fn born(number: u16, life: u64, of: u16, now: Now) -> Membership {
    let me = Peer::new(node(number), life, format!("host{number}:{life}"));
    Membership::new(me, (1..=of).map(node), ChaCha8Rng::seed_from_u64(number.into()), now)
}

impl Room {
    fn of(count: u16) -> Self {
        let now = Now::from_micros(1_000_000);
        let born = |number| (node(number), born(number, 1_000, count, now));
        let mut room = Self { now, nodes: (1..=count).map(born).collect(), ..Self::default() };
        for from in 1..=count {
            for to in (1..=count).filter(|to| *to != from) {
                room.connect(from, to);
            }
        }
        room.pass(20);
        room
    }

    fn connect(&mut self, from: u16, to: u16) {
        let now = self.now;
        self.nodes.get_mut(&node(from)).expect("is there").connected(node(to), now);
    }

    fn cut(&mut self, from: u16, to: u16) {
        self.cut.insert((node(from), node(to)));
    }

    fn start(&mut self, number: u16, life: u64, of: u16) {
        self.nodes.insert(node(number), born(number, life, of, self.now));
    }

    fn kill(&mut self, number: u16) {
        self.nodes.remove(&node(number));
    }

    fn say(&mut self, from: NodeId, to: NodeId, said: Said) {
        self.sent += 1;
        if !self.cut.contains(&(from, to)) {
            self.wire.insert((self.now + FAR, self.sent), (from, to, said));
        }
    }

    fn flush(&mut self, from: NodeId) {
        let Some(membership) = self.nodes.get_mut(&from) else { return };
        for packet in membership.packets() {
            self.say(from, packet.to, Said::Gossip(packet.bytes));
        }
    }

    fn receive(&mut self, from: NodeId, to: NodeId, said: Said) {
        let now = self.now;
        let Some(membership) = self.nodes.get_mut(&to) else { return };
        membership.step(now);
        membership.heard(from, now);
        match said {
            Said::Probe { hears } => {
                membership.told(from, hears, now);
                self.say(to, from, Said::Probed { hears: true });
                if !hears {
                    self.say(to, from, Said::Probe { hears: true });
                }
            }
            Said::Probed { hears } => membership.told(from, hears, now),
            Said::Gossip(bytes) => assert!(membership.gossip(&bytes, now), "it can be read"),
        }
        self.flush(to);
    }

    fn wake(&mut self, number: NodeId) {
        let now = self.now;
        let Some(membership) = self.nodes.get_mut(&number) else { return };
        if membership.wake_at().is_none_or(|at| now < at) {
            return;
        }
        membership.step(now);
        let due = membership.probe(now);
        let hears: Vec<bool> = due.iter().map(|peer| membership.hears(*peer, now)).collect();
        for (peer, hears) in due.into_iter().zip(hears) {
            self.say(number, peer, Said::Probe { hears });
        }
        self.flush(number);
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.now = self.now + Duration::from_millis(10);
            for number in self.nodes.keys().copied().collect::<Vec<_>>() {
                if !self.asleep.contains(&number) {
                    self.wake(number);
                }
            }
            let late = self.wire.split_off(&(self.now, u64::MAX));
            for ((_, at), (from, to, said)) in std::mem::replace(&mut self.wire, late) {
                if self.asleep.contains(&to) {
                    self.wire.insert((self.now + Duration::from_millis(1), at), (from, to, said));
                } else {
                    self.receive(from, to, said);
                }
            }
        }
    }

    fn at(&self, node: NodeId) -> &Membership {
        self.nodes.get(&node).expect("every node of the test is in the room")
    }

    fn reach(&self, from: u16, to: u16) -> Reach {
        self.at(node(from)).reach(node(to), self.now)
    }

    fn standing(&self, from: u16, of: u16) -> Standing {
        self.at(node(from)).standing(node(of))
    }

    fn all_say(&self, of: u16, standing: Standing) -> bool {
        let mut others = self.nodes.keys().filter(|other| **other != node(of));
        others.all(|other| self.at(*other).standing(node(of)) == standing)
    }
}

#[test]
fn everybody_hears_of_everybody_and_where_they_are() {
    let mut room = Room::of(12);
    for number in 1..=12 {
        assert!(room.all_say(number, Standing::Up), "n{number}");
    }
    let first = room.nodes.get_mut(&node(1)).expect("is there");
    let mut found: Vec<String> = first.located().iter().map(|at| at.address().to_owned()).collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 11, "{found:?}");
}

#[test]
fn one_that_is_known_to_a_single_node_becomes_known_to_all() {
    let mut room = Room::of(5);
    room.start(6, 1_000, 6);
    room.connect(6, 3);
    room.pass(10);
    assert!(room.all_say(6, Standing::Up));
    assert_eq!(room.standing(6, 1), Standing::Up);
}

#[test]
fn a_dead_node_is_suspected_and_then_down_for_all_and_up_again_in_its_next_life() {
    let mut room = Room::of(5);
    room.kill(2);
    room.pass(3);
    assert_eq!(room.reach(1, 2), Reach::Away);
    room.pass(20);
    assert!(room.all_say(2, Standing::Down));
    room.start(2, 2_000, 5);
    room.connect(2, 5);
    room.pass(6);
    assert!(room.all_say(2, Standing::Up));
}

/// Its wall clock was set back, so that its new life seems to be older than the one before.
#[test]
fn a_node_whose_clock_was_set_back_is_up_again() {
    let mut room = Room::of(5);
    room.kill(2);
    room.pass(20);
    room.start(2, 7, 5);
    room.connect(2, 5);
    room.pass(30);
    assert!(room.all_say(2, Standing::Up));
}

#[test]
fn a_link_that_carries_one_direction_is_away_at_both_ends_and_nobody_is_down() {
    let mut room = Room::of(4);
    room.cut(1, 2);
    room.pass(5);
    assert_eq!(room.reach(2, 1), Reach::Away, "hears nothing");
    assert_eq!(room.reach(1, 2), Reach::Away, "hears, and is told that it is not heard");
    assert_eq!(room.reach(3, 1), Reach::Steady);
    room.pass(30);
    assert_eq!(room.standing(1, 2), Standing::Up, "others hear it");
    assert_eq!(room.standing(2, 1), Standing::Up, "others hear it");
    room.cut.clear();
    room.pass(2);
    assert_ne!(room.reach(1, 2), Reach::Away);
    assert_ne!(room.reach(2, 1), Reach::Away);
}

#[test]
fn two_halves_find_each_other_again() {
    let mut room = Room::of(6);
    for one in 1..=3 {
        for other in 4..=6 {
            room.cut(one, other);
            room.cut(other, one);
        }
    }
    room.pass(60);
    assert_eq!(room.standing(1, 4), Standing::Down);
    assert_eq!(room.standing(1, 2), Standing::Up);
    room.cut.clear();
    room.pass(30);
    for number in 1..=6 {
        assert!(room.all_say(number, Standing::Up), "n{number}");
    }
}

/// A process that was stopped for a minute heard nobody, and accuses nobody.
#[test]
fn a_node_that_slept_accuses_nobody_of_silence() {
    let mut room = Room::of(5);
    room.asleep.insert(node(3));
    room.pass(60);
    assert!(room.all_say(3, Standing::Down));
    room.asleep.clear();
    room.pass(1);
    for other in [1, 2, 4, 5] {
        assert_eq!(room.reach(3, other), Reach::Steady, "n{other}");
    }
    room.pass(20);
    for number in 1..=5 {
        assert!(room.all_say(number, Standing::Up), "n{number}");
    }
}

/// Two minutes with a node that gets no processor for 3 of every 4 seconds.
#[test]
fn a_slow_node_takes_nobody_else_down() {
    let mut room = Room::of(5);
    for _ in 0..30 {
        room.asleep.insert(node(3));
        room.pass(3);
        room.asleep.clear();
        room.pass(1);
        for other in [1, 2, 4, 5] {
            assert!(room.all_say(other, Standing::Up), "n{other} at {:?}", room.now);
        }
    }
}

#[test]
fn a_link_that_comes_and_goes_is_trusted_later_each_time() {
    let mut room = Room::of(3);
    for _ in 0..4 {
        room.cut(1, 2);
        room.cut(2, 1);
        room.pass(4);
        room.cut.clear();
        room.pass(2);
    }
    assert_eq!(room.reach(1, 2), Reach::Shaky);
    assert_eq!(room.reach(1, 3), Reach::Steady);
    room.pass(20);
    assert_eq!(room.reach(1, 2), Reach::Steady);
}

#[test]
fn what_cannot_be_read_changes_nothing() {
    let mut room = Room::of(3);
    let now = room.now;
    let first = room.nodes.get_mut(&node(1)).expect("is there");
    assert!(!first.gossip(&[], now));
    assert!(!first.gossip(&[255; 100], now));
    assert!(!first.gossip(&vec![0; 1 << 20], now));
    room.pass(5);
    for number in 1..=3 {
        assert!(room.all_say(number, Standing::Up), "n{number}");
    }
}

#[test]
fn who_was_said_to_be_deaf_is_asked_again_even_while_it_talks() {
    let mut now = Now::from_micros(1_000_000);
    let mut one = born(1, 1_000, 2, now);
    one.connected(node(2), now);
    one.told(node(2), false, now);
    let mut asked = 0;
    for _ in 0..20 {
        now = now + Duration::from_millis(100);
        one.step(now);
        one.heard(node(2), now);
        asked += one.probe(now).len();
    }
    assert!((3..=5).contains(&asked), "it was asked {asked} times in two seconds");
    assert_eq!(one.reach(node(2), now), Reach::Away);
    one.told(node(2), true, now);
    assert_ne!(one.reach(node(2), now), Reach::Away);
}

#[test]
fn old_news_of_deafness_takes_nobody_down() {
    let mut now = Now::from_micros(1_000_000);
    let mut one = born(1, 1_000, 2, now);
    one.connected(node(2), now);
    one.told(node(2), false, now);
    now = now + Duration::from_millis(400);
    assert_eq!(one.reach(node(2), now), Reach::Shaky);
    one.told(node(2), true, now);
    now = now + Duration::from_millis(1_000);
    assert_eq!(one.reach(node(2), now), Reach::Steady);
}
