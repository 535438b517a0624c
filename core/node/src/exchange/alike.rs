//! Saying in a few bytes that nothing differs.
//!
//! Replicas tell each other every second what the clocks and trees of all their shards come to,
//! and nearly always it is what they were told themselves. So a node that has just heard what it
//! would say does not repeat it, but says so, with one sum over all of it:
//!
//! ```text
//! n1 ──Clocks: s1 is 5e1f.., s2 is 77aa..──► n2      which is so here, too
//! n1 ◄──Alike: 03d9..────────────────────── n2      what n1 would say comes to 03d9.., too
//! n1 ──Alike: 41c0..──────────────────────► n2      and so on, until one of them changes:
//! n1 ◄──Clocks: s1 is 80e2.., s2 is 77aa..── n2
//! ```
//!
//! An [`Alike`] that fits is taken for the [`Clocks`] that it stands for, word by word. One that
//! does not fit says nothing: its sender will hear from this node that it is wrong, in full, and
//! then say itself what its clocks come to. Nothing waits for that. Whatever changed here is not
//! what the other was told last, so that it is told in full with the next round.
//!
//! Of stamps only the last bits are sent, beside what both know from the [`Clocks`] before. They go
//! into the sum whole, so that the word of another life, or one that comes a day late, fits
//! nowhere. It is said only to a node that has repeated a stamp of this life, and thus can know
//! the rest of them, and that has said that it understands.

use std::collections::BTreeMap;

use model::NodeId;
use xxhash_rust::xxh3::Xxh3;

use crate::exchange::Exchange;
use crate::message::{Alike, Clocks, Stamp, Sums};
use crate::{Disk, Node, Turn};

/// What the others have said last, as a sum without stamps: of those that understand an [`Alike`],
/// and can verify one of this life.
#[derive(Debug, Default)]
pub(crate) struct Said(BTreeMap<NodeId, u64>);

impl Said {
    /// The connection to a node broke: what comes next may be another life of it.
    pub(crate) fn lost(&mut self, node: NodeId) {
        self.0.remove(&node);
    }
}

impl Exchange {
    /// A node has told everything.
    pub(crate) fn hear_all(&mut self, from: NodeId, clocks: &Clocks) {
        let knows_us = self.stamps.iter().any(|(ours, _)| *ours == clocks.echo);
        if clocks.hears_alike && knows_us {
            self.said.0.insert(from, sum(clocks, None));
        } else {
            self.said.0.remove(&from);
        }
    }

    /// The same in few bytes, if a node has just said so itself.
    pub(crate) fn shorten(&self, to: NodeId, clocks: &Clocks) -> Option<Alike> {
        let is_alike = self.said.0.get(&to) == Some(&sum(clocks, None));
        let sum = sum(clocks, Some((clocks.stamp, clocks.echo)));
        let (stamp, echo) = (last_bits(clocks.stamp), last_bits(clocks.echo));
        is_alike.then_some(Alike { stamp, echo, is_busy: clocks.is_busy, sum })
    }

    /// The clocks that it stands for, if they are `ours`, as they would be told to that node.
    fn lengthen(&mut self, from: NodeId, alike: Alike, ours: Clocks) -> Option<Clocks> {
        self.said.0.remove(&from);
        let last = *self.echoes.get(&from)?;
        let (echo, _) = *self.stamps.iter().find(|(made, _)| last_bits(*made) == alike.echo)?;
        let (stamp, is_busy) = (near(last, alike.stamp), alike.is_busy);
        let theirs = Clocks { stamp, echo, is_busy, ..ours };
        (sum(&theirs, Some((stamp, echo))) == alike.sum).then_some(theirs)
    }
}

impl Node {
    /// A node says that its clocks come to what ours come to.
    pub(crate) fn alike<D: Disk>(&mut self, from: NodeId, alike: Alike, turn: &mut Turn<'_, D>) {
        let shards = self.clocks_for(from);
        let ours = self.clocks_of(from, shards);
        if let Some(clocks) = self.exchange.lengthen(from, alike, ours) {
            self.clocks(from, &clocks, turn);
        }
    }

    /// What is told to a node of these shards, as of the last round.
    pub(crate) fn clocks_of(&self, node: NodeId, shards: Vec<Sums>) -> Clocks {
        let (stamp, echo) = self.exchange.stamps_for(node);
        let (is_busy, catalog_version) = (self.exchange.is_busy, self.in_force().version);
        Clocks {
            stamp,
            echo,
            is_busy,
            catalog_version,
            hears_alike: true,
            hears_others: true,
            shards,
        }
    }
}

/// What clocks come to that are told to a node. Part of what nodes say to each other: it must not
/// change.
fn sum(clocks: &Clocks, stamps: Option<(Stamp, Stamp)>) -> u64 {
    let mut hash = Xxh3::new();
    if let Some((stamp, echo)) = stamps {
        hash.update(&stamp.0.to_le_bytes());
        hash.update(&echo.0.to_le_bytes());
    }
    hash.update(&clocks.catalog_version.to_le_bytes());
    for Sums { shard, clock, tree, is_suspect } in &clocks.shards {
        hash.update(&shard.keyspace.number().to_le_bytes());
        hash.update(&shard.index.to_le_bytes());
        hash.update(&clock.to_le_bytes());
        hash.update(&[u8::from(tree.is_some()) | u8::from(*is_suspect) << 1]);
        hash.update(&tree.unwrap_or_default().to_le_bytes());
    }
    hash.digest()
}

fn last_bits(stamp: Stamp) -> u16 {
    let [low, high, ..] = stamp.0.to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// The stamp with these last bits that is nearest to one that is known.
fn near(known: Stamp, bits: u16) -> Stamp {
    let ahead = bits.wrapping_sub(last_bits(known)).cast_signed();
    Stamp(known.0.wrapping_add_signed(ahead.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stamp_the_last_bits_are_enough_where_one_near_it_is_known() {
        for known in [0x1234_fff0_u64, 0x1234_0003, u64::MAX - 3, 5] {
            for ahead in [0, 1, 20, 64, -1, -20, i64::from(i16::MAX)] {
                let stamp = Stamp(known.wrapping_add_signed(ahead));
                assert_eq!(near(Stamp(known), last_bits(stamp)), stamp, "{known:x} and {ahead}");
            }
        }
    }
}
