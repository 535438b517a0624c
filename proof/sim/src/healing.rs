//! How long it takes until what a disk has lost is there again.
//!
//! That everything is healed in the end is looked at when the faults are over. But a loss must be
//! found within one scrub, and then it takes a comparison with a replica that has it. So each
//! loss is followed, and the time counts in which the node could be helped: it and one other
//! replica that holds what is missing, and can read it, are up, nothing is wrong with either, and
//! nothing between them. If such a time is longer than [`BOUND`], that is a violation.
//!
//! ```text
//! found        within the interval in which everything is read again           4 s
//! told         with the clocks, each second                                     1 s
//! compared     while it is written, three seconds after the last proof at       3 s
//!              the latest; one that had just found nothing rests for five       5 s
//! brought      round trips, one comparison after the other                      3 s
//! ```
//!
//! A comparison of a leaf begins anew when the leaf has changed between two of its messages, and rests
//! after a few such attempts. So where a shard is written about as often as messages go to and fro, a
//! loss may wait until there are fewer writes. That is counted, and not held to the bound; it is to be
//! healed when the writes have ended, as everywhere.
//!
//! A loss ends otherwise if its disk is replaced, or if the record is lost once more, which begins
//! anew. What nobody else holds nobody can bring, and what only a suspect replica holds waits for the word
//! of all others.

use std::collections::BTreeMap;

use causality::DotSet;
use model::{NodeId, Object};

use crate::disk::Place;
use crate::invariant::Invariant;
use crate::oracle::Look;
use crate::report::Broken;
use crate::scenario::SECOND;
use crate::world::{Event, Phase, World};

/// Microseconds between two looks.
const EVERY: u64 = SECOND / 4;

/// Microseconds within which a loss is healed, where somebody can help.
pub(crate) const BOUND: u64 = 16 * SECOND;

/// The losses that are not healed.
#[derive(Default)]
pub(crate) struct Healing {
    losses: BTreeMap<(NodeId, usize), Loss>,
    is_looking: bool,
    looked: u64,
}

/// What one node lacks under one key.
struct Loss {
    since: u64,
    gone: DotSet,
    /// Who could have helped, since when.
    helpers: BTreeMap<NodeId, u64>,
}

impl Healing {
    /// A disk was replaced.
    pub(crate) fn forget(&mut self, node: NodeId) -> u64 {
        let before = self.losses.len();
        self.losses.retain(|(at, _), _| *at != node);
        (before - self.losses.len()) as u64
    }
}

impl World {
    /// Arranges that losses are looked at, where they are found.
    pub(crate) fn arrange_looking(&mut self) {
        let is_found = self.plan.scrubs && self.rot.is_on() && self.oracle.look == Look::Everywhere;
        if is_found && !self.healing.is_looking {
            self.healing.is_looking = true;
            self.arrange(EVERY, Event::LookAtLosses);
        }
    }

    /// A record was lost, or turned into an older one.
    pub(crate) fn note_unhealed(
        &mut self,
        at: NodeId,
        place: &Place,
        object: &Object,
        older: Option<&Object>,
    ) {
        let Ok(spot) = self.oracle.spot_of(place) else { return };
        *self.requests.entry(("losses", "of records")).or_default() += 1;
        if !self.healing.is_looking {
            *self.requests.entry(("losses", "where nothing is scrubbed")).or_default() += 1;
            return;
        }
        let left = older.map(|older| older.context().clone()).unwrap_or_default();
        let gone = object.context().difference(&left);
        let since = self.now;
        let loss = self.healing.losses.entry((at, spot)).or_insert_with(|| Loss {
            since,
            gone: DotSet::new(),
            helpers: BTreeMap::new(),
        });
        if !loss.gone.is_empty() {
            *self.requests.entry(("losses", "of what was not healed yet")).or_default() += 1;
        }
        let _ = loss.gone.union(&gone);
        loss.since = since;
        loss.helpers.clear();
    }

    /// Each loss is healed, or nobody could help for long enough.
    pub(crate) fn look_at_losses(&mut self) -> Result<(), Broken> {
        let losses = std::mem::take(&mut self.healing.losses);
        for ((at, spot), mut loss) in losses {
            if self.is_healed(at, spot, &loss) {
                self.count_healed(&loss);
                continue;
            }
            self.see_helpers(at, spot, &mut loss);
            let bound = BOUND + BOUND * self.plan.drift / 1_000;
            let is_late = |since: u64| self.compares_in_peace() && since + bound < self.now;
            let late = loss.helpers.iter().find(|(_, since)| is_late(**since));
            if let Some((helper, since)) = late {
                let detail = format!(
                    "{at} lost {:?} at {}, and {helper}, which has it, could have helped since {since}",
                    loss.gone, loss.since
                );
                return Err(Broken::of(Invariant::LossesAreHealed, spot, detail));
            }
            self.healing.losses.insert((at, spot), loss);
        }
        self.healing.looked = self.now;
        self.healing.is_looking = self.phase == Phase::Safety || !self.healing.losses.is_empty();
        if self.healing.is_looking {
            self.arrange(EVERY, Event::LookAtLosses);
        }
        Ok(())
    }

    /// Whether a shard is hardly ever written between two messages of a comparison.
    fn compares_in_peace(&self) -> bool {
        let (clients, network) = (&self.plan.clients, &self.plan.network);
        let [put, delete, get, list] = clients.weights.map(u64::from);
        let there_and_back = 2 * network.far + 4 * network.delay;
        let shards = if clients.hot == 0 { u64::from(self.plan.shards.div_ceil(2)) } else { 1 };
        let written = clients.count as u64 * there_and_back * (put + delete);
        let is_quiet = self.phase == Phase::Quiet;
        is_quiet || 2 * written < clients.think * (put + delete + get + list) * shards
    }

    fn is_healed(&self, at: NodeId, spot: usize, loss: &Loss) -> bool {
        let place = self.oracle.spot(spot).place();
        let is_damaged =
            self.hosts.get(&at).is_some_and(|host| host.disk.damaged().contains(&place));
        !is_damaged && loss.gone.difference(self.known(at, spot).context()).is_empty()
    }

    /// Those who hold something of what is missing, and have been there all the time since the last
    /// look.
    fn see_helpers(&self, at: NodeId, spot: usize, loss: &mut Loss) {
        let (of, since) = (self.oracle.spot(spot), self.healing.looked);
        let place = of.place();
        let known = self.known(at, spot);
        let is_damaged =
            self.hosts.get(&at).is_some_and(|host| host.disk.damaged().contains(&place));
        let missing =
            if is_damaged { loss.gone.clone() } else { loss.gone.difference(known.context()) };
        let can_help = |node: &NodeId| {
            let is_damaged = |host: &crate::host::Host| host.disk.damaged().contains(&place);
            let holds = |host: &crate::host::Host| {
                let held = host.disk.view().objects.get(&place);
                held.is_some_and(|held| !missing.intersection(held.context()).is_empty())
            };
            let can_read = |host: &crate::host::Host| holds(host) && !is_damaged(host);
            // What a suspect one brings is put back when all others have nothing to say against it. One
            // whose new disk is not whole says nothing, not even that it is suspect.
            let is_suspect = |node: &NodeId| self.is_suspect(*node, place.0);
            let takes_part = |other: &NodeId| {
                let node = self.hosts.get(other).and_then(|host| host.node.as_ref());
                node.is_some_and(node::Node::takes_part)
            };
            let is_out = |other: &NodeId| takes_part(other) && is_suspect(other);
            let mut others = of.replicas.iter().filter(|other| **other != at && !is_out(other));
            let has_word = |other: &NodeId| takes_part(other) && self.can_talk(at, *other, since);
            let is_heard = !is_suspect(node) || others.all(has_word);
            *node != at
                && self.can_talk(at, *node, since)
                && self.hosts.get(node).is_some_and(can_read)
                && is_heard
        };
        let helpers: Vec<NodeId> = of.replicas.iter().copied().filter(can_help).collect();
        loss.helpers.retain(|node, _| helpers.contains(node));
        for node in helpers {
            loss.helpers.entry(node).or_insert(self.now);
        }
    }

    /// In the end, what is not healed is what nobody could bring.
    pub(crate) fn count_unhealed(&mut self) {
        let left = std::mem::take(&mut self.healing.losses).len() as u64;
        if left != 0 {
            *self.requests.entry(("losses", "of what nobody else held")).or_default() += left;
        }
    }

    fn count_healed(&mut self, loss: &Loss) {
        let since = loss.helpers.values().min().copied().unwrap_or(self.now).max(loss.since);
        let name = match (self.now - since) / SECOND {
            0..4 => "healed within 4 s",
            4..8 => "healed within 8 s",
            8..12 => "healed within 12 s",
            12..16 => "healed within 16 s",
            _ => "healed later, under writes",
        };
        *self.requests.entry(("losses", name)).or_default() += 1;
    }
}
