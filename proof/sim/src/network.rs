//! The network between nodes: slow, lossy, and sometimes cut.
//!
//! A message is on its way for a while that is drawn for it alone, so that messages
//! overtake each other. It may vanish, arrive twice, or arrive seconds late, after its
//! sender has given up, died or come back as another incarnation. A cut swallows what is
//! sent in its direction while it lasts, and cuts may overlap. A clog holds what is sent
//! and lets it arrive all at once. Some pairs of nodes are far apart. A message whose bytes
//! are damaged never arrives: it is really encoded, damaged and decoded, and must be refused,
//! after which its connection breaks, as connections do.

use std::collections::BTreeMap;

use model::{Name, NodeId};

use crate::dice::Dice;
use crate::swarm::NetworkPlan;

/// What is between nodes.
pub(crate) struct Network {
    plan: NetworkPlan,
    dice: Dice,
    /// Cuts from one node to another, and how many lie over each other.
    cuts: BTreeMap<(NodeId, NodeId), u32>,
    /// Until when messages are held on their way.
    clogs: BTreeMap<(NodeId, NodeId), u64>,
    /// Microseconds between two nodes, more than between others.
    far: BTreeMap<(NodeId, NodeId), u64>,
    /// When what was sent last arrives, by way.
    last: BTreeMap<(NodeId, NodeId), u64>,
    /// Whether anything may go wrong.
    faulty: bool,
}

/// What becomes of one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Passage {
    /// It arrives after so many microseconds.
    Once(u64),
    /// It arrives, and arrives again.
    Twice(u64, u64),
    /// It vanishes.
    Never,
    /// Its bytes are damaged.
    Damaged,
}

const LATE_MIN: u64 = 1_000_000;
/// Beyond any timeout of a client, and beyond most lives of a node in a faulty world.
pub(crate) const LATE_MAX: u64 = 15_000_000;

impl Network {
    pub(crate) fn new(plan: NetworkPlan, nodes: &[(NodeId, Name)], mut dice: Dice) -> Self {
        let mut far = BTreeMap::new();
        for (a, here) in nodes {
            for (b, there) in nodes.iter().filter(|(b, _)| a < b) {
                if plan.far != 0 && (here != there || dice.chance(300)) {
                    let distance = dice.between(plan.far / 4, plan.far);
                    far.extend([((*a, *b), distance), ((*b, *a), distance)]);
                }
            }
        }
        Self {
            plan,
            dice,
            cuts: BTreeMap::new(),
            clogs: BTreeMap::new(),
            far,
            last: BTreeMap::new(),
            faulty: false,
        }
    }

    /// Lets things go wrong, or ends all that does.
    pub(crate) fn set_faulty(&mut self, faulty: bool) {
        self.faulty = faulty;
        self.cuts.clear();
        self.clogs.clear();
        self.last.clear();
    }

    /// Holds what is sent on these ways until a time, when it all arrives at once.
    pub(crate) fn clog(&mut self, ways: &[(NodeId, NodeId)], until: u64) {
        for way in ways {
            let clog = self.clogs.entry(*way).or_default();
            *clog = until.max(*clog);
        }
    }

    /// Cuts each of these ways once more.
    pub(crate) fn cut(&mut self, ways: &[(NodeId, NodeId)]) {
        ways.iter().for_each(|way| *self.cuts.entry(*way).or_default() += 1);
    }

    /// Takes back one cut of each of these ways.
    pub(crate) fn mend(&mut self, ways: &[(NodeId, NodeId)]) {
        for way in ways {
            let left = self.cuts.get(way).map_or(0, |count| count.saturating_sub(1));
            if left == 0 {
                self.cuts.remove(way);
            } else {
                self.cuts.insert(*way, left);
            }
        }
    }

    /// Whether a way is cut.
    pub(crate) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    /// Which ways of a node are cut or clogged, in words.
    pub(crate) fn tell_ways(&self, now: u64, node: NodeId) -> impl Iterator<Item = String> {
        let is_of = move |(from, to): &(NodeId, NodeId)| *from == node || *to == node;
        let cuts = self.cuts.keys().copied().filter(is_of);
        let clogs = self.clogs.iter().filter(move |(way, until)| is_of(way) && now < **until);
        let cuts = cuts.map(|(from, to)| format!("{from} -> {to} is cut"));
        cuts.chain(clogs.map(|((from, to), until)| format!("{from} -> {to} is held until {until}")))
    }

    /// Which bits of a damaged message flip, and where it is cut off, if it is.
    pub(crate) fn bits(&mut self) -> u64 {
        self.dice.bits()
    }

    /// How many microseconds two nodes are apart, more than others.
    pub(crate) fn far(&self, from: NodeId, to: NodeId) -> u64 {
        self.far.get(&(from, to)).copied().unwrap_or(0)
    }

    /// Decides what becomes of a message.
    pub(crate) fn send(&mut self, now: u64, from: NodeId, to: NodeId) -> Passage {
        if from == to {
            return Passage::Once(0);
        }
        let far = self.far(from, to);
        if !self.faulty {
            return Passage::Once(far + self.dice.micros(self.plan.delay, 0));
        }
        if self.cuts.contains_key(&(from, to)) || self.dice.chance(self.plan.loss) {
            return Passage::Never;
        }
        if self.plan.damage != 0 && self.dice.between(0, 9_999) < u64::from(self.plan.damage) {
            return Passage::Damaged;
        }
        let held = self.clogs.get(&(from, to)).map_or(0, |until| until.saturating_sub(now));
        let after = held + far + self.delay();
        let first = self.in_order((from, to), now + after) - now;
        if self.dice.chance(self.plan.twice) {
            return Passage::Twice(first, held + far + self.delay());
        }
        Passage::Once(first)
    }

    /// When a message arrives that would arrive `at`, if it may overtake what was sent before
    /// it on the same way by so much only.
    fn in_order(&mut self, way: (NodeId, NodeId), at: u64) -> u64 {
        let Some(window) = self.plan.window else { return at };
        let last = self.last.entry(way).or_default();
        let at = at.max(last.saturating_sub(window));
        *last = at.max(*last);
        at
    }

    fn delay(&mut self) -> u64 {
        if self.dice.chance(self.plan.late) {
            self.dice.between(LATE_MIN, LATE_MAX)
        } else {
            self.dice.micros(self.plan.delay, self.plan.tail)
        }
    }

    /// After how many microseconds a node hears that its connection to another broke, if
    /// it hears of it at all.
    pub(crate) fn notice(&mut self) -> Option<u64> {
        self.dice.chance(self.plan.notice).then(|| self.dice.between(0, 2_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Part;
    use crate::swarm::Plan;

    #[test]
    fn a_cut_lasts_until_each_of_its_layers_is_mended() {
        let plan = NetworkPlan { loss: 0, twice: 0, late: 0, damage: 0, ..Plan::draw(1).network };
        let mut network = Network::new(plan, &[], Dice::new(1, Part::Network));
        network.set_faulty(true);
        let (a, b) = (NodeId::new(1), NodeId::new(2));
        network.cut(&[(a, b)]);
        network.cut(&[(a, b)]);
        network.mend(&[(a, b)]);
        assert_eq!(network.send(0, a, b), Passage::Never);
        assert!(matches!(network.send(0, b, a), Passage::Once(_)), "the way back is open");
        network.mend(&[(a, b)]);
        assert!(matches!(network.send(0, a, b), Passage::Once(_)));
    }

    #[test]
    fn messages_overtake_each_other_within_the_window_and_no_further() {
        let overtaken = |window| {
            let plan =
                NetworkPlan { loss: 0, twice: 0, late: 20, damage: 0, ..Plan::draw(1).network };
            let plan = NetworkPlan { delay: 1_000, far: 0, window, ..plan };
            let mut network = Network::new(plan, &[], Dice::new(1, Part::Network));
            network.set_faulty(true);
            let arrival = |now: u64| match network.send(now, NodeId::new(1), NodeId::new(2)) {
                Passage::Once(after) => now + after,
                Passage::Twice(..) | Passage::Never | Passage::Damaged => panic!("it passes"),
            };
            let arrivals: Vec<u64> = (0..200).map(|turn| turn * 50).map(arrival).collect();
            let before = |index: usize| arrivals[..index].iter().copied().max().unwrap_or(0);
            (0..200).map(|index| before(index).saturating_sub(arrivals[index])).max()
        };
        assert_eq!(overtaken(Some(0)), Some(0));
        assert_eq!(overtaken(Some(100)), Some(100));
        assert!(Some(1_000) < overtaken(None));
    }
}
