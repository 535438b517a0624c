//! What a replica tells those who watch.
//!
//! Whoever watches says which writes it has been told of, as a replica says which it has. What it
//! lacks is looked up in the log, as for a replica, and each key is told once, as it is now. What
//! is different: keys of other tables are passed over, and a line that is gone cannot be made good
//! by somebody else, for nobody compares trees with a watcher.
//!
//! ```text
//! clock of n1 {a1..=9}   log  a6 -> t "tea"   a7 -> u "x"   a8 -> t "rum"   a9 -> t "tea"
//! told {a1..=6}          tells "rum", "tea"; then told {a1..=9}
//! told {a1..=4}          a5 has no line: gone
//! told {a1..=9 b1}       b1 is not here: behind
//! ```
//!
//! **Never older.** A replica tells nothing to a watcher that was told of a write which it lacks: the
//! key could be shown as it was before that write, and would not be shown again when the write
//! comes. It waits for some seconds until it has the write, and then says what it lacks.
//!
//! **Evidence.** A write counts as told if the object that is told carries it. If the record was
//! lost, nothing is told, and the write stays a gap of the watcher. But where nothing at all is held
//! under the key, and all replicas have the write, the key was deleted and that is forgotten. A record
//! that is older than what is forgotten is [not shown](crate::shown), as one that is damaged: the write stays a
//! gap until the record is mended.

use std::collections::BTreeSet;
use std::time::Duration;

use causality::{DotSet, Run};
use model::{Address, Key, NodeId, Now, Object, ShardId, TableId};
use mutant::{Mutant, is};
use replica::{PageNeed, Span, StoreError};

use crate::exchange::throttle;
use crate::message::{Changes, Follow, Followed, Stand, Told};
use crate::shown::Shown;
use crate::{After, Disk, Message, Node, Turn};

/// How often it is looked whether there is something new for somebody who waits.
const TICK: Duration = Duration::from_millis(50);

/// How long a replica that is behind may take to catch up: two rounds of the exchange.
const GRACE: Duration = Duration::from_secs(2);

/// Those who wait here. One more is not answered, and asks again by itself.
const WAITING_MAX: usize = 4_096;

/// The most lines of logs that are looked at for one answer. Clients wait meanwhile.
const LINES_MAX: usize = 512;

/// Those who wait to be told something.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    all: Vec<Waiter>,
    due: Option<Now>,
}

#[derive(Debug)]
struct Waiter {
    from: NodeId,
    follow: Follow,
    until: Now,
}

impl Waiting {
    /// When [`Node::tell_waiting`] has something to do.
    pub(crate) fn wake_at(&self) -> Option<Now> {
        self.due
    }

    /// The connection to a node broke, and with it all that it waited for.
    pub(crate) fn lost(&mut self, node: NodeId) {
        self.all.retain(|waiter| waiter.from != node);
    }
}

/// What may still be looked at and told in one answer.
struct Room {
    table: TableId,
    objects: usize,
    bytes: usize,
    lines: usize,
}

impl Room {
    fn is_used_up(&self) -> bool {
        self.objects == 0 || self.bytes == 0 || self.lines == 0
    }

    fn take(&mut self, object: &Object) {
        self.objects = self.objects.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(throttle::bytes(object));
    }
}

impl Node {
    /// A node asks in the place of somebody who watches.
    pub(crate) fn follow<D: Disk>(&mut self, from: NodeId, follow: Follow, turn: &mut Turn<'_, D>) {
        let wait = if follow.wait.is_zero() { GRACE } else { follow.wait };
        if self.is_ready(&follow) {
            self.tell_changes(from, follow, turn);
        } else if self.waiting.all.len() < WAITING_MAX {
            self.waiting.all.push(Waiter { from, follow, until: turn.now + wait });
            self.waiting.due.get_or_insert(turn.now + TICK);
        }
    }

    /// Looks whether there is something for those who wait.
    pub(crate) fn tell_waiting<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        if self.waiting.due.is_none_or(|due| turn.now < due) {
            return;
        }
        let all = std::mem::take(&mut self.waiting.all);
        let is_done = |waiter: &Waiter| waiter.until <= turn.now || self.is_ready(&waiter.follow);
        let (done, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(is_done);
        self.waiting.due = (!rest.is_empty()).then(|| turn.now + TICK);
        self.waiting.all = rest;
        for Waiter { from, follow, .. } in done {
            self.tell_changes(from, follow, turn);
        }
    }

    /// Whether an answer can be given now: of a question that waits, whether something is new; of
    /// another, whether what the watcher was told of is here.
    fn is_ready(&self, follow: &Follow) -> bool {
        let keyspace = self.contracts.keyspace_of(follow.table).map(|keyspace| keyspace.id);
        let keyspace = keyspace.filter(|_| self.takes_part());
        let Some(keyspace) = keyspace else { return follow.wait.is_zero() };
        let mut shards = follow
            .shards
            .iter()
            .map(|(index, stand)| (self.clock_of(ShardId { keyspace, index: *index }), stand));
        match follow.wait.is_zero() {
            true => shards.all(|(clock, stand)| match stand {
                Stand::At(told) | Stand::Reading(told, _) => clock.is_superset(told),
                Stand::Now => true,
            }),
            false => shards.any(|(clock, stand)| match stand {
                Stand::At(told) => !told.is_superset(clock),
                Stand::Now | Stand::Reading(..) => true,
            }),
        }
    }

    /// The clock of a shard, whether or not it was used in this life.
    fn clock_of(&self, shard: ShardId) -> &DotSet {
        static NOTHING: DotSet = DotSet::new();
        let kept = self.shards.get(&shard).map(|kept| kept.replica.clock());
        kept.or(self.recovered.get(&shard)).unwrap_or(&NOTHING)
    }

    fn tell_changes<D: Disk>(&mut self, to: NodeId, follow: Follow, turn: &mut Turn<'_, D>) {
        let Follow { request, table, shards, need, wait } = follow;
        if !wait.is_zero() {
            let followed = Followed { request, shards: Vec::new() };
            return turn.send(to, Message::Followed(followed), After::Now);
        }
        let PageNeed { objects_max: objects, bytes_max: bytes } = need;
        let mut room = Room { table, objects, bytes, lines: LINES_MAX };
        let tell = |(index, stand)| (index, self.told(index, stand, &mut room, turn.disk));
        let shards = shards.into_iter().map(tell).collect();
        // What is told is on disk; but nobody's disk is hurried for it.
        let followed = Message::Followed(Followed { request, shards });
        turn.send(to, followed, After::SyncedSometime);
    }

    fn told<D: Disk>(&self, index: u16, stand: Stand, room: &mut Room, disk: &D) -> Told {
        let keyspace = self.contracts.keyspace_of(room.table).map(|keyspace| keyspace.id);
        let shard = keyspace.map(|keyspace| ShardId { keyspace, index });
        // A disk that is joining is not whole, and tells nothing of what it has.
        let kept = shard.filter(|shard| self.keeps(*shard));
        let Some(shard) = kept else { return Told::Failed };
        let clock = self.clock_of(shard);
        match stand {
            Stand::Now => {
                let clock = clock.clone();
                Told::Changed(Changes { clock, ..Changes::default() })
            }
            Stand::At(told) => match lacking(&told, clock) {
                Some(lacks) => Told::Behind(lacks),
                None => self.changes(shard, told, room, disk),
            },
            Stand::Reading(told, after) => match lacking(&told, clock) {
                Some(lacks) => Told::Behind(lacks),
                None => read(&self.shown_to_watchers(shard, disk), after, room),
            },
        }
    }

    /// What a shard has beside what was told.
    fn changes<D: Disk>(&self, shard: ShardId, told: DotSet, room: &mut Room, disk: &D) -> Told {
        let clock = self.clock_of(shard);
        let missing = clock.difference(&told);
        if missing.is_empty() {
            return Told::Same;
        }
        let is_blind = is(Mutant::GoneLineIsTold);
        if !is_blind && self.shards.get(&shard).is_some_and(|kept| kept.lines.lack(&missing)) {
            return Told::Gone;
        }
        let forgotten = self.shards.get(&shard).map(|kept| kept.replica.forgotten());
        let forgotten = forgotten.map(|dots| missing.intersection(dots)).unwrap_or_default();
        let mut page = Page::new(missing, forgotten);
        let Ok(more) = page.fill(&self.shown_to_watchers(shard, disk), room) else {
            return Told::Failed;
        };
        if more && page.covered.is_empty() {
            // A page of lines of which none can be told: another replica may, and to be asked for the
            // same again would lead nowhere.
            return Told::Failed;
        }
        let left = page.missing.difference(&page.covered);
        if !more && !page.lined.is_superset(&left) && !is_blind {
            return Told::Gone;
        }
        let mut clock = told;
        let all = is_blind && !more || is(Mutant::ToldInPartIsToldAll);
        let _ = clock.union(if all { &page.missing } else { &page.covered });
        let gaps = left.intersection(&page.lined);
        Told::Changed(Changes { entries: page.entries, clock, gaps, more })
    }
}

/// What a replica with this clock lacks of what was told.
fn lacking(told: &DotSet, clock: &DotSet) -> Option<DotSet> {
    let lacks = told.difference(clock);
    (!lacks.is_empty() && !is(Mutant::BehindIsFollowed)).then_some(lacks)
}

/// The next keys of a shard.
fn read<D: Disk>(shown: &Shown<'_, D>, after: Option<Key>, room: &mut Room) -> Told {
    let span = Span { partition: None, after };
    let need = PageNeed { objects_max: room.objects.max(1), bytes_max: room.bytes.max(1) };
    let page = match shown.scan(room.table, &span, need) {
        // What cannot be read must not be passed over.
        Ok(page) if page.unreadable.is_empty() => page,
        Ok(_) | Err(_) => return Told::Failed,
    };
    let after = page.last().filter(|_| page.more).cloned();
    let has_value = |(_, object): &(Key, Object)| !object.values().is_empty();
    let entries: Vec<_> = page.objects.into_iter().filter(has_value).collect();
    entries.iter().for_each(|(_, object)| room.take(object));
    Told::Read { entries, after }
}

/// What is told of one shard.
struct Page {
    missing: DotSet,
    /// Of what is missing, the dots that no object speaks of any more.
    forgotten: DotSet,
    /// Dots that the watcher has been told of then.
    covered: DotSet,
    /// Dots that have a line.
    lined: DotSet,
    /// The keys that are told.
    seen: BTreeSet<Key>,
    entries: Vec<(Key, Object)>,
}

impl Page {
    fn new(missing: DotSet, forgotten: DotSet) -> Self {
        let (covered, lined) = (DotSet::new(), DotSet::new());
        let (seen, entries) = (BTreeSet::new(), Vec::new());
        Self { missing, forgotten, covered, lined, seen, entries }
    }

    /// Collects objects while there is room. Returns whether there are more lines.
    fn fill<D: Disk>(&mut self, shown: &Shown<'_, D>, room: &mut Room) -> Result<bool, StoreError> {
        for run in self.missing.clone().runs() {
            let mut rest = *run;
            loop {
                if room.is_used_up() {
                    return Ok(true);
                }
                let lines = shown.disk.log(shown.shard, rest, room.lines)?;
                let is_last = lines.len() < room.lines;
                for line in &lines {
                    if room.is_used_up() {
                        return Ok(true);
                    }
                    room.lines -= 1;
                    self.add(shown, line.run, &line.address, room);
                }
                match lines.last().map(|line| line.run.last).filter(|_| !is_last) {
                    Some(last) if last < rest.last => rest.first = last + 1,
                    Some(_) | None => break,
                }
            }
        }
        Ok(false)
    }

    /// Adds what is held at an address, if a dot of the line was not told yet.
    fn add<D: Disk>(&mut self, shown: &Shown<'_, D>, run: Run, address: &Address, room: &mut Room) {
        let dots = DotSet::from_runs(vec![run]).expect("a run of a log is a set");
        let dots = dots.intersection(&self.missing);
        let _ = self.lined.union(&dots);
        if address.table != room.table {
            let _ = self.covered.union(&dots);
            return;
        }
        let is_forgotten = self.forgotten.is_superset(&dots);
        if self.covered.is_superset(&dots) {
            return;
        }
        if self.seen.contains(&address.key) {
            if is_forgotten {
                let _ = self.covered.union(&dots);
            }
            return;
        }
        // What cannot be read is a gap, until it can.
        let Ok(object) = shown.object(address) else { return };
        // What took the place of a dot that is forgotten is held, or is forgotten as well.
        let mut carried = self.missing.intersection(object.context());
        if is_forgotten {
            let _ = carried.union(&dots);
        }
        if carried.is_empty() {
            return;
        }
        let _ = self.covered.union(&carried);
        room.take(&object);
        self.seen.insert(address.key.clone());
        self.entries.push((address.key.clone(), object));
    }
}
