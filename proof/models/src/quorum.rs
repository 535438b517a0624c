//! Writes and reads that race over three replicas.
//!
//! The state machines of the coordinator are the engine's: `Put` and `Get` decide when to
//! answer, and `model::Need` what to call it. Around them are three replicas that answer
//! whenever they like, and lose what they had not synced when they crash. A replica
//! acknowledges a write when it has synced it and answers a read with what it has staged. Any
//! reply may come late and more than once. Peers are given up on, clients give up,
//! and the answers of a read may be called slow, at any moment.
//!
//! ```text
//! put w0, w = 2:   n1 syncs, n3 syncs ──► acknowledged
//! get,    r = 2:   begins; n2 answers {}, n3 answers {w0} ──► {w0}, strict; n2 is repaired
//! ```
//!
//! An object is a set of writes, and merging is union: whatever supersedes a write is, to
//! the coordinator, a greater object. The puts are retries of one client or puts of two; that is
//! the same to the replicas.
//!
//! What must hold in every state:
//!
//! - a read that was answered `strict` has every write that was acknowledged before it began;
//! - if R + W > N, every answer is strict; if not, every answer that lacks such a write says `partial`;
//! - a write that was acknowledged is on the disks of W replicas.
//!
//! Bounds: N = 3, [`Quorums`], and at most one reply on its way from each replica to each read
//! and kind of question at a time (it may be repeated, and replaced by a later one). A second read begins when the first is answered. No disk
//! is lost.

#![expect(missing_docs, reason = "the fields of a step are said by their names")]
#![expect(clippy::indexing_slicing, reason = "indices are of the model's own making")]

mod action;

use std::collections::BTreeMap;

use coordinator::{Digest, Get, GetEffect, GetEvent, Guests, Put, PutEffect, PutEvent, Want};
use lattice::{Change, Lattice};
use model::{Name, Need, NodeId, ReadNeed, Voter, WriteNeed, has_replica};
use stateright::{Model, Property};

pub use action::Action;

/// How many replicas there are.
pub const N: usize = 3;

/// What a replica holds: a set of writes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Seen(u8);

impl Lattice for Seen {
    fn merge(&mut self, other: Self) -> Change {
        let merged = Self(self.0 | other.0);
        let change = if merged == *self { Change::Unchanged } else { Change::Grew };
        *self = merged;
        change
    }
}

impl Seen {
    fn one(put: usize) -> Self {
        Self(1 << put)
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Which rule is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// None.
    Sound,
    /// An acknowledgement that comes twice is counted as that of another replica.
    CountedTwice,
    /// A replica that could not be reached is counted as if it had answered.
    FailureCounted,
    /// An acknowledgement of an earlier attempt is counted for the latest.
    LateAckCounted,
    /// An answer to an earlier read is counted for the latest.
    LateReplyCounted,
    /// A replica acknowledges before it has synced.
    AckBeforeSync,
}

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct Quorums {
    /// Which rule is broken.
    pub variant: Variant,
    /// How many replicas a write waits for.
    pub w: u8,
    /// How many replicas a read waits for.
    pub r: u8,
    /// How many writes there are.
    pub puts: usize,
    /// How many reads there are.
    pub gets: usize,
    /// How many crashes there may be.
    pub crashes: u8,
    /// How many times a peer may be given up on.
    pub failures: u8,
}

/// One replica.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Holding {
    staged: Seen,
    synced: Seen,
}

/// One write of a client.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Putting {
    put: Put,
    is_met: bool,
}

/// One read of a client.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Getting {
    get: Get<Seen>,
    /// What was acknowledged when it began.
    must_see: Seen,
    /// What it was answered, and how that was called.
    answer: Option<(Seen, bool)>,
    /// Who was asked for what, and the reply that is on its way, if there is one.
    asked: BTreeMap<(usize, bool), Option<Seen>>,
    /// What laggards are sent.
    repair: BTreeMap<usize, Seen>,
}

/// Everything, at one moment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    replicas: [Holding; N],
    puts: Vec<Putting>,
    gets: Vec<Getting>,
    acknowledged: Seen,
    crashes: u8,
    failures: u8,
}

/// Strict reads see.
pub const STRICT_SEES: &str = "a strict read has what was acknowledged before it began";
/// Every read sees. True only if R + W > N.
pub const ALL_SEE: &str = "every read has what was acknowledged before it began";
/// Some read does not, and says `partial`. Only if R + W <= N.
pub const MISSES: &str = "a read lacks what was acknowledged, and is called partial";
/// Answers are strict exactly if R + W > N.
pub const LABELLED: &str = "answers are strict if R + W > N, and partial if one may miss";
/// An acknowledged write is on W disks.
pub const DURABLE: &str = "what is acknowledged is on the disks of W replicas";

fn node(index: usize) -> NodeId {
    NodeId::new(u16::try_from(index).expect("few nodes"))
}

fn index(node: NodeId) -> usize {
    usize::from(node.number())
}

fn digest(seen: &Seen) -> Digest {
    Digest(u64::from(seen.0))
}

/// So many of the replicas, whichever they are.
fn some(count: u8) -> Need {
    let here = Name::new("here").expect("a name");
    let voter = |i| Voter { node: node(i), region: here.clone(), zone: here.clone(), votes: 1 };
    let voters: Vec<Voter> = (0..N).map(voter).collect();
    Need::default().and_votes(&voters, count.into())
}

impl Quorums {
    fn meets(&self) -> bool {
        N < usize::from(self.r) + usize::from(self.w)
    }

    fn start_put(&self, state: &mut State) {
        let replicas: Vec<NodeId> = (0..N).map(node).collect();
        let need = WriteNeed { acks: some(self.w), disks: some(self.w), ..WriteNeed::default() };
        let put = Put::start(&replicas, Guests::default(), need, &mut Vec::new());
        state.puts.push(Putting { put, is_met: false });
    }

    /// Reads ask the replicas in another order each time.
    fn start_get(&self, state: &mut State) {
        let first = state.gets.len();
        let replicas: Vec<NodeId> = (0..N).map(|i| node((first + i) % N)).collect();
        let mut out = Vec::new();
        let need = ReadNeed { answers: some(self.r), ..ReadNeed::default() };
        let get = Get::start(&replicas, Guests::default(), need, digest, &mut out);
        let (asked, repair) = (BTreeMap::new(), BTreeMap::new());
        let must_see = state.acknowledged;
        let mut getting = Getting { get, must_see, answer: None, asked, repair };
        self.effects(&mut getting, out);
        state.gets.push(getting);
    }

    /// Without crashes it makes no difference when a replica syncs: its acknowledgement may
    /// come late enough.
    fn merge(&self, replica: &mut Holding, seen: Seen) {
        let _ = replica.staged.merge(seen);
        if self.crashes == 0 && self.variant != Variant::AckBeforeSync {
            replica.synced = replica.staged;
        }
    }

    fn effects(&self, getting: &mut Getting, out: Vec<GetEffect<Seen>>) {
        for effect in out {
            match effect {
                GetEffect::Fetch(to, want) => {
                    getting.asked.insert((index(to), want == Want::Full), None);
                }
                GetEffect::Met(seen, acks) => {
                    assert!(getting.answer.is_none(), "a read is answered once");
                    let is_strict = some(self.w).must_meet(|node| has_replica(&acks, node));
                    getting.answer = Some((seen, is_strict));
                }
                GetEffect::Unmet(_) | GetEffect::Settle(_) | GetEffect::Unsettled(_) => {}
                GetEffect::Merge(to, seen) => {
                    getting.repair.insert(index(to), seen);
                }
            }
        }
        if getting.get.is_done() && self.variant != Variant::LateReplyCounted {
            getting.asked.clear();
        }
    }

    fn put_event(&self, state: &mut State, put: usize, event: PutEvent) {
        let mut out = Vec::new();
        let putting = &mut state.puts[put];
        putting.put.step(event, &mut out);
        if out.iter().any(|effect| matches!(effect, PutEffect::Met(_))) {
            putting.is_met = true;
            let _ = state.acknowledged.merge(Seen::one(put));
        }
    }

    fn get_event(&self, state: &mut State, get: usize, event: GetEvent<Seen>) {
        let mut out = Vec::new();
        let getting = &mut state.gets[get];
        getting.get.step(event, &mut out);
        self.effects(getting, out);
    }

    fn ack(&self, state: &mut State, put: usize, from: usize) {
        let merged = |from| PutEvent::Merged { node: node(from), durable: true };
        match self.variant {
            Variant::CountedTwice => {
                let before = state.puts[put].put.clone();
                self.put_event(state, put, merged(from));
                if before == state.puts[put].put {
                    self.put_event(state, put, merged((from + 1) % N));
                }
            }
            Variant::LateAckCounted => {
                let latest = state.puts.len() - 1;
                self.put_event(state, latest, merged(from));
            }
            Variant::Sound
            | Variant::FailureCounted
            | Variant::LateReplyCounted
            | Variant::AckBeforeSync => self.put_event(state, put, merged(from)),
        }
    }

    fn hear(&self, state: &mut State, get: usize, from: usize, full: bool) {
        let Some(Some(seen)) = state.gets[get].asked.get(&(from, full)).copied() else { return };
        let event = match full {
            true => GetEvent::Fetched(node(from), seen),
            false => GetEvent::Digested(node(from), digest(&seen)),
        };
        let latest = state.gets.len() - 1;
        let get = if self.variant == Variant::LateReplyCounted { latest } else { get };
        self.get_event(state, get, event);
    }
}

impl Model for Quorums {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let (puts, gets) = (Vec::new(), Vec::new());
        let (crashes, failures) = (0, 0);
        let (replicas, acknowledged) = ([Holding::default(); N], Seen::default());
        vec![State { replicas, puts, gets, acknowledged, crashes, failures }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.puts.len() < self.puts {
            actions.push(Action::Put);
        }
        let is_answered = |getting: &Getting| getting.get.is_answered();
        if state.gets.len() < self.gets && state.gets.last().is_none_or(is_answered) {
            actions.push(Action::Get);
        }
        for (at, replica) in state.replicas.iter().enumerate() {
            let is_synced = replica.staged == replica.synced;
            if !is_synced {
                actions.push(Action::Sync { at });
            }
            if !is_synced && state.crashes < self.crashes {
                actions.push(Action::Crash { at });
            }
        }
        for (put, putting) in state.puts.iter().enumerate() {
            self.put_actions(state, put, putting, actions);
        }
        for (get, getting) in state.gets.iter().enumerate() {
            self.get_actions(state, get, getting, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Put => self.start_put(&mut state),
            Action::Get => self.start_get(&mut state),
            Action::Merge { put, at } => {
                self.merge(&mut state.replicas[at], Seen::one(put));
            }
            Action::Sync { at } => state.replicas[at].synced = state.replicas[at].staged,
            Action::Ack { put, from } => self.ack(&mut state, put, from),
            Action::Answer { get, at, full } => {
                let seen = state.replicas[at].staged;
                state.gets[get].asked.insert((at, full), Some(seen));
            }
            Action::Hear { get, from, full } => self.hear(&mut state, get, from, full),
            Action::Repair { get, at } => {
                let seen = state.gets[get].repair[&at];
                self.merge(&mut state.replicas[at], seen);
            }
            Action::Crash { at } => {
                state.crashes += 1;
                state.replicas[at].staged = state.replicas[at].synced;
            }
            Action::FailPut { put, at } => {
                state.failures += 1;
                let is_counted = self.variant == Variant::FailureCounted;
                let event = match is_counted {
                    true => PutEvent::Merged { node: node(at), durable: true },
                    false => PutEvent::Failed(node(at)),
                };
                self.put_event(&mut state, put, event);
            }
            Action::FailGet { get, at } => {
                state.failures += 1;
                self.get_event(&mut state, get, GetEvent::Failed(node(at)));
            }
            Action::EndPut { put } => self.put_event(&mut state, put, PutEvent::Deadline),
            Action::EndGet { get } => self.get_event(&mut state, get, GetEvent::Deadline),
            Action::Slow { get } => self.get_event(&mut state, get, GetEvent::Slow),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(STRICT_SEES, |_, state: &State| {
                state.answers().all(|(must, seen, strict)| !strict || seen.has(must))
            }),
            Property::always(LABELLED, |model: &Self, state: &State| {
                let is_true = |(must, seen, strict): (Seen, Seen, bool)| {
                    if model.meets() { strict } else { !strict || seen.has(must) }
                };
                state.answers().all(is_true)
            }),
            Property::always(DURABLE, |model: &Self, state: &State| {
                (0..state.puts.len()).filter(|put| state.puts[*put].is_met).all(|put| {
                    let on_disk = |replica: &&Holding| replica.synced.has(Seen::one(put));
                    usize::from(model.w) <= state.replicas.iter().filter(on_disk).count()
                })
            }),
            Property::sometimes("a read began after an acknowledgement", |_, state: &State| {
                state.answers().any(|(must, _, _)| must != Seen::default())
            }),
        ];
        let all_see = Property::always(ALL_SEE, |_, state: &State| {
            state.answers().all(|(must, seen, _)| seen.has(must))
        });
        properties.extend(self.meets().then_some(all_see.clone()));
        let may_miss = Property::sometimes(MISSES, |_, state: &State| {
            state.answers().any(|(must, seen, strict)| !seen.has(must) && !strict)
        });
        properties.extend((!self.meets()).then_some(may_miss));
        properties
    }
}

impl State {
    /// What each answered read had to have, what it had, and whether that was called strict.
    fn answers(&self) -> impl Iterator<Item = (Seen, Seen, bool)> {
        let answer = |getting: &Getting| {
            getting.answer.map(|(seen, strict)| (getting.must_see, seen, strict))
        };
        self.gets.iter().filter_map(answer)
    }
}
