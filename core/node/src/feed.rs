//! Watching a table: what has changed since some position, from all its shards.
//!
//! Replicas bring each other up to date by saying what they have, and being sent what they lack. A
//! watcher is somebody who does the same and keeps nothing: his position is a clock for each
//! shard. It is he who holds it, so nobody remembers him; he can go on at any node, and from any
//! position that he has kept.
//!
//! ```text
//! client ── Watch: s1 {a1..=6}, s2 {b1..=4} ──► n1
//!           n1 ── Follow s1 ──► n2   "tea", "rum"; then {a1..=9}
//!           n1 ── Follow s2 ──► n3   the same
//! client ◄── "tea", "rum"; s1 {a1..=9}, s2 {b1..=4} ── n1
//! ```
//!
//! **Rounds.** One replica of each shard is asked what there is, all shards of a node at once. If
//! there is nothing, they are asked to say when there is, and then all are asked again. The
//! replica is always the same one while it is there, this node if it keeps the shard: two replicas
//! that are asked in turns are behind each other all the time.
//!
//! **Failing over.** A replica that is away, says nothing or is behind is replaced by the next. If
//! none that answers has all that the watcher was told, the position is taken back to what the best
//! of them has, and the answer says by how much: the alternative is to wait for somebody who may
//! never come back. If none has the lines of the log any more, that is said: the watcher has to
//! begin again.
//!
//! **The beginning.** A watcher begins with the clocks of all shards, each from one replica; if one
//! of them does not answer he has not begun. He may then have the table read, shard by shard and page by
//! page, from replicas that have what he was told, and is told of changes meanwhile as well. The clocks
//! come first, with a page of their own: whoever goes on from an older position, and knows keys that were
//! deleted since, is told so by the log.

mod feeding;
pub(crate) mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use membership::Reach;
use model::{Failure, NodeId, Now, Refusal, Reply, ShardId, Watch, Watched};
use replica::PageNeed;

use crate::flight::{Client, Flight, Work};
use crate::message::{Follow, Followed, Stand, Told};
use crate::{After, Disk, Message, Node, RequestId, Turn};

use feeding::Asked;
pub(crate) use feeding::Feeding;

/// The most bytes of values in one answer, about. An object that is larger comes alone.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// How long a replica may take to say what there is. It may wait for two seconds to catch up.
const SILENT: Duration = Duration::from_secs(3);

/// How long replicas are asked to wait for something new before all are asked again, and with them
/// those of shards of which nobody had answered.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// For how long a replica that was behind is asked after the others. It may lack what nobody can
/// bring it any more, and whoever asks it waits for two seconds each time.
const LAGGING: Duration = Duration::from_secs(60);

/// Replicas that were behind, and when they were.
pub(crate) type Laggards = BTreeMap<(ShardId, NodeId), Now>;

impl Node {
    /// Begins to gather what there is.
    pub(crate) fn watch<D: Disk>(
        &mut self,
        client: Client,
        asked: Watch,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let (keyspace, table) = self.in_force().table(&asked.keyspace, &asked.table)?;
        let feeding = Feeding {
            keyspace: keyspace.id,
            shards: keyspace.shards,
            n: keyspace.n(),
            table: table.id,
            limit: asked.limit.max(1),
            waits_until: turn.now + asked.wait.min(asked.timeout),
            found: Vec::new(),
            rewound: 0,
            asked: BTreeMap::new(),
            silent: BTreeSet::new(),
            gaps: BTreeMap::new(),
            more: false,
            reads: false,
            has_read: false,
            expired: None,
            begins: asked.since.followed.is_empty(),
            position: asked.since,
        };
        let deadline = turn.now + asked.timeout;
        let work = Work::Watch(Box::new(feeding));
        let flight = Flight { client, begun: turn.now, deadline, timer: deadline, work };
        self.gather(flight, turn);
        Ok(())
    }

    /// Asks a replica of each shard what there is.
    fn gather<D: Disk>(&mut self, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let Work::Watch(feeding) = &mut flight.work else { return };
        feeding.silent.clear();
        feeding.gaps.clear();
        (feeding.more, feeding.reads, feeding.has_read) = (false, false, false);
        let all: Vec<u16> = (0..feeding.shards).collect();
        self.ask_about(flight, &all, turn);
    }

    /// Asks a replica of each of these shards. A round has a request of its own, so that late
    /// answers to the one before cannot be taken for answers to it.
    fn ask_about<D: Disk>(&mut self, mut flight: Flight, shards: &[u16], turn: &mut Turn<'_, D>) {
        let id = self.new_request();
        let Work::Watch(feeding) = &mut flight.work else { return };
        for index in shards.iter().copied() {
            match self.follower(feeding.shard(index), &[], turn.now) {
                Some(at) => {
                    let asked = Asked { at, tried: Vec::new(), behind: Vec::new(), is_gone: false };
                    feeding.asked.insert(index, asked);
                }
                None => drop(feeding.silent.insert(index)),
            }
        }
        let asked: Vec<u16> = feeding.asked.keys().copied().collect();
        self.ask_followers(id, flight, &asked, turn);
    }

    /// The replica that is followed: this node, or the first that is there and was not tried. Those
    /// that were behind come last.
    fn follower(&self, shard: ShardId, tried: &[NodeId], now: Now) -> Option<NodeId> {
        let order = |node: &NodeId| {
            let behind = self.laggards.get(&(shard, *node));
            let is_lagging = behind.is_some_and(|at| now.since(*at) < LAGGING);
            match self.membership.reach(*node, now) {
                _ if *node == self.config.id => Some((is_lagging, 0)),
                _ if !self.serves(*node, now) => None,
                Reach::Steady => Some((is_lagging, 1)),
                Reach::Shaky => Some((is_lagging, 2)),
                Reach::Away => None,
            }
        };
        let replicas = self.contracts.replicas(shard).iter();
        let there = replicas.filter(|node| !tried.contains(node));
        let there = there.filter_map(|node| Some((order(node)?, *node)));
        // Of equals the first: it is the same one every time.
        there.min_by_key(|(order, _)| *order).map(|(_, node)| node)
    }

    /// Asks about these shards whoever they are to be asked of, and waits for the answers.
    fn ask_followers<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        shards: &[u16],
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Watch(feeding) = &flight.work else { return };
        if feeding.asked.is_empty() {
            return self.gathered(flight, turn);
        }
        let mut by_node: BTreeMap<NodeId, Vec<(u16, Stand)>> = BTreeMap::new();
        for index in shards {
            let at = feeding.asked.get(index).map(|asked| asked.at);
            if let Some(at) = at {
                by_node.entry(at).or_default().push((*index, feeding.stand(*index)));
            }
        }
        let nodes = by_node.len().max(1);
        for (to, mut shards) in by_node {
            // The first has the most room, so none is always the first.
            let first = usize::try_from(id.0).unwrap_or_default() % shards.len();
            shards.rotate_left(first);
            let objects_max = (feeding.limit / nodes).max(1);
            let need = PageNeed { objects_max, bytes_max: PAGE_BYTES_MAX / nodes };
            let (request, table, wait) = (id, feeding.table, Duration::ZERO);
            let follow = Follow { request, table, shards, need, wait };
            turn.send(to, Message::Follow(follow), After::Now);
        }
        flight.timer = flight.deadline.min(turn.now + SILENT);
        self.keep_until(id, flight);
    }

    pub(crate) fn followed<D: Disk>(
        &mut self,
        from: NodeId,
        followed: Followed,
        turn: &mut Turn<'_, D>,
    ) {
        let Followed { request, shards } = followed;
        let is_watch = |flight: &Flight| matches!(flight.work, Work::Watch(_));
        if !self.flights.get(&request).is_some_and(is_watch) {
            return;
        }
        let Some(mut flight) = self.take(request) else { return };
        let Work::Watch(feeding) = &mut flight.work else { return };
        if feeding.asked.is_empty() {
            return self.gather(flight, turn);
        }
        let mut again = Vec::new();
        for (index, told) in shards {
            if feeding.asked.get(&index).is_none_or(|asked| asked.at != from) {
                continue;
            }
            if !self.hear_told(feeding, index, told, turn.now) {
                again.push(index);
            }
        }
        self.go_on_gathering(request, flight, &again, turn);
    }

    /// Goes on with a round after some were heard, and asks about some shards again.
    fn go_on_gathering<D: Disk>(
        &mut self,
        id: RequestId,
        flight: Flight,
        again: &[u16],
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Watch(feeding) = &flight.work else { return };
        let again: Vec<u16> =
            again.iter().copied().filter(|index| feeding.asked.contains_key(index)).collect();
        if let Some(shard) = feeding.expired {
            return self.fail(flight.client, Refusal::CursorExpired { shard }.into(), turn);
        }
        if feeding.asked.is_empty() || !again.is_empty() {
            return self.ask_followers(id, flight, &again, turn);
        }
        self.keep_until(id, flight);
    }

    /// Takes in what was told of a shard. Returns whether that is done with; else somebody
    /// is to be asked again.
    fn hear_told(&mut self, feeding: &mut Feeding, index: u16, told: Told, now: Now) -> bool {
        let keyspace = feeding.keyspace;
        let Some(asked) = feeding.asked.get_mut(&index) else { return true };
        let at = asked.at;
        match told {
            Told::Same => {}
            Told::Changed(changes) => {
                feeding.take(changes.entries);
                feeding.more |= changes.more;
                feeding.position.followed.insert(index, changes.clock);
                feeding.gaps.insert(index, changes.gaps);
            }
            Told::Read { entries, after } => {
                feeding.has_read(index, &entries, after);
                feeding.take(entries);
            }
            Told::Behind(lacks) => {
                asked.behind.push((lacks, at));
                self.laggards.retain(|_, at| now.since(*at) < LAGGING);
                self.laggards.insert((ShardId { keyspace, index }, at), now);
                return self.ask_next(feeding, index, now);
            }
            Told::Gone => {
                asked.is_gone = true;
                return self.ask_next(feeding, index, now);
            }
            Told::Failed => return self.ask_next(feeding, index, now),
        }
        feeding.asked.remove(&index);
        true
    }

    /// Chooses whom to ask about a shard next. Returns whether there is nobody.
    fn ask_next(&self, feeding: &mut Feeding, index: u16, now: Now) -> bool {
        let shard = feeding.shard(index);
        let Some(asked) = feeding.asked.get_mut(&index) else { return true };
        asked.tried.push(asked.at);
        if let Some(next) = self.follower(shard, &asked.tried, now) {
            asked.at = next;
            return false;
        }
        let best = asked.behind.iter().min_by_key(|(lacks, _)| lacks.len()).cloned();
        asked.behind.clear();
        if let Some((lacks, at)) = best {
            asked.at = at;
            feeding.rewind(index, &lacks);
            return false;
        }
        feeding.expired = feeding.expired.or(asked.is_gone.then_some(index));
        feeding.asked.remove(&index);
        feeding.silent.insert(index);
        true
    }

    /// All have told what there is.
    fn gathered<D: Disk>(&mut self, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let Work::Watch(feeding) = &mut flight.work else { return };
        let is_silent = feeding.silent.len() == usize::from(feeding.shards);
        if !feeding.is_begun() || is_silent && feeding.found.is_empty() {
            let (wanted, alive, replicas) = (1, 0, feeding.n);
            let lacks = format!("{} shards do not answer", feeding.silent.len());
            let failure = Failure::NotAttempted { wanted, alive, replicas, lacks };
            return self.fail(flight.client, failure, turn);
        }
        let is_late = flight.deadline <= turn.now;
        let reading = feeding.position.reading.as_ref().map(|reading| reading.shard);
        if let Some(shard) = reading.filter(|_| !feeding.begins && !feeding.has_read && !is_late) {
            (feeding.reads, feeding.has_read) = (true, true);
            return self.ask_about(flight, &[shard], turn);
        }
        let is_done = !feeding.found.is_empty() || feeding.rewound != 0 || feeding.begins;
        if is_done || is_late {
            return self.answer_watch(flight, turn);
        }
        // A shard that does not answer is not asked again and again.
        let is_reading = reading.is_some_and(|shard| !feeding.silent.contains(&shard));
        if feeding.more || is_reading {
            return self.gather(flight, turn);
        }
        if feeding.waits_until <= turn.now {
            return self.answer_watch(flight, turn);
        }
        self.await_news(flight, turn);
    }

    /// Asks replicas to say when there is something new.
    fn await_news<D: Disk>(&mut self, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let id = self.new_request();
        let Work::Watch(feeding) = &flight.work else { return };
        let mut by_node: BTreeMap<NodeId, Vec<(u16, Stand)>> = BTreeMap::new();
        for index in 0..feeding.shards {
            // Who did not answer now would be asked in vain, and all others with him again and again.
            if feeding.silent.contains(&index) {
                continue;
            }
            let at = self.follower(feeding.shard(index), &[], turn.now);
            if let Some((at, stand)) = at.zip(feeding.stand_waiting(index)) {
                by_node.entry(at).or_default().push((index, stand));
            }
        }
        let millis = feeding.waits_until.since(turn.now).min(WAIT_MAX).as_millis();
        let wait = Duration::from_millis(u64::try_from(millis).unwrap_or_default().max(1));
        let need = PageNeed { objects_max: 0, bytes_max: 0 };
        for (to, shards) in by_node {
            let (request, table) = (id, feeding.table);
            let follow = Follow { request, table, shards, need, wait };
            turn.send(to, Message::Follow(follow), After::Now);
        }
        flight.timer = flight.deadline.min(turn.now + wait);
        self.keep_until(id, flight);
    }

    /// A round has taken too long, or the wait for something new is over.
    pub(crate) fn feed_timer<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Watch(feeding) = &mut flight.work else { return };
        if flight.deadline <= turn.now {
            let asked = std::mem::take(&mut feeding.asked);
            feeding.silent.extend(asked.into_keys());
            return self.gathered(flight, turn);
        }
        if feeding.asked.is_empty() {
            return self.gather(flight, turn);
        }
        let silent: Vec<u16> = feeding.asked.keys().copied().collect();
        let is_next = |index: &u16| !self.ask_next(feeding, *index, turn.now);
        let again: Vec<u16> = silent.into_iter().filter(is_next).collect();
        self.go_on_gathering(id, flight, &again, turn);
    }

    /// The connection to a node broke: others are asked in its place.
    pub(crate) fn feed_lost<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        node: NodeId,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Watch(feeding) = &mut flight.work else { return };
        if feeding.asked.is_empty() {
            return self.gather(flight, turn);
        }
        let lost = feeding.asked.iter().filter(|(_, asked)| asked.at == node);
        let lost: Vec<u16> = lost.map(|(index, _)| *index).collect();
        let is_next = |index: &u16| !self.ask_next(feeding, *index, turn.now);
        let again: Vec<u16> = lost.into_iter().filter(is_next).collect();
        self.go_on_gathering(id, flight, &again, turn);
    }

    fn answer_watch<D: Disk>(&mut self, flight: Flight, turn: &mut Turn<'_, D>) {
        let Work::Watch(feeding) = flight.work else { return };
        let Feeding { found: changes, position, rewound, silent, .. } = *feeding;
        let silent = u16::try_from(silent.len()).unwrap_or(u16::MAX);
        let watched = Watched { changes, position, rewound, silent };
        self.answer(flight.client, Reply::Watched(watched), turn);
    }
}
