//! Forgetting what values took the place of (R5).
//!
//! The context of an object that lives gains a dot with each overwrite. Most of them are of no use any
//! more a second later, and without end a key that is written for years would be nothing but
//! context. A dot may go when every replica knows *by what* it was superseded: that all have seen the value
//! under it says nothing, as one of them may hold it still. A context does not say by what. But
//! whatever was superseded in it once was superseded by something that was in it then:
//!
//! ```text
//! n1 holds {a9}, context {a1 .. a9}         remembered: a1 to a8 were superseded, by some of a1 to a9
//! n1 holds {a14}, context {a1 .. a14}       n2, n3 say: my clock has a1 to a9
//! n1 holds {a14}, context {a9 .. a14}       a1 to a8 are forgotten
//! ```
//!
//! What is remembered is the context as it was when it had become long. So a key that is written all
//! day, of which never all is settled, is no longer for that than what is written until the others
//! have said that they have it.
//!
//! **One for all.** Contexts are a part of what replicas compare. So the first replica that is there
//! forgets, and tells the others which dots they may forget as well. Who did not hear of it brings
//! them when the two are compared next, and is told then.
//!
//! **For retries.** The marks of superseded writes are for clients who try one of them again. Their dots
//! stay as long as such marks are needed, and do not count.

use std::collections::{BTreeMap, BTreeSet};

use causality::DotSet;
use model::{Address, NodeId, Now, Object, ShardId};
use mutant::{Mutant, is};
use replica::StoreError;

use crate::exchange::reap::{COST, Time};
use crate::exchange::{Kept, throttle};
use crate::message::Forgot;
use crate::{After, Disk, Message, Node, Turn};

/// How many long contexts of one shard are remembered, at most.
const KNOWN_MAX: usize = 1_024;

/// How many runs they have together, at most: some hundred KiB.
const RUNS_MAX: usize = 8_192;

/// How many bytes of an object count for one object more: a step reads and stages about a MiB.
const BYTES_FOR_ONE: usize = 8 << 10;

/// After how many rounds it is seen to that a context still has what it had. A record may have been lost
/// meanwhile, and with it what nobody will ever settle.
const ROUNDS: u32 = 8;

/// A context as it was once.
#[derive(Debug)]
struct Seen {
    context: DotSet,
    /// What was superseded in it then.
    superseded: DotSet,
    /// For how many rounds it was remembered.
    rounds: u32,
}

/// The long contexts of one shard.
#[derive(Debug)]
pub(crate) struct Contexts {
    /// How many runs of superseded dots are not long.
    pub(crate) runs_max: usize,
    /// Those that are to be looked at.
    unlooked: BTreeSet<Address>,
    /// Those that were looked at, and speak of something that is not settled.
    seen: BTreeMap<Address, Seen>,
    /// How many runs those have together.
    runs: usize,
    /// What was settled when they were looked at.
    settled: DotSet,
}

impl Contexts {
    pub(crate) fn new(runs_max: usize) -> Self {
        let (unlooked, seen, settled) = (BTreeSet::new(), BTreeMap::new(), DotSet::new());
        Self { runs_max, unlooked, seen, runs: 0, settled }
    }

    /// An object is stored.
    pub(crate) fn note(&mut self, address: &Address, object: &Object) {
        if self.runs_max < excess(object) {
            self.find(address.clone());
        }
    }

    /// There is a long one.
    pub(crate) fn find(&mut self, address: Address) {
        if !self.seen.contains_key(&address) && self.unlooked.len() < KNOWN_MAX {
            self.unlooked.insert(address);
        }
    }

    /// A round begins. It may take many steps, so that it is not steps which are counted.
    pub(crate) fn begin(&mut self) {
        for (address, seen) in &mut self.seen {
            seen.rounds += 1;
            if seen.rounds.is_multiple_of(ROUNDS) {
                self.unlooked.insert(address.clone());
            }
        }
    }

    /// Whether there is nothing to look at.
    pub(crate) fn is_idle(&self) -> bool {
        self.unlooked.is_empty() && self.seen.is_empty()
    }

    /// Remembers what a context is like. If there is no room, it is looked at again when there is.
    /// Returns whether there was.
    fn remember(&mut self, address: Address, object: &Object) -> bool {
        let (context, superseded) = (object.context().clone(), object.superseded());
        let runs = context.runs().len() + superseded.runs().len();
        let is_full = KNOWN_MAX <= self.seen.len() || RUNS_MAX < self.runs + runs;
        if is_full && !self.seen.is_empty() {
            self.unlooked.insert(address);
            return false;
        }
        self.runs += runs;
        self.seen.insert(address, Seen { context, superseded, rounds: 0 });
        true
    }

    fn drop(&mut self, address: &Address) {
        if let Some(seen) = self.seen.remove(address) {
            self.runs -= seen.context.runs().len() + seen.superseded.runs().len();
        }
    }

    /// The next ones of which everything is settled, at most so many, and what may go of them.
    fn ripe(&mut self, settled: &DotSet, max: usize) -> Vec<(Address, DotSet)> {
        if self.settled == *settled {
            return Vec::new();
        }
        let is_settled = |seen: &Seen| match is(Mutant::SupersederNotAwaited) {
            true => settled.is_superset(&seen.superseded),
            false => settled.is_superset(&seen.context),
        };
        let ripe = self.seen.iter().filter(|(_, seen)| is_settled(seen));
        ripe.map(|(address, seen)| (address.clone(), seen.superseded.clone())).take(max).collect()
    }
}

impl Node {
    /// Forgets some of what was superseded in long contexts, and tells the other replicas.
    pub(crate) fn trim<D: Disk>(
        &mut self,
        shard: ShardId,
        left: &mut usize,
        turn: &mut Turn<'_, D>,
    ) {
        let Some(kept) = self.shards.get(&shard) else { return };
        if kept.contexts.is_idle() || *left == 0 || is(Mutant::ContextsKept) {
            return;
        }
        let others = self.awaited(shard);
        // What this disk has lost may be the evidence that somebody needs.
        if !self.is_first(&others, turn.now) || !self.is_sound(shard) {
            return;
        }
        let settled = self.exchange.acks.settled(shard, &others, kept.replica.clock());
        let time = self.time_of_marks(shard, turn.now);
        let Some(kept) = self.shards.get_mut(&shard) else { return };
        let (keys, unread) = kept.ripe_contexts(shard, &settled, left, time, turn.disk);
        if !unread.is_empty() {
            // A disk that cannot be read keeps its contexts for now.
            self.counts.failed_scrubs += 1;
            unread.into_iter().for_each(|address| kept.contexts.find(address));
        }
        if keys.is_empty() {
            return;
        }
        self.forget_dots(Forgot { shard, keys: keys.clone() }, turn);
        for node in others {
            // This replica is one of those who have to know by what it was superseded.
            let forgot = Message::Forgot(Forgot { shard, keys: keys.clone() });
            turn.send(node, forgot, After::SyncedSometime);
        }
    }

    /// Whether this is the first of those replicas that are there.
    fn is_first(&self, others: &[NodeId], now: Now) -> bool {
        let there = |node: &&NodeId| self.serves(**node, now);
        others.iter().filter(there).all(|node| self.config.id < *node)
    }

    /// Another replica has forgotten some dots.
    pub(crate) fn forgot<D: Disk>(
        &mut self,
        from: NodeId,
        mut forgot: Forgot,
        turn: &mut Turn<'_, D>,
    ) {
        if self.is_shared(forgot.shard, from) {
            forgot.keys.retain(|address, _| self.contracts.shard_of(address) == Some(forgot.shard));
            self.forget_dots(forgot, turn);
        }
    }

    fn forget_dots<D: Disk>(&mut self, forgot: Forgot, turn: &mut Turn<'_, D>) {
        let Forgot { shard, keys } = forgot;
        let kept = self.kept(shard);
        match kept.change(turn.disk, |replica, disk| replica.forget(disk, &keys)) {
            Ok(0) => {}
            Ok(trimmed) => {
                kept.tombstones.forget_now(turn.now);
                self.counts.contexts_trimmed += trimmed;
            }
            Err(_) => self.counts.failed_scrubs += 1,
        }
    }
}

impl Kept {
    /// Looks at some long contexts. Returns what may go of those of which everything is settled, and
    /// those that could not be read.
    fn ripe_contexts<D: Disk>(
        &mut self,
        shard: ShardId,
        settled: &DotSet,
        left: &mut usize,
        time: Time,
        disk: &D,
    ) -> (BTreeMap<Address, DotSet>, Vec<Address>) {
        let contexts = &mut self.contexts;
        let (mut looked, looked_max) = (0, COST * *left);
        let (mut keys, mut unread) = (BTreeMap::new(), Vec::new());
        let mut read = |address: &Address| match disk.object(shard, address) {
            Ok(found) => found,
            // What is damaged others bring.
            Err(StoreError::Corrupt(_)) => None,
            Err(StoreError::Io(_)) => {
                unread.push(address.clone());
                None
            }
        };
        for (address, superseded) in contexts.ripe(settled, looked_max) {
            if looked_max <= looked {
                break;
            }
            contexts.drop(&address);
            looked += 1;
            let Some(object) = read(&address) else { continue };
            looked += throttle::bytes(&object) / BYTES_FOR_ONE;
            let needed = object.marks().iter().filter(|(_, mark)| time.needs(mark));
            let needed = needed.map(|(dot, _)| *dot).collect();
            let dots = superseded.difference(&needed).intersection(&object.superseded());
            if !dots.is_empty() {
                keys.insert(address, dots);
            } else if contexts.runs_max < excess(&object) {
                // What could go is gone by another road, and it is long by what came since.
                contexts.unlooked.insert(address);
            }
        }
        if looked < looked_max {
            contexts.settled.clone_from(settled);
        }
        while looked < looked_max
            && let Some(address) = contexts.unlooked.pop_first()
        {
            looked += 1;
            let Some(object) = read(&address) else { continue };
            looked += throttle::bytes(&object) / BYTES_FOR_ONE;
            let was = contexts.seen.get(&address).map(|seen| &seen.context);
            let known = |was: &DotSet| {
                let gone = was.difference(object.context());
                self.replica.forgotten().is_superset(&gone)
            };
            if was.is_some_and(known) {
                continue;
            }
            contexts.drop(&address);
            if contexts.runs_max < excess(&object) {
                if !contexts.remember(address, &object) {
                    break;
                }
                // It may be settled already.
                contexts.settled = DotSet::new();
            }
        }
        *left = left.saturating_sub(looked.div_ceil(COST));
        (keys, unread)
    }
}

/// How many runs a context has that are superseded, and of no use to retries: about. A value is one
/// run, and its trace another. A tombstone goes as a whole.
pub(crate) fn excess(object: &Object) -> usize {
    let kept = object.marks().len() + 2 * object.values().len();
    let runs = if object.is_tombstone() { 0 } else { object.context().runs().len() };
    runs.saturating_sub(kept)
}
