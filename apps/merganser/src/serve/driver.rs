//! Running the node: the loop that feeds it what happened and does what it wants.
//!
//! Three things are slow: waiting for the disk, calling the kernel, and waking a task. The
//! loop pays each once per *turn* instead of once per request. A turn takes everything from
//! the mailbox, steps the node through it, hands what was staged to the disk as one group,
//! and writes once to each peer.
//!
//! ```text
//!   mailbox ──► step, step, step ──► effects ──┬─ Now ─────────────────► peers, clients, itself
//!                    │                          └─ Committed, Synced ──► held ──┐
//!                    └─ staged ──► group 7 ──► committer ── Flushed(7) ─────────┴─► peers, itself
//! ```
//!
//! Commit before promise: an effect that speaks of the disk is held until the group that was
//! being filled when it was caused is committed, or synced. While a group is on its way the
//! next one is being filled; it leaves when the committer reports. That is group commit:
//! under load one `fsync` serves all that came during the one before, and nobody waits for a
//! timer longer than a millisecond. What nobody waits for, because its table is buffered, is
//! synced about a second later.
//!
//! A disk that fails ends the loop, with what is held unanswered. Nothing is tried again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Durability, NodeId, Now, Reply, Request, Status, TableHealth};
use node::{After, Counts, Effect, Input, Message, Node, Ticket};
use storage::FlushError;
use tokio::sync::oneshot;

use super::alarm::Alarm;
use super::held::{GroupNumber, Held, Promise};
use super::mailbox::{Asked, Mail, Mailbox};
use super::measured::{Kind, Measured};
use super::millis_now;
use super::surroundings::{Disk, Network};

/// With so many staged changes no more inputs are taken until the disk has caught up. Then
/// clients are refused, the mailbox fills and peers wait. Each change costs some hundred
/// bytes besides what it holds.
const STAGED_CHANGES_MAX: usize = 100_000;

/// The same for effects that wait for the disk. Repeated questions stage nothing, and are
/// answered when what they ask about is on disk.
const HELD_MAX: usize = 100_000;

/// How long data may be in the hands of the operating system only. A write to a buffered
/// table promises to be on disk about a second later.
const UNSYNCED_MAX: Duration = Duration::from_secs(1);

/// How long a group may wait for those who were just answered to write again. A group that
/// leaves at once, with what came during the last `fsync`, has about half of the clients in
/// it, and the other half in the next: twice as many syncs for the same work.
const LINGER: Duration = Duration::from_millis(1);

/// How long a turn begins with requests of clients, before it looks at what peers have said
/// meanwhile: that is about what was begun, and goes first.
const CLIENTS_TURN_MAX: Duration = Duration::from_millis(5);

/// How many requests are taken before the clock is read again.
const CLIENTS_AT_ONCE: usize = 32;

/// With fewer changes under way than this, waiting costs more than a sync.
const LINGER_CHANGES_MIN: usize = 8;

/// The node, and everything it acts on.
pub(super) struct Driver<D, N> {
    id: NodeId,
    node: Node,
    disk: D,
    network: N,
    mailbox: Arc<Mailbox>,
    /// The same as [`STAGED_CHANGES_MAX`], for what the changes hold.
    staged_bytes_max: usize,
    /// The moment that [`Now`] counts from.
    started: Instant,
    /// When the turn began: reading the clock for each message would be one of its larger
    /// costs.
    now: Now,
    clients: BTreeMap<Ticket, Client>,
    last_ticket: u64,
    held: Held,
    /// The group that is being filled.
    filling: GroupNumber,
    /// When the group in flight was handed over.
    handed_over: Instant,
    measured: Measured,
    /// What the group in flight will have kept when the committer reports.
    in_flight: Option<Promise>,
    /// How many changes are in the group in flight, or were in the last one.
    last_changes: usize,
    /// How many changes seem to be under way at once: those of the last group, and those
    /// that were staged while it was on its way.
    expected_changes: usize,
    /// Until when the next group waits to be that large.
    lingers_until: Now,
    /// When the oldest data was written that has not been handed over to be synced.
    unsynced_since: Option<Now>,
    /// Messages of the node to itself. Empty between two turns.
    to_itself: VecDeque<Message>,
    effects: Vec<Effect>,
    /// Requests of clients on their way into the node. Empty between two turns.
    asked: Vec<Asked>,
    is_finishing: bool,
    /// How often a shard was found to lack something, as far as the log says.
    suspicions: u64,
}

/// A client that waits for an answer.
struct Client {
    answer: oneshot::Sender<Reply>,
    kind: Kind,
    asked: Now,
}

/// What a node tells of itself to those who look after it.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) status: Status,
    pub(super) tables: Vec<TableHealth>,
    pub(super) counts: Counts,
    /// How long ago it was last shown that replicas are equal, of the pair longest ago.
    pub(super) unproven: Option<Duration>,
    pub(super) measured: Measured,
    /// How long the group in flight has been on its way.
    pub(super) disk_waits: Duration,
    /// Changes that wait for the group after it.
    pub(super) staged: usize,
    pub(super) peers: transport::Counts,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    Over,
    Last,
}

impl<D: Disk, N: Network> Driver<D, N> {
    /// Puts the parts together. Nothing happens before [`run`](Self::run).
    pub(super) fn new(
        id: NodeId,
        node: Node,
        disk: D,
        network: N,
        mailbox: Arc<Mailbox>,
        staged_bytes_max: usize,
        started: Instant,
    ) -> Self {
        Self {
            id,
            node,
            disk,
            network,
            mailbox,
            staged_bytes_max,
            started,
            now: Now::default(),
            clients: BTreeMap::new(),
            last_ticket: 0,
            held: Held::default(),
            filling: 1,
            in_flight: None,
            handed_over: started,
            measured: Measured::default(),
            last_changes: 0,
            expected_changes: 0,
            lingers_until: Now::default(),
            unsynced_since: None,
            to_itself: VecDeque::new(),
            effects: Vec::new(),
            asked: Vec::new(),
            is_finishing: false,
            suspicions: 0,
        }
    }

    /// Runs until [`Mail::Finish`] was taken and everything is on disk.
    ///
    /// # Errors
    ///
    /// The disk failed. Whatever was held is dropped unanswered, and the disk must not be
    /// written to any more.
    ///
    /// # Cancellation
    ///
    /// As the death of the process: what is staged and not on disk is lost, and nobody was
    /// told otherwise.
    pub(super) async fn run(mut self) -> Result<(), FlushError> {
        let mut alarm = Alarm::new(self.started);
        let mut mail = Vec::new();
        loop {
            alarm.set([self.node.wake_at(), self.flushes_at()].into_iter().flatten().min());
            tokio::select! {
                () = self.mailbox.arrived() => {}
                () = alarm.rung() => {}
            }
            let now = self.reading(Instant::now());
            self.node.tell_time(now, millis_now());
            if self.turn(now, &mut mail)? == Turn::Last {
                drop(self.network);
                return self.disk.close();
            }
        }
    }

    /// Takes everything that waits and does everything it leads to.
    fn turn(&mut self, now: Now, mail: &mut Vec<Mail>) -> Result<Turn, FlushError> {
        self.now = now;
        if let Some(result) = self.mailbox.take_report() {
            self.retire(result)?;
        }
        for asked in self.mailbox.take_examinations() {
            // Who does not wait any more does not need to be told.
            let _ = asked.send(self.examine());
        }
        if !self.is_choked() {
            let started = self.started;
            self.mailbox.take(mail, self.now, |at| reading(started, at));
        }
        for mail in mail.drain(..) {
            self.open(mail);
        }
        // What is begun comes first, also where this node is its own replica.
        self.hear_itself();
        if !self.is_choked() {
            self.take_clients();
        }
        if self.node.wake_at().is_some_and(|wake_at| wake_at <= self.now) {
            self.step(Input::Woken);
        }
        self.hear_itself();
        self.tell_suspects();
        self.flush()?;
        self.network.flush();
        if self.is_choked() {
            self.mailbox.choke();
        }
        let is_idle =
            self.in_flight.is_none() && self.disk.staged() == 0 && self.mailbox.load().waiting == 0;
        Ok(if self.is_finishing && is_idle { Turn::Last } else { Turn::Over })
    }

    /// Says in the log, once, that shards were found to lack something.
    fn tell_suspects(&mut self) {
        let suspicions = self.node.suspicions();
        if suspicions == self.suspicions {
            return;
        }
        self.suspicions = suspicions;
        let shards: Vec<String> =
            self.node.suspect_shards().map(|shard| shard.to_string()).collect();
        tracing::warn!(
            shards = shards.join(" "),
            "the disk has lost something of these shards: they are compared with all other \
             replicas, and count for nothing that is to be forgotten until then. Where there is no \
             other, `merganser repair` says that what is there is all. Check the disk; \
             `merganser status` names the shards and whom they wait for"
        );
    }

    fn examine(&self) -> Examined {
        Examined {
            status: self.node.status(self.now),
            tables: self.node.health(self.now),
            counts: self.node.counts(),
            unproven: self.node.unproven(self.now),
            measured: self.measured.clone(),
            disk_waits: self.in_flight.map(|_| self.handed_over.elapsed()).unwrap_or_default(),
            staged: self.disk.staged(),
            peers: self.network.counts(),
        }
    }

    /// Returns whether the disk has to catch up before more is taken in. A report of the
    /// committer ends it.
    fn is_choked(&self) -> bool {
        self.in_flight.is_some()
            && (self.staged_bytes_max < self.disk.staged_bytes()
                || STAGED_CHANGES_MAX < self.disk.staged()
                || HELD_MAX < self.held.len())
    }

    /// Lets out what the group in flight has made true.
    fn retire(&mut self, result: Result<(), FlushError>) -> Result<(), FlushError> {
        result?;
        self.disk.flushed();
        self.measured.syncs.record(self.handed_over.elapsed());
        self.measured.synced_changes += self.last_changes as u64;
        let promise = self.in_flight.take().expect("one report for each group handed over");
        self.held.keep(promise, self.filling - 1);
        self.expected_changes = self.last_changes + self.disk.staged();
        self.lingers_until = self.now + LINGER;
        self.release();
        Ok(())
    }

    /// Returns whether the group that is being filled waits for more to come.
    fn lingers(&self) -> bool {
        self.in_flight.is_none()
            && self.held.is_waiting_for(Promise::Synced)
            && LINGER_CHANGES_MIN <= self.expected_changes
            && self.disk.staged() < self.expected_changes
            && self.now < self.lingers_until
            && !self.is_finishing
    }

    fn open(&mut self, mail: Mail) {
        match mail {
            Mail::Received { from, messages, at } => {
                let waited = self.now.since(self.reading(at));
                for message in messages {
                    if message.is_expired(waited) {
                        self.measured.expired += 1;
                        continue;
                    }
                    self.step(Input::Received { from, message });
                }
            }
            Mail::Connected(peer) => self.step(Input::Connected(peer)),
            Mail::Lost(peer) => self.step(Input::Lost(peer)),
            Mail::Finish => self.is_finishing = true,
        }
    }

    /// Begins with requests of clients, for as long as a turn may take.
    fn take_clients(&mut self) {
        let until = Instant::now() + CLIENTS_TURN_MAX;
        let mut asked = std::mem::take(&mut self.asked);
        loop {
            let more = self.mailbox.take_asked(CLIENTS_AT_ONCE, &mut asked);
            for Asked { request, answer, asked_at } in asked.drain(..) {
                let waited = self.now.since(self.reading(asked_at));
                self.take_in(request, waited, answer);
            }
            if !more {
                break;
            }
            if until <= Instant::now() {
                self.mailbox.again();
                break;
            }
        }
        self.asked = asked;
    }

    /// Lets the node begin with a request, with the time that is left of what the client
    /// gave. If none is, it is refused: nothing was changed, and the client may know that.
    fn take_in(&mut self, mut request: Request, waited: Duration, answer: oneshot::Sender<Reply>) {
        self.measured.waits.record(waited);
        let kind = Kind::of(&request);
        if !shorten(&mut request, waited) {
            let reply = self.mailbox.overloaded();
            self.measured.ended(kind, &reply, waited);
            // A client that has gone away does not wait for its answer.
            let _ = answer.send(reply);
            return;
        }
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let asked = Now::from_micros(
            self.now.as_micros().saturating_sub(u64::try_from(waited.as_micros()).unwrap_or(0)),
        );
        self.clients.insert(ticket, Client { answer, kind, asked });
        self.step(Input::Requested { ticket, request });
    }

    fn reading(&self, at: Instant) -> Now {
        reading(self.started, at)
    }

    /// Lets one thing happen to the node, and does what it wants done.
    fn step(&mut self, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.node.step(self.now, input, &mut self.disk, &mut effects);
        for effect in effects.drain(..) {
            self.admit(effect);
        }
        self.effects = effects;
    }

    /// The messages of the node to itself are part of the turn that caused them.
    fn hear_itself(&mut self) {
        while let Some(message) = self.to_itself.pop_front() {
            self.step(Input::Received { from: self.id, message });
        }
    }

    /// Does an effect now, or holds it until what it promises is true.
    fn admit(&mut self, effect: Effect) {
        let promise = match effect {
            Effect::Answer { .. }
            | Effect::Located { .. }
            | Effect::Send { after: After::Now, .. } => {
                return self.perform(effect);
            }
            Effect::Send { after: After::Committed, .. } => Promise::Committed,
            Effect::Send { after: After::Synced, .. } => Promise::Synced,
            Effect::Send { after: After::SyncedSometime, .. } => Promise::SyncedSometime,
        };
        // With nothing staged, all that the effect can speak of was handed over before.
        let group = if self.disk.staged() == 0 { self.filling - 1 } else { self.filling };
        if self.held.is_kept(promise, group) {
            self.perform(effect);
        } else {
            self.held.hold(promise, group, effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, message, after: _ } if to == self.id => {
                self.to_itself.push_back(message);
            }
            Effect::Send { to, message, after: _ } => self.network.send(to, &message),
            Effect::Located { node, address } => self.network.locate(node, address),
            Effect::Answer { ticket, reply } => {
                if let Some(client) = self.clients.remove(&ticket) {
                    let took = self.now.since(client.asked);
                    self.measured.ended(client.kind, &reply, took);
                    // A client that has gone away does not wait for its answer.
                    let _ = client.answer.send(reply);
                }
            }
        }
    }

    fn release(&mut self) {
        while let Some(effect) = self.held.release() {
            self.perform(effect);
        }
    }

    /// Hands what is staged to the disk, unless a group is on its way.
    fn flush(&mut self) -> Result<(), FlushError> {
        while self.in_flight.is_none() && self.needs_flush() {
            if self.lingers() {
                return Ok(());
            }
            if self.must_sync() || self.disk.is_behind() {
                self.flush_behind();
            } else {
                self.disk.flush_now()?;
                self.unsynced_since.get_or_insert(self.now);
                self.held.keep(Promise::Committed, self.filling);
                self.filling += 1;
                self.release();
                self.hear_itself();
            }
        }
        Ok(())
    }

    fn needs_flush(&self) -> bool {
        0 < self.disk.staged() || self.held.is_waiting_for(Promise::Committed) || self.must_sync()
    }

    /// Returns whether the next group has to be on disk: somebody waits for it, or what
    /// nobody waited for has been at risk for long enough.
    fn must_sync(&self) -> bool {
        let is_due = self.syncs_at().is_some_and(|syncs_at| syncs_at <= self.now);
        self.held.is_waiting_for(Promise::Synced) || is_due
    }

    fn syncs_at(&self) -> Option<Now> {
        self.unsynced_since.map(|since| since + UNSYNCED_MAX)
    }

    /// When to look after the disk, unless something happens before. A group in flight
    /// will report.
    fn flushes_at(&self) -> Option<Now> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.lingers() { Some(self.lingers_until) } else { self.syncs_at() }
    }

    /// Hands the group to the committer's thread.
    fn flush_behind(&mut self) {
        let (promise, durability) = if self.must_sync() {
            self.unsynced_since = None;
            (Promise::Synced, Durability::Synced)
        } else {
            self.unsynced_since.get_or_insert(self.now);
            (Promise::Committed, Durability::Buffered)
        };
        self.last_changes = self.disk.staged();
        self.handed_over = Instant::now();
        let mailbox = Arc::clone(&self.mailbox);
        self.disk.flush(durability, Box::new(move |result| mailbox.report(result)));
        self.in_flight = Some(promise);
        self.filling += 1;
    }
}

fn reading(started: Instant, at: Instant) -> Now {
    let micros = at.saturating_duration_since(started).as_micros();
    Now::from_micros(u64::try_from(micros).expect("half a million years of uptime"))
}

/// Takes what a request has waited off the time that it has. Returns whether any is left.
fn shorten(request: &mut Request, waited: Duration) -> bool {
    let timeout = match request {
        Request::Put(put) => &mut put.timeout,
        Request::Get(get) => &mut get.timeout,
        Request::List(list) => &mut list.timeout,
        Request::Recall(recall) => &mut recall.timeout,
        Request::Explain(explain) => &mut explain.timeout,
        Request::Watch(watch) => &mut watch.timeout,
        Request::Salvage(salvage) => &mut salvage.timeout,
        // The node answers the ones at once, and sets the last one's time itself.
        Request::Status | Request::Repair(_) | Request::Declare(_) => return true,
    };
    *timeout = timeout.saturating_sub(waited);
    !timeout.is_zero()
}

#[cfg(test)]
mod tests;
