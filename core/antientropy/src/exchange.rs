//! The initiator's side of comparing two trees.
//!
//! The initiator keeps a list of ranges that differ, in the order of keys, and each round
//! makes the first of them finer, as many as fit into a message. Two levels are gone through
//! in a round, as each side says what is in what it found to differ:
//!
//! ```text
//!  initiator                                     responder (keeps nothing)
//!  Compare  a..z  sums of its 4 parts      ──►   the third differs
//!           the third differs, and in it   ◄──   Compared  3: sums of its 8 parts
//!           the second
//!  Compare  m..n  sums of its 8 parts      ──►   the fifth differs, and is one leaf
//!           one object is not known here   ◄──   Compared  5: 64 fingerprints
//!  Name     ma..mc  one fingerprint        ──►
//!           its key; the sum comes out     ◄──   Named  the key with its digest
//! ```
//!
//! Ranges are stretches of keys, never nodes of a tree: where one side has a key that begins
//! a range and the other has not, the responder answers [`Cut`](crate::Answer::Cut) with its own
//! cuts, and the initiator sums up its objects between those.
//!
//! A leaf in which one side has one object more, and which is the same otherwise, needs no list:
//! the difference of its two sums is the hash of that object, and who has it sees that. It is
//! found at once by the initiator, or named at once by the responder.
//!
//! Any other leaf is settled when the objects that both have, and those that were named, come to the
//! sum of the responder. That is a proof, but for 2⁻⁶⁴. Otherwise something has changed
//! meanwhile or short fingerprints were equal by chance, and it is listed again, in full. A leaf that has
//! changed each time is given up: nothing is proved of it, and what seemed to differ is said.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::listing::{Item, Naming, hashed, sum};
use crate::message::{Answers, Ask, Limits, Questions, Width};
use crate::range::scan;
use crate::size::Meter;
use crate::{Digest, Items, KeyRange, Tree, TreeKey};

/// How many ranges are asked about at first. As many leaves take half of a message of the
/// default [`Limits`] to list.
const WINDOW: usize = 512;

/// Above so many leaves of ours a range is listed in pieces, so that few objects are in memory.
const LEAVES_LISTED_MAX: usize = 16;

/// A key under which two replicas hold different objects, or which only one holds.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Difference<K> {
    /// The key.
    pub key: K,
    /// What the initiator holds.
    pub ours: Option<Digest>,
    /// What the responder holds.
    pub theirs: Option<Digest>,
}

/// What an exchange has come to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Rounds that were asked for.
    pub rounds: u64,
    /// Keys that were found to differ.
    pub differences: u64,
    /// Ranges that changed each time they were looked at, and were given up. They may hold
    /// differences that were not found, and some that were found may be none any more.
    pub unsettled: u64,
    /// Ranges that differed, and in which no difference was found. If nothing was changed
    /// meanwhile, one of the trees does not say what is stored, and a scrub is due.
    pub vanished: u64,
}

/// An exchange cannot go on, and is to be dropped. Differences that it had found are true.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Stopped<E> {
    /// The answers are not such as a responder gives to these questions.
    #[error("answers that no responder gives: {0}")]
    Malformed(&'static str),
    /// The tree is being rebuilt, and knows only a part of the shard.
    #[error("the tree of this shard is being rebuilt")]
    NotWhole,
    /// The store could not be read.
    #[error("the store could not be read")]
    Store(E),
}

/// What is to be done about a range.
#[derive(Clone, Debug)]
pub(crate) enum Task<K> {
    /// Find out where it differs. The keys that it was cut at when it was asked about.
    Compare(Vec<K>),
    /// Find out what is in it.
    List(Width, u8),
    /// Learn the keys of these fingerprints.
    Name(Naming, Vec<u64>),
}

/// One comparison of our tree with that of another replica.
///
/// It keeps ranges, and no objects: some for each range of the last questions and for each
/// level, whatever differs. How many [rounds](Outcome::rounds) are too many, because a responder
/// makes up new ranges for ever, is for the caller to say, who may drop it at any time.
///
/// Invariant: ranges that are pending or asked do not overlap.
#[derive(Clone, Debug)]
pub struct Exchange<K> {
    limits: Limits,
    /// How many ranges are asked about at once: as many as were answered last time, or a quarter
    /// more if all were. What is not answered was sent for nothing: with twice as many each time
    /// it was a third of all.
    window: usize,
    pending: BTreeMap<Option<K>, (KeyRange<K>, Task<K>)>,
    asked: Vec<(KeyRange<K>, Task<K>)>,
    /// Whether anything was heard. What is asked about first need not differ.
    has_heard: bool,
    /// How many more objects may be read to tell at once what one step has found.
    pub(crate) reads_left: usize,
    pub(crate) outcome: Outcome,
}

/// Where an exchange reads: our tree, and our store at the same moment.
#[derive(Debug)]
pub(crate) struct Here<'a, K, S> {
    pub(crate) tree: &'a Tree<K>,
    pub(crate) store: &'a S,
}

impl<K: TreeKey> Exchange<K> {
    /// An exchange about a range, usually [all keys](KeyRange::ALL). If its [totals](Tree::total) do not
    /// differ, it is over after one round.
    pub fn new(range: KeyRange<K>, limits: Limits) -> Self {
        let mut exchange = Self {
            limits,
            window: WINDOW,
            pending: BTreeMap::new(),
            asked: Vec::new(),
            has_heard: false,
            reads_left: 0,
            outcome: Outcome::default(),
        };
        if !range.is_empty() {
            exchange.push(range, Task::Compare(Vec::new()));
        }
        exchange
    }

    /// Whether nothing is left to be asked.
    pub fn is_done(&self) -> bool {
        self.pending.is_empty() && self.asked.is_empty()
    }

    /// How many ranges are left to be asked about, as far as it is known.
    pub fn left(&self) -> usize {
        self.pending.len() + self.asked.len()
    }

    /// What it has come to so far.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The next questions, or none if the exchange is done. What was asked and not answered,
    /// as a message was lost, is asked again.
    ///
    /// # Errors
    ///
    /// [`Stopped::NotWhole`], [`Stopped::Store`].
    ///
    /// # Panics
    ///
    /// If the store reads keys out of order.
    pub fn ask<S: Items<K>>(
        &mut self,
        tree: &Tree<K>,
        store: &S,
    ) -> Result<Option<Questions<K>>, Stopped<S::Error>> {
        if !tree.is_whole() {
            return Err(Stopped::NotWhole);
        }
        for (range, task) in std::mem::take(&mut self.asked) {
            self.push(range, task);
        }
        let here = Here { tree, store };
        let mut meter = Meter::default();
        let mut asks = Vec::new();
        let ranges_max = self.limits.ranges_max.min(self.window).max(1);
        while asks.len() < ranges_max && meter.bytes < self.limits.bytes_max {
            let Some((_, (range, task))) = self.pending.pop_first() else { break };
            if matches!(task, Task::List(..)) && self.split(&here, &range, &task) {
                continue;
            }
            let (task, ask) = here.question(&range, task).map_err(Stopped::Store)?;
            meter.ask(&range, &ask);
            asks.push((range.clone(), ask));
            self.asked.push((range, task));
        }
        if asks.is_empty() {
            return Ok(None);
        }
        self.outcome.rounds += 1;
        let (salt, round) = (tree.salt().tag(), self.outcome.rounds);
        Ok(Some(Questions { salt, round, hears_lacked: true, asks }))
    }

    /// Takes in the answers to the last questions, and adds to `found` the keys that differ:
    /// each once, and those of one step in order. Answers that come twice, or to questions
    /// that were asked anew meanwhile, change nothing.
    ///
    /// # Errors
    ///
    /// [`Stopped`].
    ///
    /// # Panics
    ///
    /// If the store reads keys out of order.
    pub fn step<S: Items<K>>(
        &mut self,
        answers: Answers<K>,
        tree: &Tree<K>,
        store: &S,
        found: &mut Vec<Difference<K>>,
    ) -> Result<(), Stopped<S::Error>> {
        if !tree.is_whole() {
            return Err(Stopped::NotWhole);
        }
        if answers.round != self.outcome.rounds || self.asked.is_empty() {
            return Ok(());
        }
        let mut asked = std::mem::take(&mut self.asked);
        if answers.answers.is_empty() || answers.answers.len() > asked.len() {
            return Err(Stopped::Malformed("no answers, or more than questions"));
        }
        self.open_window(asked.len(), answers.answers.len());
        let unanswered = asked.split_off(answers.answers.len());
        for (range, task) in unanswered {
            self.push(range, task);
        }
        self.reads_left = self.limits.items_max;
        let here = Here { tree, store };
        for ((range, task), answer) in asked.into_iter().zip(answers.answers) {
            self.hear(&here, range, task, answer, found)?;
            self.has_heard = true;
        }
        Ok(())
    }

    /// The sums of a range are the same. It was said to differ if it is a part of another.
    pub(crate) fn find_nothing(&mut self) {
        self.outcome.vanished += u64::from(self.has_heard);
    }

    fn open_window(&mut self, asked: usize, answered: usize) {
        if answered < asked {
            self.window = answered;
        } else if asked >= self.window {
            self.window = self.window.saturating_add((self.window / 4).max(1));
        }
    }

    pub(crate) fn push(&mut self, range: KeyRange<K>, task: Task<K>) {
        self.pending.insert(range.from.clone(), (range, task));
    }

    /// Makes several of a range in which we have many leaves, or leaves it as it is.
    pub(crate) fn split<S>(
        &mut self,
        here: &Here<'_, K, S>,
        range: &KeyRange<K>,
        task: &Task<K>,
    ) -> bool {
        let leaves = here.tree.cuts_at(0, range);
        let cuts: Vec<K> =
            leaves.into_iter().skip(LEAVES_LISTED_MAX - 1).step_by(LEAVES_LISTED_MAX).collect();
        for part in range.parts(&cuts).filter(|_| !cuts.is_empty()) {
            self.push(part, task.clone());
        }
        !cuts.is_empty()
    }
}

impl<K: TreeKey, S: Items<K>> Here<'_, K, S> {
    fn question(&self, range: &KeyRange<K>, task: Task<K>) -> Result<(Task<K>, Ask), S::Error> {
        Ok(match task {
            Task::Compare(_) => {
                let cuts = self.tree.cuts(range);
                let parts = self.tree.parts(range, &cuts, self.store)?;
                (Task::Compare(cuts.at), Ask::Compare(parts))
            }
            Task::List(width, attempt) => {
                let sum = (attempt == 0).then(|| self.tree.summary(range, self.store));
                let sum = sum.transpose()?.map(|summary| summary.sum);
                (Task::List(width, attempt), Ask::List(width, sum))
            }
            Task::Name(naming, wanted) => {
                let ask = Ask::Name(naming.width, wanted.clone());
                (Task::Name(naming, wanted), ask)
            }
        })
    }

    /// What we hold in a range.
    pub(crate) fn items(&self, range: &KeyRange<K>) -> Result<Vec<Item<K>>, S::Error> {
        let mut items = Vec::new();
        scan(self.store, range, |key, digest| items.push((key.clone(), digest)))?;
        Ok(self.hashed(items))
    }

    pub(crate) fn hashed(&self, items: Vec<(K, Digest)>) -> Vec<Item<K>> {
        hashed(self.tree.salt(), items)
    }

    /// The one object without which we would have what comes to `theirs`, where we have one leaf. What
    /// is read counts for so many as are left.
    pub(crate) fn besides(
        &self,
        range: &KeyRange<K>,
        theirs: u64,
        left: &mut usize,
    ) -> Result<Option<Item<K>>, S::Error> {
        if *left == 0 || !self.tree.cuts_at(0, range).is_empty() {
            return Ok(None);
        }
        let items = self.items(range)?;
        *left = left.saturating_sub(items.len());
        let difference = sum(&items).wrapping_sub(theirs);
        Ok(items.into_iter().find(|item| item.hash == difference))
    }
}
