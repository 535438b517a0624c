//! One read: enough answers, merged, and the laggards brought up to date.
//!
//! Replicas usually agree, so one of them is asked for the object and the others for a
//! digest only. A digest that matches no object heard is followed by a fetch of the whole,
//! so the answer is always the merge of everything that the counted replicas hold.
//!
//! Where replicas are away and those that are left cannot be enough, guests are asked what
//! they keep for them. What a guest says is merged into the answer like anything else. It is
//! never repaired: it keeps what others are owed, and is nobody's replica.
//!
//! Who wants to know what everybody knows, and not only enough of them, asks
//! [all](Get::ask_all) of them, and is answered when all have been heard or it is too late:
//! with what those hold together who were.

mod asking;
mod heard;
mod settling;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

use lattice::{Change, Lattice};
use model::{Ack, Need, NodeId, ReadNeed};
use mutant::{Mutant, is};

use crate::{Digest, Guests};
use settling::Settling;

/// How much of an object is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Want {
    /// All of it.
    Full,
    /// Only enough to tell whether it differs.
    Digest,
}

/// What happened to a read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GetEvent<T> {
    /// A replica holds this.
    Fetched(NodeId, T),
    /// A replica holds something with this digest.
    Digested(NodeId, Digest),
    /// A replica could not read, or cannot be reached any more.
    Failed(NodeId),
    /// Those who answered lack nothing that the client has seen.
    CaughtUp,
    /// Answers [`GetEffect::Settle`].
    Known {
        /// Replicas that are known to have it on disk.
        have: Vec<NodeId>,
        /// Replicas that cannot be sent anything.
        away: Vec<NodeId>,
    },
    /// A replica has merged what it was sent.
    Repaired(NodeId),
    /// A replica could not merge what it was sent.
    NotRepaired(NodeId),
    /// The answers take longer than usual: ask one more who may help.
    Hedge,
    /// The answers take long: ask everybody who may help.
    Slow,
    /// The client waits no longer.
    Deadline,
}

/// What a read wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GetEffect<T> {
    /// Ask this replica.
    Fetch(NodeId, Want),
    /// Answer: these hold this together.
    Met(T, Vec<Ack>),
    /// Answer: only these told what they hold.
    Unmet(Vec<Ack>),
    /// Of a monotonic read: who is known to have this? Answered by [`GetEvent::Known`].
    Settle(T),
    /// Answer: these hold something together that is not at so many replicas that every later
    /// read must meet it.
    Unsettled(Vec<Ack>),
    /// Bring this replica up to date.
    Merge(NodeId, T),
}

/// What is known of a replica that was asked.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Heard<T> {
    Nothing,
    Digest(Digest),
    /// It was asked for the whole, because its digest matched nothing.
    Differs,
    Object(T, Digest),
    Failed,
}

/// How many are heard before the client is answered.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Extent {
    /// As many as are needed.
    Enough,
    /// Everybody who was asked, and these, who are no replicas.
    Everybody(Vec<NodeId>),
}

/// One read, until its client is answered and its replicas are repaired.
#[derive(Clone, Debug)]
pub struct Get<T> {
    need: ReadNeed,
    guests: Guests,
    extent: Extent,
    digest: fn(&T) -> Digest,
    asked: BTreeMap<NodeId, Heard<T>>,
    spares: VecDeque<NodeId>,
    /// Of a monotonic read.
    settling: Option<Box<Settling<T>>>,
    /// Whether those who answered lack something that the client has seen.
    is_behind: bool,
    is_answered: bool,
    is_done: bool,
}

/// What two reads are compared by.
type Progress<'a, T> = (
    (&'a ReadNeed, &'a Guests, &'a Extent, &'a BTreeMap<NodeId, Heard<T>>, &'a VecDeque<NodeId>),
    (Option<&'a Settling<T>>, bool, bool, bool),
);

/// Two reads are equal if they will do the same from here on. A program has one way to
/// digest an object, so that is not compared.
impl<T: Eq> PartialEq for Get<T> {
    fn eq(&self, other: &Self) -> bool {
        self.progress() == other.progress()
    }
}

impl<T: Eq> Eq for Get<T> {}

impl<T: Hash> Hash for Get<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.progress().hash(state);
    }
}

impl<T> Get<T> {
    fn progress(&self) -> Progress<'_, T> {
        let Self { need, guests, extent, asked, spares, .. } = self;
        let settling = self.settling.as_deref();
        (
            (need, guests, extent, asked, spares),
            (settling, self.is_behind, self.is_answered, self.is_done),
        )
    }
}

impl<T: Lattice + Clone> Get<T> {
    /// Asks as many replicas of the list as are needed: the first for the object, the others
    /// for digests. The rest are spares.
    pub fn start(
        replicas: &[NodeId],
        guests: Guests,
        need: ReadNeed,
        digest: fn(&T) -> Digest,
        out: &mut Vec<GetEffect<T>>,
    ) -> Self {
        let mut get = Self {
            need,
            guests,
            extent: Extent::Enough,
            digest,
            asked: BTreeMap::new(),
            spares: replicas.iter().copied().collect(),
            settling: None,
            is_behind: false,
            is_answered: false,
            is_done: false,
        };
        get.ask_enough(Want::Digest, out);
        get
    }

    /// Asks all of these for the object: the replicas, and guests, who may keep a part of it.
    /// Whoever answers in time is enough.
    pub fn ask_all(
        replicas: &[NodeId],
        guests: Vec<NodeId>,
        digest: fn(&T) -> Digest,
        out: &mut Vec<GetEffect<T>>,
    ) -> Self {
        let all = replicas.iter().chain(&guests).copied().collect::<Vec<_>>();
        let mut get = Self {
            need: ReadNeed::default(),
            guests: Guests::default(),
            extent: Extent::Everybody(guests),
            digest,
            asked: BTreeMap::new(),
            spares: VecDeque::new(),
            settling: None,
            is_behind: false,
            is_answered: false,
            is_done: false,
        };
        for node in all {
            get.ask(node, Want::Full, out);
        }
        get
    }

    /// What each told that was asked for the object and answered.
    pub fn told(&self) -> impl Iterator<Item = (NodeId, &T)> {
        self.asked.iter().filter_map(|(node, heard)| match heard {
            Heard::Object(object, _) => Some((*node, object)),
            Heard::Nothing | Heard::Digest(_) | Heard::Differs | Heard::Failed => None,
        })
    }

    /// The replicas that are known to hold something else than all do together.
    pub fn differing(&self) -> Vec<NodeId> {
        let Some(merged) = self.merged() else { return Vec::new() };
        let whole = (self.digest)(&merged);
        let is_other = |(node, digest): &(NodeId, Digest)| {
            *digest != whole && self.guests.stands_for(*node).is_none()
        };
        self.known().into_iter().filter(is_other).map(|(node, _)| node).collect()
    }

    /// The same read, which answers only when so many of these replicas have what it answers.
    #[must_use]
    pub fn settled_at(mut self, need: Need, replicas: &[NodeId]) -> Self {
        self.settling = Some(Box::new(Settling::new(need, replicas)));
        self
    }

    /// The same read, which answers only when those that answered are known to lack nothing that
    /// the client has seen.
    #[must_use]
    pub fn of_session(mut self) -> Self {
        self.is_behind = true;
        self
    }

    /// Whether those that answered may lack something that the client has seen.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether it answers only what every later read must meet.
    pub fn is_monotonic(&self) -> bool {
        self.settling.is_some()
    }

    /// Whether its answer is found, and is being brought to enough replicas.
    pub fn is_settling(&self) -> bool {
        self.held().is_some()
    }

    /// Whom it waits for.
    pub fn need(&self) -> &ReadNeed {
        &self.need
    }

    /// Whether the client has been answered and all that were asked have been heard.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether the client has been answered. What follows is repair.
    pub fn is_answered(&self) -> bool {
        self.is_answered
    }

    /// Takes in what happened.
    pub fn step(&mut self, event: GetEvent<T>, out: &mut Vec<GetEffect<T>>) {
        if self.is_done {
            return;
        }
        match event {
            GetEvent::Fetched(node, object) => {
                let digest = (self.digest)(&object);
                let _ = self.hear(node, Heard::Object(object, digest));
                self.agrees(node, digest);
            }
            GetEvent::Digested(node, digest) => {
                let _ = self.hear(node, Heard::Digest(digest));
                self.agrees(node, digest);
            }
            GetEvent::Failed(node) => {
                self.loses(node, out);
                self.fail(node, out);
            }
            GetEvent::CaughtUp => self.is_behind = false,
            GetEvent::Known { have, away } => self.known_at(&have, &away, out),
            GetEvent::Repaired(node) => {
                if let Some(settling) = &mut self.settling {
                    settling.has(node);
                }
            }
            GetEvent::NotRepaired(node) => self.loses(node, out),
            GetEvent::Hedge => self.ask_one(out),
            GetEvent::Slow if self.held().is_some() => self.write_back_to_all(out),
            GetEvent::Slow => self.ask_others(out),
            GetEvent::Deadline => self.give_up(out),
        }
        self.fetch_differing(out);
        self.answer(out);
        self.repair(out);
    }

    /// Whether what a node tells now would be taken in: it was asked, and was not given up.
    pub fn expects(&self, node: NodeId) -> bool {
        let heard = self.asked.get(&node);
        matches!(heard, Some(Heard::Nothing | Heard::Digest(_) | Heard::Differs))
    }

    /// Takes one answer of a replica that was asked and has not told more already.
    fn hear(&mut self, node: NodeId, answer: Heard<T>) -> Change {
        let Some(heard) = self.asked.get_mut(&node) else { return Change::Unchanged };
        let is_news = match (&heard, &answer) {
            (Heard::Nothing, _) => true,
            (Heard::Digest(_) | Heard::Differs, Heard::Object(..) | Heard::Failed) => true,
            (Heard::Digest(_) | Heard::Differs | Heard::Object(..) | Heard::Failed, _) => false,
        };
        if !is_news {
            return Change::Unchanged;
        }
        *heard = answer;
        Change::Grew
    }

    fn holds(&self, wanted: Digest) -> bool {
        let held =
            |heard: &Heard<T>| matches!(heard, Heard::Object(_, digest) if *digest == wanted);
        self.asked.values().any(held)
    }

    /// Once there is an object to compare with, fetches those whose digests differ.
    fn fetch_differing(&mut self, out: &mut Vec<GetEffect<T>>) {
        if !self.asked.values().any(|heard| matches!(heard, Heard::Object(..))) {
            return;
        }
        let differs = |(node, heard): (&NodeId, &Heard<T>)| match heard {
            Heard::Digest(digest) if !self.holds(*digest) && !is(Mutant::DigestIgnored) => {
                Some(*node)
            }
            Heard::Digest(_)
            | Heard::Nothing
            | Heard::Differs
            | Heard::Object(..)
            | Heard::Failed => None,
        };
        let differing: Vec<NodeId> = self.asked.iter().filter_map(differs).collect();
        for node in differing {
            self.asked.insert(node, Heard::Differs);
            out.push(GetEffect::Fetch(node, Want::Full));
        }
    }

    fn give_up(&mut self, out: &mut Vec<GetEffect<T>>) {
        if !self.is_answered {
            self.is_answered = true;
            let acks = self.acks(&self.known());
            let found = match self.extent {
                Extent::Everybody(_) => self.merged(),
                Extent::Enough => None,
            };
            out.push(match (self.held(), found) {
                (Some(held), _) => GetEffect::Unsettled(held.acks.clone()),
                (None, Some(merged)) => GetEffect::Met(merged, acks),
                (None, None) => GetEffect::Unmet(acks),
            });
        }
        for heard in self.asked.values_mut() {
            if matches!(heard, Heard::Nothing | Heard::Differs) {
                *heard = Heard::Failed;
            }
        }
    }

    /// Once all that were asked have been heard, sends the merge to each that lags.
    fn repair(&mut self, out: &mut Vec<GetEffect<T>>) {
        if !self.is_answered || self.is_waiting() {
            return;
        }
        self.is_done = true;
        let Some(merged) = self.merged() else { return };
        let whole = (self.digest)(&merged);
        for (node, digest) in self.known() {
            let is_replica = self.guests.stands_for(node).is_none() && !self.is_bystander(node);
            let was_sent = |settling: &Settling<T>| settling.was_sent(node, whole);
            let is_sent = self.settling.as_deref().is_some_and(was_sent);
            if digest != whole && is_replica && !is_sent {
                out.push(GetEffect::Merge(node, merged.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
