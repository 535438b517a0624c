//! The network between nodes: slow, lossy, and sometimes cut.
//!
//! A message is on its way for a while that is drawn for it alone, so that messages
//! overtake each other. It may vanish, arrive twice, or arrive seconds late, after its
//! sender has given up, died or come back as another incarnation. A cut swallows what is
//! sent in its direction while it lasts, and cuts may overlap.

use std::collections::BTreeMap;

use model::NodeId;

use crate::dice::Dice;
use crate::swarm::NetworkPlan;

/// What is between nodes.
pub(crate) struct Network {
    plan: NetworkPlan,
    dice: Dice,
    /// Cuts from one node to another, and how many lie over each other.
    cuts: BTreeMap<(NodeId, NodeId), u32>,
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
}

const LATE_MIN: u64 = 1_000_000;
/// Beyond any timeout of a client, and beyond most lives of a node in a faulty world.
pub(crate) const LATE_MAX: u64 = 15_000_000;

impl Network {
    pub(crate) fn new(plan: NetworkPlan, dice: Dice) -> Self {
        Self { plan, dice, cuts: BTreeMap::new(), faulty: false }
    }

    /// Lets things go wrong, or ends all that does.
    pub(crate) fn set_faulty(&mut self, faulty: bool) {
        self.faulty = faulty;
        self.cuts.clear();
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

    /// Decides what becomes of a message.
    pub(crate) fn send(&mut self, from: NodeId, to: NodeId) -> Passage {
        if from == to {
            return Passage::Once(0);
        }
        if !self.faulty {
            return Passage::Once(self.dice.micros(self.plan.delay, 0));
        }
        if self.cuts.contains_key(&(from, to)) || self.dice.chance(self.plan.loss) {
            return Passage::Never;
        }
        let first = self.delay();
        if self.dice.chance(self.plan.twice) {
            return Passage::Twice(first, self.delay());
        }
        Passage::Once(first)
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
        let plan = NetworkPlan { loss: 0, twice: 0, late: 0, ..Plan::draw(1).network };
        let mut network = Network::new(plan, Dice::new(1, Part::Network));
        network.set_faulty(true);
        let (a, b) = (NodeId::new(1), NodeId::new(2));
        network.cut(&[(a, b)]);
        network.cut(&[(a, b)]);
        network.mend(&[(a, b)]);
        assert_eq!(network.send(a, b), Passage::Never);
        assert!(matches!(network.send(b, a), Passage::Once(_)), "the way back is open");
        network.mend(&[(a, b)]);
        assert!(matches!(network.send(a, b), Passage::Once(_)));
    }
}
