//! What two replicas say to each other.
//!
//! One round is one [`Questions`] and the [`Answers`] to it. Answers come in the order of
//! the questions and name no ranges. There may be fewer: what is not answered is asked again.

use crate::{Digest, KeyRange};

/// How large messages may be, and how much work one may cause.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Ranges in one message. Questions with more are refused.
    pub ranges_max: usize,
    /// Bytes after which nothing is added to a message. The last addition may exceed it, by
    /// some kilobytes as a rule: the listings of the leaves of one range, or the names of
    /// the keys of some leaves. At the very most it is 256 leaves, or 1,024 keys.
    pub bytes_max: usize,
    /// Objects that are read for one message, after which nothing more is answered. One
    /// question may exceed it by some leaves.
    pub items_max: usize,
}

impl Default for Limits {
    /// A quarter of a megabyte, which a link between regions sends in some 20 ms, and what a
    /// store reads within about as much.
    fn default() -> Self {
        Self { ranges_max: 4_096, bytes_max: 256 * 1_024, items_max: 65_536 }
    }
}

/// What the initiator asks in one round.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Questions<K> {
    /// Of the initiator's salt: see [`Salt::tag`](crate::Salt::tag).
    pub salt: u64,
    /// Which round of the exchange it is, from 1.
    pub round: u64,
    /// Whether the initiator understands [`Within::Lacked`]. Older ones do not.
    pub hears_lacked: bool,
    /// One for each range. Ranges are in order and do not overlap.
    pub asks: Vec<(KeyRange<K>, Ask)>,
}

/// A question about one range.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// Which of these parts differ? Answered by [`Answer::Compared`] or [`Answer::Cut`].
    Compare(Parts),
    /// What is in it, if it comes to this sum here? Answered by [`Answer::Listed`], or by
    /// [`Answer::Named`] if one more object explains the difference. Without a sum it is listed.
    List(Width, Option<u64>),
    /// Which keys have these fingerprints? Answered by [`Answer::Named`].
    Name(Width, Vec<u64>),
}

/// The parts of a range, without the keys that it is cut at: the other side cuts at the same
/// ones nearly always, and a hash says whether it does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parts {
    /// The level of the tree whose cuts are meant.
    pub level: u8,
    /// A hash of the keys that the range is cut at.
    pub cuts: u64,
    /// The sum of each part: one more than there are cuts.
    pub sums: Vec<u64>,
}

/// How much of the hash of an object is sent where objects are listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Width {
    /// 16 bits. In a leaf of n keys, an object that only one side has is taken for one of
    /// the other's with a probability of n / 65,536. The sums then do not come out, and
    /// the leaf is listed again.
    Short,
    /// 64 bits.
    Long,
}

impl Width {
    /// How many bytes a fingerprint takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Short => 2,
            Self::Long => 8,
        }
    }

    pub(crate) fn of(self, item: u64) -> u64 {
        match self {
            Self::Short => item & 0xffff,
            Self::Long => item,
        }
    }
}

/// What the responder answers in one round: at least one answer if it was asked anything, and
/// at most one for each question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answers<K> {
    /// The round that is answered.
    pub round: u64,
    /// In the order of the questions.
    pub answers: Vec<Answer<K>>,
}

impl<K> Answers<K> {
    /// Whether of a leaf that was called different all comes to what the initiator has: the tree of the
    /// responder does not say what is stored there, and a scrub is due.
    pub fn contradict(&self, questions: &Questions<K>) -> bool {
        let is_alike = |(ask, answer): (&(KeyRange<K>, Ask), &Answer<K>)| {
            let ((_, Ask::Compare(theirs)), Answer::Compared(differing)) = (ask, answer) else {
                return false;
            };
            differing.iter().any(|(index, within)| {
                let theirs = theirs.sums.get(usize::from(*index));
                matches!(within, Within::Leaf(leaf) if leaf.to.is_none() && theirs == Some(&leaf.sum))
            })
        };
        questions.asks.iter().zip(&self.answers).any(is_alike)
    }
}

/// The answer about one range.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer<K> {
    /// The range is cut in the same way here. These parts differ, by number, in order, each
    /// with what is in it.
    Compared(Vec<(u16, Within<K>)>),
    /// The range is cut differently here: at these keys.
    Cut {
        /// The level whose cuts they are.
        level: u8,
        /// The keys, in order.
        at: Vec<K>,
        /// The sum of each part: one more than there are cuts.
        sums: Vec<u64>,
    },
    /// What is in the range.
    Listed(Listing<K>),
    /// Keys with the fingerprints that were asked for; or, where a listing was asked for, what
    /// the responder has besides.
    Named {
        /// The sum of the range at this moment.
        sum: u64,
        /// The keys with their digests, in order.
        items: Vec<(K, Digest)>,
    },
}

/// What is in a part that differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Within<K> {
    /// Finer parts.
    Parts(Parts),
    /// One leaf, in 16 bits for each object.
    Leaf(Listing<K>),
    /// One leaf, of which the initiator lacks one object and has everything else.
    Lacked {
        /// The sum of the leaf.
        sum: u64,
        /// The key of the object.
        key: K,
        /// Its digest.
        digest: Digest,
    },
}

/// The objects of a range, by parts of their hashes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing<K> {
    /// Where the listing ends, if before the end of the range.
    pub to: Option<K>,
    /// The sum of what is listed.
    pub sum: u64,
    /// One for each object, in the order of the keys.
    pub fingerprints: Vec<u64>,
}
