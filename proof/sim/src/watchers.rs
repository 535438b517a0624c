//! Watchers: programs that follow a table, at nodes that die, and go on from what they have kept.
//!
//! A watcher begins with everything that there is, asks for what has changed at a node that it
//! picks anew now and then, and remembers what it was told last of each key. Sometimes it goes on
//! from a cursor that it had before, as a program does that was restarted and had done more than it
//! had kept. It keeps its cursor as the text that clients get.
//!
//! | what is looked at | when |
//! | --- | --- |
//! | nothing that is told of a key is older than what was told before, unless it is said | each answer |
//! | no value is told that the replica which tells it has forgotten | each message to a watcher |
//! | what was told last of each key is what its replicas hold, and nothing else is held | at the end |
//!
//! Where a record was lost, nobody can tell what it was, and its key is excused. Who was told that
//! his position was taken back is told older things until what is missing comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causality::Dot;
use codec::cursor::Place;
use codec::feed;
use codec::token::TokenKey;
use model::{
    Changed, Failure, Key, Name, NodeId, Now, Object, Position, Refusal, Reply, Request, Value,
    Watch, Watched,
};
use node::{Message, Told};

use crate::dice::Dice;
use crate::invariant::Invariant;
use crate::oracle::Look;
use crate::report::Broken;
use crate::tokens::plain;
use crate::workload::Op;
use crate::world::{Event, Open, Phase, World};

/// Mean microseconds between two questions of a watcher.
const THINK: u64 = 150_000;

/// How many cursors a watcher has kept.
const KEPT_MAX: usize = 8;

/// How long a question may take, beside what it waits: replicas may have to catch up.
const GATHER: Duration = Duration::from_secs(3);

/// How long one may take at the end, when everybody is there. Each of the replicas of a shard may
/// take two seconds to catch up with what only another had.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many pages nothing may come of at the end before that is no answer.
const PAGES_MAX: usize = 100_000;

/// One watcher.
struct Watcher {
    keyspace: Name,
    table: Name,
    at: Option<NodeId>,
    position: Position,
    /// What it was told last.
    last: BTreeMap<Key, Object>,
    /// Cursors that it has kept, the last one last.
    kept: Vec<String>,
    /// The keys that it may be told older things of.
    excused: BTreeSet<Key>,
    /// Whether its position was ever taken back.
    is_rewound: bool,
}

/// All of them.
pub(crate) struct Watchers {
    all: Vec<Watcher>,
    dice: Dice,
}

fn token_key() -> TokenKey {
    TokenKey::derive(&[3; 32])
}

impl Watcher {
    fn place(&self) -> Place<'_> {
        Place { keyspace: &self.keyspace, table: &self.table }
    }

    fn begin_anew(&mut self) {
        self.position = Position::beginning();
        self.last.clear();
        self.kept.clear();
        self.excused.clear();
    }

    /// Goes on from a cursor that it had before, and does not know what it was told since.
    fn go_back(&mut self, cursor: &str) {
        let opened = feed::open(&token_key(), &self.place(), cursor);
        self.position = opened.expect("a cursor is given back as it was");
        // What it knows is newer than what it may be told.
        self.excused = self.last.keys().cloned().collect();
    }

    fn question(&self, limit: usize, wait: Duration, gather: Duration) -> Watch {
        Watch {
            keyspace: self.keyspace.clone(),
            table: self.table.clone(),
            since: self.position.clone(),
            limit,
            wait,
            timeout: wait + gather,
        }
    }

    /// Takes in what it is told. Returns what is wrong with it, by key.
    fn hear(&mut self, watched: Watched) -> Vec<(Key, String)> {
        self.position = watched.position;
        if watched.rewound != 0 {
            // They say that it knows what it has just been told anew without.
            self.kept.clear();
        }
        let cursor = feed::seal(&token_key(), &self.place(), &self.position);
        self.kept.extend(cursor);
        if KEPT_MAX < self.kept.len() {
            self.kept.remove(0);
        }
        self.is_rewound |= watched.rewound != 0;
        let mut wrong = Vec::new();
        for Changed { key, object } in watched.changes {
            let before = self.last.insert(key.clone(), object.clone());
            let is_excused = self.excused.remove(&key) || self.is_rewound || object.is_bottom();
            let before = before.unwrap_or_default();
            if !is_excused && !object.context().is_superset(before.context()) {
                wrong.push((key, format!("is told {object:?} after {before:?}")));
            }
        }
        wrong
    }
}

impl Watchers {
    pub(crate) fn new(dice: Dice) -> Self {
        Self { all: Vec::new(), dice }
    }

    fn of(&mut self, watcher: usize) -> &mut Watcher {
        self.all.get_mut(watcher).expect("events name watchers that there are")
    }
}

impl World {
    /// Some begin to watch, each another table.
    pub(crate) fn begin_watching(&mut self) {
        let tables: BTreeSet<(Name, Name)> = self.oracle.spots.iter().map(table_of).collect();
        let tables: Vec<_> = tables.into_iter().collect();
        let tables = tables.into_iter().cycle().take(self.plan.watchers);
        for (index, (keyspace, table)) in tables.enumerate() {
            self.watchers.all.push(Watcher {
                keyspace,
                table,
                at: None,
                position: Position::beginning(),
                last: BTreeMap::new(),
                kept: Vec::new(),
                excused: BTreeSet::new(),
                is_rewound: false,
            });
            self.arrange(THINK, Event::Watch { watcher: index });
        }
    }

    /// A watcher asks what has changed, unless it waits for an answer, or all rest.
    pub(crate) fn watch(&mut self, watcher: usize) -> Result<(), Broken> {
        let think = self.watchers.dice.micros(THINK, 2);
        self.arrange(think, Event::Watch { watcher });
        let waits =
            |open: &Open| matches!(open.op, Op::Watch { watcher: other } if other == watcher);
        if self.phase == Phase::Quiet || self.open.values().any(waits) {
            return Ok(());
        }
        let nodes: Vec<NodeId> = self.layout.members.keys().copied().collect();
        let dice = &mut self.watchers.dice;
        let (moves, goes_back) = (dice.chance(200), dice.chance(50));
        let (elsewhere, limit) = (dice.pick(&nodes), dice.pick(&[1, 3, 100]));
        let wait = Duration::from_micros(dice.pick(&[0, 0, 200_000, 1_000_000]));
        let one = self.watchers.of(watcher);
        let at = *one.at.get_or_insert(elsewhere);
        let at = if moves { elsewhere } else { at };
        one.at = Some(at);
        if goes_back && let Some(cursor) = one.kept.first().cloned() {
            one.go_back(&cursor);
        }
        let question = one.question(limit, wait, GATHER);
        if !self.host(at).is_up() {
            self.watchers.of(watcher).at = None;
            return Ok(());
        }
        let (op, timeout) = (Op::Watch { watcher }, question.timeout);
        let open = Open {
            at,
            request: Request::Watch(question),
            op,
            client: None,
            begun: self.now,
            deadline: Now::default(),
            healthy: false,
            behind: Vec::new(),
        };
        self.ask(open, timeout).map(drop)
    }

    /// A watcher is answered.
    pub(crate) fn watched(&mut self, watcher: usize, reply: &Reply) -> Result<(), Broken> {
        match reply {
            Reply::Watched(watched) => {
                self.count(&Op::Watch { watcher }, "answered");
                *self.requests.entry(("watches", "changes")).or_default() +=
                    watched.changes.len() as u64;
                *self.requests.entry(("watches", "rewound")).or_default() +=
                    u64::from(watched.rewound != 0);
                let one = self.watchers.of(watcher);
                let table = (one.keyspace.clone(), one.table.clone());
                let mut told = watched.clone();
                for Changed { key, object } in &mut told.changes {
                    let mut spots = self.oracle.spots.iter();
                    let found = spots.position(|spot| table_of(spot) == table && spot.key == *key);
                    if let Some(index) = found {
                        *object = self.oracle.remembered(index, object);
                    }
                }
                for (key, detail) in self.watchers.of(watcher).hear(told) {
                    self.complain_of_feed(&table, &key, &detail)?;
                }
                Ok(())
            }
            Reply::Failed(failure) => {
                let is_expired = matches!(failure, Failure::Refused(Refusal::CursorExpired { .. }));
                if is_expired {
                    *self.requests.entry(("watches", "expired")).or_default() += 1;
                    self.watchers.of(watcher).begin_anew();
                }
                self.watchers.of(watcher).at = None;
                Ok(())
            }
            Reply::Written(_)
            | Reply::Read(_)
            | Reply::Listed(_)
            | Reply::Recalled(_)
            | Reply::Explained(_)
            | Reply::Declared(_)
            | Reply::Repair(_)
            | Reply::Salvaged(_)
            | Reply::Status(_) => Ok(()),
        }
    }

    /// A replica tells whoever watches nothing that it has forgotten itself.
    pub(crate) fn check_told_to_watchers(
        &self,
        at: NodeId,
        message: &Message,
    ) -> Result<(), Broken> {
        let Message::Followed(followed) = message else { return Ok(()) };
        let Some(host) = self.hosts.get(&at).filter(|_| self.oracle.look == Look::Everywhere)
        else {
            return Ok(());
        };
        for (shard, told) in &followed.shards {
            let entries = match told {
                Told::Changed(changes) => &changes.entries,
                Told::Read { entries, .. } => entries,
                Told::Same | Told::Behind(_) | Told::Gone | Told::Failed => continue,
            };
            for (key, object) in entries {
                let spots = self.oracle.spots.iter().enumerate();
                let spots =
                    spots.filter(|(_, spot)| spot.key == *key && spot.shard.index == *shard);
                for (index, spot) in spots {
                    // The message does not say of which keyspace it is, but each value is of one write.
                    let is_of = |(dot, value): &(&Dot, &Value)| {
                        let id = self.oracle.named(index, **dot);
                        id.is_some_and(|id| self.oracle.write(id).value.as_ref() == Some(*value))
                    };
                    let forgotten = host.disk.view().forgotten(spot.shard);
                    let is_forgotten = |(dot, _): &(&Dot, &Value)| {
                        forgotten.is_some_and(|dots| dots.contains(**dot))
                    };
                    let all = object.values().iter().filter(is_of);
                    if let Some((dot, _)) = { all }.find(is_forgotten) {
                        let detail =
                            format!("{at} tells a watcher {object:?}, and has forgotten {dot}");
                        return Err(Broken::of(Invariant::WatchersMissNothing, index, detail));
                    }
                }
            }
        }
        Ok(())
    }

    /// A watcher was told something wrong of a key, unless a record of that was lost.
    fn complain_of_feed(
        &self,
        table: &(Name, Name),
        key: &Key,
        detail: &str,
    ) -> Result<(), Broken> {
        let mut spots = self.oracle.spots.iter().enumerate();
        let found = spots.find(|(_, spot)| table_of(spot) == *table && spot.key == *key);
        let Some((index, _)) = found else {
            let detail = format!("a watcher is told of {key:?}, which nobody wrote: {detail}");
            return Err(Broken::new(Invariant::WatchersMissNothing, detail));
        };
        if self.oracle.losses.of_spot(index).is_some() || self.oracle.look == Look::Quiet {
            return Ok(());
        }
        let detail = format!("a watcher {detail}");
        Err(Broken::of(Invariant::WatchersMissNothing, index, detail))
    }

    /// When nothing changes any more, each watcher is told the rest, through one node after the
    /// other, and knows what there is.
    pub(crate) fn check_watchers(&mut self) -> Result<(), Broken> {
        let nodes: Vec<NodeId> = self.layout.members.keys().copied().collect();
        for watcher in 0..self.watchers.all.len() {
            let mut is_done = false;
            for page in 0..PAGES_MAX {
                let at = nodes.iter().copied().cycle().nth(watcher + page).expect("nodes");
                let question = self.watchers.of(watcher).question(100, Duration::ZERO, PATIENCE);
                let reply = self.ask_and_wait(at, Request::Watch(question))?;
                is_done = is_last(&reply);
                // A shard with a record that cannot be read is read by nobody; and what was told from a
                // record or a disk that is lost everywhere, as it may be here, all others wait for.
                let is_lost = self.oracle.losses.has_any()
                    || self.plan.destroys && self.oracle.losses.has_replaced();
                if !is_done && (is_lost || self.hosts.values().any(|host| host.disk.has_damage())) {
                    return Ok(());
                }
                if !is_done && !is_answer(&reply) {
                    let detail = format!("{at} tells a watcher {reply:?}");
                    return Err(Broken::new(Invariant::HealthyRequestsSucceed, detail));
                }
                self.watched(watcher, &reply)?;
                if is_done {
                    break;
                }
            }
            if !is_done {
                let detail = "a watcher is told things for ever".to_owned();
                return Err(Broken::new(Invariant::WatchersMissNothing, detail));
            }
            self.check_watcher(watcher)?;
        }
        Ok(())
    }

    fn check_watcher(&self, watcher: usize) -> Result<(), Broken> {
        let Some(one) = self.watchers.all.get(watcher) else { return Ok(()) };
        let table = (one.keyspace.clone(), one.table.clone());
        let bottom = Object::default();
        let spots = self.oracle.spots.iter().enumerate();
        for (index, spot) in spots.filter(|(_, spot)| table_of(spot) == table) {
            if self.oracle.losses.of_spot(index).is_some() {
                continue;
            }
            let known = |node: &NodeId| plain(&self.known(*node, index));
            let held = spot.replicas.first().map(known).unwrap_or_default();
            let told = plain(one.last.get(&spot.key).unwrap_or(&bottom));
            let told = self.oracle.remembered(index, &told);
            // What one had forgotten, and lost again before it was synced, is asked for of nobody.
            let held = self.oracle.remembered(index, &held);
            // What was deleted before it was read is told to nobody.
            let is_nothing = held.values().is_empty() && told.values().is_empty();
            // What was told may have been on one disk only, and that was replaced.
            let gone = told.context().difference(held.context());
            let is_astray = |node: &NodeId| self.hosts.get(node).is_some_and(|host| host.is_astray);
            if !gone.is_empty() && spot.replicas.iter().any(is_astray) {
                continue;
            }
            if held != told && !is_nothing {
                let detail = format!("a watcher knows {told:?}, and replicas hold {held:?}");
                return Err(Broken::of(Invariant::WatchersMissNothing, index, detail));
            }
        }
        Ok(())
    }
}

fn table_of(spot: &crate::oracle::Spot) -> (Name, Name) {
    (spot.keyspace.clone(), spot.table.name.clone())
}

/// Whether it says that there is nothing more.
fn is_last(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Watched(Watched { changes, position, rewound: 0, silent: 0 })
            if changes.is_empty() && position.reading.is_none()
    )
}

fn is_answer(reply: &Reply) -> bool {
    let expired = matches!(reply, Reply::Failed(Failure::Refused(Refusal::CursorExpired { .. })));
    expired || matches!(reply, Reply::Watched(watched) if watched.silent == 0)
}
