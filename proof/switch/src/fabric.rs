//! Which packet leaves when, and through which port.
//!
//! There is a *lane* for each ordered pair of ports, with its [`Rule`], its counters and a
//! bound on how many packets it holds. What waits is kept by the moment it is due. This is
//! a value: it is told the time and handed packets, and touches no device.

use std::collections::BTreeMap;
use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::resets::Resets;
use crate::rule::{Fate, Rule};

/// The most packets that wait in one lane. The next one is dropped, as in any router. At full
/// size it is three megabytes, or what a connection has under way at 80 Mbit/s and 300 ms.
pub(crate) const LANE_PACKETS_MAX: usize = 2_048;

/// What happened to the packets of one lane. Every packet that departed, every duplicate, and
/// every one that was forged is counted as one of blocked, reset, lost, overflowed and arrived, or
/// still waits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Packets that came in.
    pub departed: u64,
    /// Dropped by a block.
    pub blocked: u64,
    /// Dropped, and their connections ended.
    pub reset: u64,
    /// Made here, to end connections: they tell the receiver of a packet, or the sender of one
    /// in the other direction.
    pub forged: u64,
    /// Dropped by chance.
    pub lost: u64,
    /// Dropped because too many waited.
    pub overflowed: u64,
    /// Copies that were made.
    pub duplicated: u64,
    /// Packets that had to wait.
    pub delayed: u64,
    /// Packets that were held back, to be overtaken.
    pub held: u64,
    /// Packets that went out.
    pub arrived: u64,
}

impl Counts {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// What has happened since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    fn with(&self, other: &Self, combine: fn(u64, u64) -> u64) -> Self {
        Self {
            departed: combine(self.departed, other.departed),
            blocked: combine(self.blocked, other.blocked),
            reset: combine(self.reset, other.reset),
            forged: combine(self.forged, other.forged),
            lost: combine(self.lost, other.lost),
            overflowed: combine(self.overflowed, other.overflowed),
            duplicated: combine(self.duplicated, other.duplicated),
            delayed: combine(self.delayed, other.delayed),
            held: combine(self.held, other.held),
            arrived: combine(self.arrived, other.arrived),
        }
    }
}

/// A packet on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Parcel {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) packet: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Lane {
    rule: Rule,
    counts: Counts,
    waiting: usize,
    /// When the last packet is due that keeps its place.
    last: Option<Instant>,
}

/// All lanes, and what waits in them.
#[derive(Debug)]
pub(crate) struct Fabric {
    ports: usize,
    lanes: Vec<Lane>,
    /// By the moment it is due; then by its number, so that what is due together keeps its
    /// order.
    waiting: BTreeMap<(Instant, u64), Parcel>,
    number: u64,
    rng: SmallRng,
}

impl Fabric {
    /// Perfect cables between so many ports.
    pub(crate) fn new(ports: usize, seed: u64) -> Self {
        Self {
            ports,
            lanes: vec![Lane::default(); ports * ports],
            waiting: BTreeMap::new(),
            number: 0,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// From now on packets of a lane are treated so. Those that wait stay as they are.
    pub(crate) fn set(&mut self, from: usize, to: usize, rule: Rule) {
        self.lane(from, to).rule = rule;
    }

    pub(crate) fn ports(&self) -> usize {
        self.ports
    }

    pub(crate) fn counts(&mut self, from: usize, to: usize) -> Counts {
        self.lane(from, to).counts
    }

    /// Takes a packet in.
    pub(crate) fn take(&mut self, now: Instant, parcel: Parcel) {
        let (from, to) = (parcel.from, parcel.to);
        let rule = self.lane(from, to).rule;
        self.lane(from, to).counts.departed += 1;
        if rule.resets(&mut self.rng)
            && let Some(ends) = Resets::of(&parcel.packet)
        {
            self.lane(from, to).counts.reset += 1;
            self.forge(now, from, to, ends.for_receiver);
            self.forge(now, to, from, ends.for_sender);
            return;
        }
        let fate = rule.fate(&mut self.rng);
        let lane = self.lane(from, to);
        match fate {
            Fate::Blocked => lane.counts.blocked += 1,
            Fate::Lost => lane.counts.lost += 1,
            Fate::Forwarded { after, is_held, is_doubled } => {
                lane.counts.delayed += u64::from(!after.is_zero());
                lane.counts.held += u64::from(is_held);
                lane.counts.duplicated += u64::from(is_doubled);
                let mut due = now + after;
                if !is_held {
                    due = lane.last.map_or(due, |last| due.max(last));
                    lane.last = Some(due);
                }
                if is_doubled {
                    self.enqueue(due, parcel.clone());
                }
                self.enqueue(due, parcel);
            }
        }
    }

    /// Sends a packet of our own, ahead of all that waits: the sequence numbers of an end are
    /// right as long as nothing else reaches it.
    fn forge(&mut self, now: Instant, from: usize, to: usize, packet: Option<Vec<u8>>) {
        if let Some(packet) = packet {
            self.lane(from, to).counts.forged += 1;
            self.enqueue(now, Parcel { from, to, packet });
        }
    }

    fn enqueue(&mut self, due: Instant, parcel: Parcel) {
        let lane = self.lane(parcel.from, parcel.to);
        if LANE_PACKETS_MAX <= lane.waiting {
            lane.counts.overflowed += 1;
            return;
        }
        lane.waiting += 1;
        self.number += 1;
        self.waiting.insert((due, self.number), parcel);
    }

    /// The next packet that is due, counted as arrived.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Parcel> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        let parcel = first.remove();
        let lane = self.lane(parcel.from, parcel.to);
        lane.waiting -= 1;
        lane.counts.arrived += 1;
        Some(parcel)
    }

    /// When the next packet will be due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    fn lane(&mut self, from: usize, to: usize) -> &mut Lane {
        assert!(from < self.ports && to < self.ports, "port {from} or {to} of {}", self.ports);
        self.lanes.get_mut(from * self.ports + to).expect("there is a lane for each pair")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn parcel(from: usize, to: usize, byte: u8) -> Parcel {
        Parcel { from, to, packet: vec![byte] }
    }

    /// The first bytes of all packets that are due, in their order.
    fn out(fabric: &mut Fabric, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| fabric.due(now)).map(|parcel| parcel.packet[0]).collect()
    }

    #[test]
    fn a_block_stops_one_direction_only_and_what_had_departed_before_arrives() {
        let (mut fabric, now) = (Fabric::new(2, 1), Instant::now());
        fabric.take(now, parcel(0, 1, 1));
        fabric.set(0, 1, Rule::blocked());
        fabric.take(now, parcel(0, 1, 2));
        fabric.take(now, parcel(1, 0, 3));
        assert_eq!(out(&mut fabric, now), [1, 3]);
        assert_eq!((fabric.counts(0, 1).blocked, fabric.counts(1, 0).blocked), (1, 0));
    }

    #[test]
    fn packets_keep_their_order_in_spite_of_jitter_unless_they_are_held() {
        let (mut fabric, now) = (Fabric::new(2, 1), Instant::now());
        fabric.set(0, 1, Rule { delay: MILLI, jitter: 9 * MILLI, ..Rule::default() });
        (0..100).for_each(|byte| fabric.take(now, parcel(0, 1, byte)));
        assert_eq!(out(&mut fabric, now), [], "none is due at once");
        let in_order: Vec<u8> = (0..100).collect();
        assert_eq!(out(&mut fabric, now + 1000 * MILLI), in_order);
        fabric.set(0, 1, Rule { reordering: 0.1, held: 50 * MILLI, ..Rule::default() });
        (0..100).for_each(|byte| fabric.take(now, parcel(0, 1, byte)));
        let mut mixed = out(&mut fabric, now + 2000 * MILLI);
        assert_ne!(mixed, in_order);
        mixed.sort_unstable();
        assert_eq!(mixed, in_order);
    }

    #[test]
    fn a_lane_holds_so_many_packets_and_drops_what_comes_last() {
        let (mut fabric, now) = (Fabric::new(3, 1), Instant::now());
        fabric.set(0, 1, Rule { delay: MILLI, ..Rule::default() });
        (0..LANE_PACKETS_MAX + 10).for_each(|_| fabric.take(now, parcel(0, 1, 1)));
        fabric.take(now, parcel(0, 2, 2));
        assert_eq!(fabric.counts(0, 1).overflowed, 10);
        assert_eq!(out(&mut fabric, now), [2], "other lanes have room");
        assert_eq!(out(&mut fabric, now + MILLI).len(), LANE_PACKETS_MAX);
        fabric.take(now, parcel(0, 1, 3));
        assert_eq!(out(&mut fabric, now + 2 * MILLI), [3], "there is room again");
    }

    #[test]
    fn every_packet_is_accounted_for() {
        let (mut fabric, mut now) = (Fabric::new(2, 1), Instant::now());
        let rule = Rule {
            delay: MILLI,
            loss: 0.2,
            duplication: 0.2,
            reordering: 0.2,
            held: MILLI,
            ..Rule::default()
        };
        fabric.set(0, 1, rule);
        for _ in 0..20 {
            (0..200).for_each(|byte| fabric.take(now, parcel(0, 1, byte)));
            now += MILLI;
            out(&mut fabric, now);
        }
        out(&mut fabric, now + 10 * MILLI);
        let counts = fabric.counts(0, 1);
        assert_eq!(counts.departed, 4_000);
        let gone = counts.blocked + counts.lost + counts.overflowed + counts.arrived;
        assert_eq!(counts.departed + counts.duplicated, gone);
        assert!(0 < counts.lost && 0 < counts.duplicated && 0 < counts.held, "{counts:?}");
    }
}
