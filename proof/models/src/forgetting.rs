//! When may a replica forget that something was ever there?
//!
//! A tombstone keeps a deleted value from coming back, and a context keeps a superseded one
//! from doing so. Both would grow for ever if nothing were forgotten; and whoever forgets while somebody
//! still holds the old value gives up the only evidence against it.
//!
//! The rules under test, as functions of an object and of what is *settled* (which dots are known
//! to be on the disks of all who may hold a value):
//!
//! - [`may_forget_tombstone`]: every dot of its context is settled (R5);
//! - [`forgettable`]: of a live object, a dot whose value is not held here, and that is settled
//!   together with a dot that superseded it.
//!
//! The world: three replicas that are the engine's, and a guest, which is one too but
//! keeps what it holds only until the replicas have it. Writes are sent to all and may arrive late,
//! repeatedly or never; from time to time one node brings another up to date by its
//! *current* object, which after forgetting may be nothing. The guest's hint is such an exchange.
//!
//! ```text
//! w0 at n1 ──► n2, n3 and the guest       w1 deletes it at n2       n2 forgets ──► and n3 still holds w0
//! ```
//!
//! What must hold in every state:
//!
//! - once some replica has given up its evidence against a value, nobody holds that value;
//! - if from here on everybody is brought up to date by everybody, replicas hold the same:
//!   every value that no other write had read, and nothing else.
//!
//! What a node knows of the others lags behind in reality. Here it forgets by what is true
//! of their disks at that moment. That is the worst case: clocks only grow, so knowledge that comes later
//! permits less.
//!
//! Bounds: one key, [`Forgetting`]. A write is on disk where it was accepted: before that it is
//! promised to nobody. Disks are not lost, nor single records.

#![expect(missing_docs, reason = "the fields of a step are said by their names")]
#![expect(clippy::indexing_slicing, reason = "indices are of the model's own making")]

mod action;

use std::sync::Arc;

use causality::{Dot, DotSet};
use model::Object;
use replica::Replica;
use stateright::{Model, Property};

use crate::history::{History, Writes, Written};
use crate::world::{self, Disk};

pub use action::Action;

/// The guest, after the three replicas.
const GUEST: usize = 3;

/// Returns whether a replica may forget a tombstone: all that it speaks of is settled.
pub fn may_forget_tombstone(object: &Object, settled: &DotSet) -> bool {
    object.is_tombstone() && settled.is_superset(object.context())
}

/// The dots that a live object may forget. `superseded_by` names a dot that superseded another, as
/// far as the replica has heard of one.
pub fn forgettable(
    object: &Object,
    settled: &DotSet,
    superseded_by: impl Fn(Dot) -> Vec<Dot>,
) -> Vec<Dot> {
    let is_done = |dot: &Dot| {
        !object.values().contains_key(dot)
            && settled.contains(*dot)
            && superseded_by(*dot).into_iter().any(|by| settled.contains(by))
    };
    dots(object.context()).filter(is_done).collect()
}

fn dots(set: &DotSet) -> impl Iterator<Item = Dot> {
    let dots = |run: &causality::Run| {
        let incarnation = run.incarnation;
        (run.first..=run.last).map(move |seq| Dot::new(incarnation, seq))
    };
    set.runs().iter().flat_map(dots)
}

/// Which rule is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// None.
    Sound,
    /// A tombstone is forgotten as soon as it is there.
    AtOnce,
    /// A tombstone is forgotten after some time.
    ByTimer,
    /// A tombstone is forgotten when a majority of the replicas has it.
    ByMajority,
    /// A tombstone is forgotten when the replicas have it; the guest is not asked.
    GuestNotCounted,
    /// A node says that it has a write before the write is on its disk.
    AckBeforeSync,
    /// A dot of a live object's context is forgotten when it is settled, whether or
    /// not the dot that superseded it is.
    OnlyTheOldDotSettled,
    /// The guest drops what it holds before the replicas have it.
    HintDropped,
}

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct Forgetting {
    /// Which rule is broken.
    pub variant: Variant,
    /// How many writes and deletes there may be.
    pub writes: usize,
    /// How many nodes may crash, in all.
    pub crashes: u8,
}

/// One replica, or the guest.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Member {
    replica: Replica,
    disk: Disk,
    synced: Disk,
}

/// Everything, at one moment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    members: Vec<Arc<Member>>,
    history: History,
    lives: u64,
    crashes: u8,
}

/// Evidence is given up last.
pub const EVIDENCE: &str = "what somebody has no evidence against any more is held by nobody";
/// Everybody ends with the same, and with the right thing.
pub const EQUAL: &str = "brought up to date, replicas hold what nobody has superseded";

impl Forgetting {
    /// Which dots are known to be had by all who count.
    fn settled(&self, state: &State) -> DotSet {
        let early = self.variant == Variant::AckBeforeSync;
        let has = |member: &Arc<Member>| {
            if early { member.disk.clock() } else { member.synced.clock() }
        };
        let clocks: Vec<DotSet> = state.members.iter().map(has).collect();
        let (counted, needed) = match self.variant {
            Variant::ByMajority => (&clocks[..GUEST], 2),
            Variant::GuestNotCounted => (&clocks[..GUEST], GUEST),
            Variant::Sound
            | Variant::AtOnce
            | Variant::ByTimer
            | Variant::AckBeforeSync
            | Variant::OnlyTheOldDotSettled
            | Variant::HintDropped => (&clocks[..], clocks.len()),
        };
        let all = state.history.writes.iter().map(|write| write.dot);
        all.filter(|dot| needed <= counted.iter().filter(|clock| clock.contains(*dot)).count())
            .collect()
    }

    fn may_forget_tombstone(&self, state: &State, at: usize, settled: &DotSet) -> bool {
        let object = state.members[at].disk.held();
        let unasked = [Variant::AtOnce, Variant::ByTimer].contains(&self.variant);
        if unasked { object.is_tombstone() } else { may_forget_tombstone(&object, settled) }
    }

    fn forgettable(&self, state: &State, at: usize, settled: &DotSet) -> Vec<Dot> {
        let member = &state.members[at];
        let object = member.disk.held();
        let clock = member.replica.clock();
        let superseded_by = |dot: Dot| {
            if self.variant == Variant::OnlyTheOldDotSettled {
                return vec![dot];
            }
            state.history.superseded_by(dot).into_iter().filter(|by| clock.contains(*by)).collect()
        };
        if object.is_tombstone() { vec![] } else { forgettable(&object, settled, superseded_by) }
    }

    fn merge(&self, state: &mut State, at: usize, incoming: Object) {
        let member = Arc::make_mut(&mut state.members[at]);
        world::merge(&mut member.replica, &mut member.disk, incoming);
        self.after_change(state, at);
    }

    fn after_change(&self, state: &mut State, at: usize) {
        let member = Arc::make_mut(&mut state.members[at]);
        if self.variant == Variant::AtOnce && member.disk.held().is_tombstone() {
            member.disk.object = None;
        }
        if self.crashes == 0 {
            member.synced = member.disk.clone();
        }
    }

    fn forget(&self, state: &mut State, at: usize, dots: &[Dot]) {
        let member = Arc::make_mut(&mut state.members[at]);
        let mut object = member.disk.held();
        dots.iter().for_each(|dot| object.leave_out(*dot));
        member.disk.object = Some(object);
        self.after_change(state, at);
    }

    fn forget_object(&self, state: &mut State, at: usize) {
        Arc::make_mut(&mut state.members[at]).disk.object = None;
        self.after_change(state, at);
    }

    fn write(&self, state: &mut State, at: usize, is_blind: bool, is_delete: bool) {
        let number = u8::try_from(state.history.writes.len()).expect("few writes");
        let seen = if is_blind { Object::default() } else { state.members[at].disk.held() };
        let read = state.history.known(&seen);
        let member = Arc::make_mut(&mut state.members[at]);
        let context = seen.context().clone();
        let (replica, disk) = (&mut member.replica, &mut member.disk);
        let stored = world::write(replica, disk, number, is_delete, context);
        let (dot, object) = (stored.dot, stored.object);
        state.history.writes.push(Arc::new(Written { dot, is_delete, read, object }));
        self.after_change(state, at);
        let member = Arc::make_mut(&mut state.members[at]);
        member.synced = member.disk.clone();
    }

    /// Whether the guest may drop what it holds: the replicas have it on disk.
    fn may_discharge(&self, state: &State) -> bool {
        let held = state.members[GUEST].disk.held();
        let has = |member: &Arc<Member>| member.synced.clock().is_superset(held.context());
        let is_dropped = self.variant == Variant::HintDropped;
        !held.is_bottom() && (is_dropped || state.members[..GUEST].iter().all(has))
    }
}

impl Model for Forgetting {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let lives = 4;
        let member = |life| {
            let disk = Disk::default();
            let replica = world::start(life, &disk);
            Arc::new(Member { replica, synced: disk.clone(), disk })
        };
        let members = (1..=lives).map(member).collect();
        vec![State { members, history: History::default(), lives, crashes: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let writes = state.history.writes.len();
        let settled = self.settled(state);
        for (at, member) in state.members.iter().enumerate() {
            let is_bottom = member.disk.held().is_bottom();
            // Replicas are alike until one of them has written: call that one n1.
            if writes < self.writes && (0 < writes || at == 0 || at == GUEST) {
                actions.push(Action::Write { at, is_blind: true, is_delete: false });
                if !is_bottom {
                    actions.push(Action::Write { at, is_blind: false, is_delete: false });
                    actions.push(Action::Write { at, is_blind: false, is_delete: true });
                }
            }
            actions.extend((0..writes).map(|w| Action::Deliver { write: w as u8, at }));
            if !is_bottom {
                let others = (0..state.members.len()).filter(|to| *to != at);
                actions.extend(others.map(|to| Action::Exchange { from: at, to }));
            }
            if member.disk != member.synced {
                actions.push(Action::Sync { at });
                let may_crash = state.crashes < self.crashes;
                actions.extend(may_crash.then_some(Action::Crash { at }));
            }
            if self.may_forget_tombstone(state, at, &settled) {
                actions.push(Action::ForgetTombstone { at });
            }
            if !self.forgettable(state, at, &settled).is_empty() {
                actions.push(Action::ForgetContext { at });
            }
        }
        actions.extend(self.may_discharge(state).then_some(Action::Discharge));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write { at, is_blind, is_delete } => {
                self.write(&mut state, at, is_blind, is_delete);
            }
            Action::Deliver { write, at } => {
                let object = state.history.writes[usize::from(write)].object.clone();
                self.merge(&mut state, at, object);
            }
            Action::Exchange { from, to } => {
                let object = state.members[from].disk.held();
                self.merge(&mut state, to, object);
            }
            Action::Sync { at } => {
                let member = Arc::make_mut(&mut state.members[at]);
                member.synced = member.disk.clone();
            }
            Action::Crash { at } => {
                state.crashes += 1;
                state.lives += 1;
                let member = Arc::make_mut(&mut state.members[at]);
                member.disk = member.synced.clone();
                member.replica = world::start(state.lives, &member.disk);
            }
            Action::ForgetTombstone { at } => self.forget_object(&mut state, at),
            Action::ForgetContext { at } => {
                let dots = self.forgettable(&state, at, &self.settled(&state));
                self.forget(&mut state, at, &dots);
            }
            Action::Discharge => self.forget_object(&mut state, GUEST),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(EVIDENCE, |_, state: &State| state.keeps_evidence()),
            Property::always(EQUAL, |model: &Self, state: &State| model.ends_equal(state)),
            Property::sometimes("a tombstone was forgotten everywhere", |_, state: &State| {
                let is_empty = |member: &Arc<Member>| {
                    member.disk.held().is_bottom() && !member.replica.clock().is_empty()
                };
                state.history.writes.iter().any(|write| write.is_delete)
                    && state.members.iter().all(is_empty)
            }),
        ]
    }
}

impl State {
    /// Whether nobody holds a value against which a replica has given up its evidence.
    fn keeps_evidence(&self) -> bool {
        let held = self.members.iter().map(|member| self.history.held(&member.disk.held()));
        let held = held.fold(Writes::default(), Writes::with);
        self.members[..GUEST].iter().all(|member| {
            let context = member.disk.held().context().clone();
            let clock = member.replica.clock();
            let is_given_up = |write: &Written| {
                clock.contains(write.dot)
                    && !context.contains(write.dot)
                    && self.history.superseded_by(write.dot).iter().any(|by| clock.contains(*by))
            };
            (0..)
                .zip(&self.history.writes)
                .all(|(number, write)| !(held.contains(number) && is_given_up(write)))
        })
    }
}

impl Forgetting {
    /// Lets everybody bring everybody up to date until nothing changes, and compares.
    fn ends_equal(&self, state: &State) -> bool {
        let mut end = state.clone();
        loop {
            let before = end.clone();
            for from in 0..end.members.len() {
                for to in (0..end.members.len()).filter(|to| *to != from) {
                    let object = end.members[from].disk.held();
                    if !object.is_bottom() {
                        self.merge(&mut end, to, object);
                    }
                }
            }
            if end == before {
                break;
            }
        }
        let live = end.history.live();
        let held = |member: &Arc<Member>| end.history.held(&member.disk.held());
        end.members[..GUEST].iter().all(|member| held(member) == live)
    }
}
