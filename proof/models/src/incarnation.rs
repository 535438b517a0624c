//! Dots and incarnations, when nodes crash, lose what they had not synced, lose their disk,
//! get an old copy of it back, or lose one record without noticing.
//!
//! The replicas are the engine's. Each accepts writes of clients who have read nothing, or
//! what one of the replicas shows; each write is on its way to every replica from then on,
//! and may arrive whenever it likes, also at the replica that accepted it. A replica may
//! be brought up to date with all that another holds, as a read repair does.
//!
//! ```text
//! n1 accepts w0 (a1)     n1 syncs     n1 crashes, starts as b     w0 reaches n2 ...
//! ```
//!
//! What must hold in every state:
//!
//! - no two writes have one dot (R1);
//! - who took a write in goes on holding it, or has in its place one that had read it,
//!   unless its disk was lost (R2, R4). A record that is lost can take evidence with it: of a
//!   write that a value in that record had superseded it may be said so, and not be said by what,
//!   and of no other;
//! - what was superseded at a replica is never held there again (R3);
//! - the clock, in memory and on disk, has exactly the dots that were taken in (R4, R8).
//!
//! Bounds: [`Bounds`], one key, one shard. A sync brings everything to disk at once. Disks do not lie.
//! Nodes and lives are alike until something is written, so the first write is at n1, and
//! nothing but a copy of its empty disk comes before.

#![expect(missing_docs, reason = "the fields of a step are said by their names")]
#![expect(clippy::indexing_slicing, reason = "indices are of the model's own making")]

mod action;

use std::sync::Arc;

use causality::{DotSet, Incarnation, Run};
use model::Object;
use replica::Replica;
use stateright::{Model, Property};

use crate::history::{History, Writes, Written};
use crate::world::{self, Disk};

pub use action::Action;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variant {
    /// None.
    Sound,
    /// A node that starts again takes the incarnation it had (R1). It is only modelled for a
    /// disk that shows no dot of that incarnation: otherwise `Replica::new` refuses.
    IncarnationReadBack,
    /// The context of a write is widened to "everything up to" the dots its client had read (R2).
    ContextWidened,
    /// Old news is taken in (R3).
    OldNewsTaken,
    /// Old news is left out, and its dot is kept in the context (R3).
    OldNewsClaimed,
    /// The clock is not written with the object: after a crash it lacks the last dots (R8).
    ClockBehind,
}

/// How much may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Replicas.
    pub nodes: usize,
    /// Writes and deletes.
    pub writes: usize,
    /// Crashes, of all nodes together. What was not synced is lost.
    pub crashes: u8,
    /// Disks that are lost. The node starts with an empty one.
    pub wipes: u8,
    /// Copies of a disk that are made, and put back at any later time.
    pub copies: u8,
    /// Records that a disk loses silently, while the node runs.
    pub records: u8,
    /// Replicas brought up to date with what another holds.
    pub repairs: u8,
}

/// What is so far used up of the bounds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Spent {
    crashes: u8,
    wipes: u8,
    copies: u8,
    restores: u8,
    records: u8,
    repairs: u8,
}

/// What a disk should have, by the judge's own books. It is lost when the disk is.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Truth {
    /// The dots taken in.
    heard: DotSet,
    /// The writes that must be held here, or superseded with evidence.
    kept: Writes,
    /// The writes that were ever held or superseded here.
    past: Writes,
    /// The writes that were superseded here.
    gone: Writes,
}

/// A disk, and what it should have.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Platter {
    disk: Disk,
    truth: Truth,
}

/// One node.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Site {
    life: u64,
    replica: Replica,
    /// What reads see.
    staged: Platter,
    /// What a crash leaves.
    synced: Platter,
}

/// Everything, at one moment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    sites: Vec<Arc<Site>>,
    history: History,
    copies: Vec<(usize, Platter)>,
    lives: u64,
    /// The writes that records had heard of when they were lost.
    lost: Writes,
    spent: Spent,
}

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct Incarnations {
    /// Which rule is broken.
    pub variant: Variant,
    /// How much may happen.
    pub bounds: Bounds,
}

/// No two writes have one dot.
pub const UNIQUE: &str = "a dot is minted once";
/// Who took a write in has it, or one that had read it.
pub const KEPT: &str = "what was taken in is held, or superseded by a write that had read it";
/// No value comes back.
pub const GONE: &str = "what was superseded here is never held here again";
/// The clocks say exactly what was taken in.
pub const EXACT: &str = "the clock has exactly the dots that were taken in";

impl Site {
    fn start(life: u64, platter: Platter) -> Self {
        let replica = world::start(life, &platter.disk);
        Self { life, replica, staged: platter.clone(), synced: platter }
    }

    /// Writes down what the judge knows after the object has changed.
    fn settle(&mut self, history: &History, taken_in: &DotSet, acknowledged: Writes) {
        let object = self.staged.disk.held();
        let (held, known) = (history.held(&object), history.known(&object));
        let truth = &mut self.staged.truth;
        let _ = truth.heard.union(taken_in);
        truth.kept = truth.kept.with(known).with(acknowledged.without(truth.past));
        truth.past = truth.past.with(known).with(acknowledged);
        truth.gone = truth.gone.with(known.without(held));
    }

    fn lose_record(&mut self) {
        for platter in [&mut self.staged, &mut self.synced] {
            platter.disk.object = None;
            platter.truth.kept = Writes::default();
        }
    }
}

impl Incarnations {
    fn restart(&self, state: &mut State, at: usize, mut platter: Platter) {
        let life = state.sites[at].life;
        if self.variant == Variant::ClockBehind {
            platter.disk.forget_clock();
        }
        let is_unseen = platter.disk.clock().runs_of(Incarnation::new(life)).is_empty();
        if self.variant == Variant::IncarnationReadBack && is_unseen {
            state.sites[at] = Arc::new(Site::start(life, platter));
            return;
        }
        state.lives += 1;
        state.sites[at] = Arc::new(Site::start(state.lives, platter));
    }

    fn write(&self, state: &mut State, at: usize, read: Option<usize>, is_delete: bool) {
        let number = u8::try_from(state.history.writes.len()).expect("few writes");
        let seen = read.map(|from| state.sites[from].staged.disk.held()).unwrap_or_default();
        let known = state.history.known(&seen);
        let site = Arc::make_mut(&mut state.sites[at]);
        let mut context = seen.context().clone();
        if self.variant == Variant::ContextWidened {
            widen(&mut context);
        }
        let disk = &mut site.staged.disk;
        let stored = world::write(&mut site.replica, disk, number, is_delete, context);
        let (dot, object) = (stored.dot, stored.object);
        let taken_in = object.context().clone();
        state.history.writes.push(Arc::new(Written { dot, is_delete, read: known, object }));
        site.settle(&state.history, &taken_in, Writes::one(number));
    }

    fn merge(&self, state: &mut State, at: usize, incoming: Object, acknowledged: Writes) {
        let site = Arc::make_mut(&mut state.sites[at]);
        let (replica, disk) = (&mut site.replica, &mut site.staged.disk);
        let taken_in = incoming.context().clone();
        match self.variant {
            Variant::OldNewsTaken => world::merge_with_old_news(replica, disk, incoming),
            Variant::OldNewsClaimed => world::merge_claiming_old_news(replica, disk, incoming),
            Variant::Sound
            | Variant::IncarnationReadBack
            | Variant::ContextWidened
            | Variant::ClockBehind => world::merge(replica, disk, incoming),
        }
        site.settle(&state.history, &taken_in, acknowledged);
    }
}

/// Everything up to the greatest number of each incarnation in the context.
fn widen(context: &mut DotSet) {
    let ends: Vec<Run> = context.runs().to_vec();
    for end in ends {
        let run = Run { first: 1, ..end };
        let _ = context.union(&DotSet::from_runs(vec![run]).expect("one run"));
    }
}

impl Model for Incarnations {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let lives = self.bounds.nodes as u64;
        let sites =
            (1..=lives).map(|life| Arc::new(Site::start(life, Platter::default()))).collect();
        let (history, spent) = (History::default(), Spent::default());
        let (copies, lost) = (Vec::new(), Writes::default());
        vec![State { sites, history, copies, lives, lost, spent }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (bounds, spent) = (self.bounds, state.spent);
        let nodes = 0..bounds.nodes;
        let knows = |at: usize| !state.sites[at].staged.disk.held().is_bottom();
        if state.history.writes.is_empty() {
            // Nodes are alike until one of them has written: call that one n1.
            actions.push(Action::Write { at: 0, read: None, is_delete: false });
            if spent.copies < bounds.copies {
                actions.push(Action::Copy { at: 0 });
            }
            return;
        }
        for at in nodes.clone() {
            if state.history.writes.len() < bounds.writes {
                let read = None;
                actions.push(Action::Write { at, read, is_delete: false });
                for from in nodes.clone().filter(|from| knows(*from)) {
                    for is_delete in [false, true] {
                        actions.push(Action::Write { at, read: Some(from), is_delete });
                    }
                }
            }
            for (write, _) in (0..).zip(&state.history.writes) {
                actions.push(Action::Deliver { write, at });
            }
            let others = nodes.clone().filter(|from| *from != at && knows(*from));
            if spent.repairs < bounds.repairs {
                actions.extend(others.map(|from| Action::Repair { from, to: at }));
            }
            let site = &state.sites[at];
            if site.staged != site.synced {
                actions.push(Action::Sync { at });
            }
            let may = [
                (spent.crashes < bounds.crashes, Action::Crash { at }),
                (spent.wipes < bounds.wipes, Action::Wipe { at }),
                (spent.copies < bounds.copies, Action::Copy { at }),
                (spent.records < bounds.records && knows(at), Action::LoseRecord { at }),
            ];
            actions.extend(may.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
        }
        if spent.restores < bounds.copies {
            actions.extend((0..state.copies.len()).map(|copy| Action::Restore { copy }));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write { at, read, is_delete } => self.write(&mut state, at, read, is_delete),
            Action::Deliver { write, at } => {
                let object = state.history.writes[usize::from(write)].object.clone();
                self.merge(&mut state, at, object, Writes::one(write));
            }
            Action::Repair { from, to } => {
                state.spent.repairs += 1;
                let object = state.sites[from].staged.disk.held();
                self.merge(&mut state, to, object, Writes::default());
            }
            Action::Sync { at } => {
                let site = Arc::make_mut(&mut state.sites[at]);
                site.synced = site.staged.clone();
            }
            Action::Crash { at } => {
                state.spent.crashes += 1;
                let platter = state.sites[at].synced.clone();
                self.restart(&mut state, at, platter);
            }
            Action::Wipe { at } => {
                state.spent.wipes += 1;
                self.restart(&mut state, at, Platter::default());
            }
            Action::Copy { at } => {
                state.spent.copies += 1;
                let platter = state.sites[at].synced.clone();
                state.copies.push((at, platter));
            }
            Action::Restore { copy } => {
                state.spent.restores += 1;
                let (at, platter) = state.copies[copy].clone();
                self.restart(&mut state, at, platter);
            }
            Action::LoseRecord { at } => {
                state.spent.records += 1;
                let record = state.sites[at].staged.disk.held();
                state.lost = state.lost.with(state.history.heard(&record));
                Arc::make_mut(&mut state.sites[at]).lose_record();
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(UNIQUE, |_, state: &State| state.history.dots_are_unique()),
            Property::always(KEPT, |_, state: &State| Self::is_kept(state)),
            Property::always(GONE, |_, state: &State| {
                let is_gone = |site: &Arc<Site>| {
                    let held = state.history.held(&site.staged.disk.held());
                    held.common(site.staged.truth.gone).is_empty()
                };
                state.sites.iter().all(is_gone)
            }),
            Property::always(EXACT, |_, state: &State| {
                state.sites.iter().all(|site: &Arc<Site>| {
                    let heard = &site.staged.truth.heard;
                    *site.replica.clock() == *heard && site.staged.disk.clock() == *heard
                })
            }),
        ]
    }
}

impl Incarnations {
    fn is_kept(state: &State) -> bool {
        let written_over = state.history.written_over_by_values(state.lost);
        let is_kept = |site: &Arc<Site>| {
            let known = state.history.known(&site.staged.disk.held());
            site.staged.truth.kept.without(known).without(written_over).is_empty()
        };
        state.sites.iter().all(is_kept)
    }
}
