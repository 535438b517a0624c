//! Names of writes.

use std::fmt;

/// One life of one node process, and the only kind of actor there is.
///
/// A node draws 64 random bits at every start, before its first write, and never reads
/// them back from a disk, a backup or a clone. A node that lost its disk, or was started
/// twice from one copy of it, therefore cannot repeat a dot of its past.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Wraps 64 random bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits, for encoding.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The names under which the same life writes keys that it is asked to write again and again: as
    /// random as its own.
    pub fn lanes(self) -> impl Iterator<Item = Self> {
        (1..=LANES).map(move |number| Self(scrambled(self.0 ^ scrambled(number))))
    }

    /// Whether this names the life of `life`: it is that, or one of its lanes.
    pub fn is_of(self, life: Self) -> bool {
        self == life || life.lanes().any(|lane| lane == self)
    }
}

/// How many lanes a life has.
const LANES: u64 = 8;

/// One to one, and every bit of the result depends on every bit. Source: Stafford's variant 13 of the last
/// step of `MurmurHash3`, as in `SplitMix64`.
const fn scrambled(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One accepted write.
///
/// `seq` counts the writes that this incarnation accepted *in one shard*, from 1 and
/// without gaps. A dot therefore names a write only together with its shard, which every
/// place that holds dots knows.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dot {
    /// Who accepted the write.
    pub incarnation: Incarnation,
    /// Its number there, from 1.
    pub seq: u64,
}

impl Dot {
    /// Names the write `seq` of `incarnation`.
    pub const fn new(incarnation: Incarnation, seq: u64) -> Self {
        Self { incarnation, seq }
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.incarnation, self.seq)
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
