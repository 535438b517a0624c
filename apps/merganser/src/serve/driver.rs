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
//! timer.
//!
//! A disk that fails ends the loop, with what is held unanswered. Nothing is tried again.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Durability, NodeId, Now, Reply};
use node::{After, Effect, Input, Message, Node, Ticket};
use storage::{FlushError, Storage};
use tokio::sync::oneshot;
use tokio::time::Sleep;
use transport::Peers;

use super::held::{GroupNumber, Held, Promise};
use super::mailbox::{Mail, Mailbox};

/// Above so many staged bytes no more inputs are taken until the disk has caught up. Then
/// the mailbox fills, clients are refused and peers wait. Larger than a few of the largest
/// values, small beside the memory of any machine.
const STAGED_BYTES_MAX: usize = 64 << 20;

/// The same for the number of changes, of which each costs some hundred bytes.
const STAGED_CHANGES_MAX: usize = 100_000;

/// How long a group may wait for those who were just answered to write again. A group that
/// leaves at once, with what came during the last `fsync`, has about half of the clients in
/// it, and the other half in the next: twice as many syncs for the same work.
const LINGER: Duration = Duration::from_millis(1);

/// With fewer changes under way than this, waiting costs more than a sync.
const LINGER_CHANGES_MIN: usize = 8;

/// The node, and everything it acts on.
pub(super) struct Driver {
    id: NodeId,
    node: Node,
    disk: Storage,
    peers: Peers,
    mailbox: Arc<Mailbox>,
    /// The moment that [`Now`] counts from.
    started: Instant,
    /// When the turn began: reading the clock for each message would be one of its larger
    /// costs.
    now: Now,
    clients: BTreeMap<Ticket, oneshot::Sender<Reply>>,
    last_ticket: u64,
    held: Held,
    /// The group that is being filled.
    filling: GroupNumber,
    /// What the group in flight will have kept when the committer reports.
    in_flight: Option<Promise>,
    /// How many changes are in the group in flight, or were in the last one.
    last_changes: usize,
    /// How many changes seem to be under way at once: those of the last group, and those
    /// that were staged while it was on its way.
    expected_changes: usize,
    /// Until when the next group waits to be that large.
    lingers_until: Now,
    /// Messages of the node to itself.
    to_itself: VecDeque<Message>,
    effects: Vec<Effect>,
    is_finishing: bool,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Turn {
    Over,
    Last,
}

impl Driver {
    /// Puts the parts together. Nothing happens before [`run`](Self::run).
    pub(super) fn new(
        id: NodeId,
        node: Node,
        disk: Storage,
        peers: Peers,
        mailbox: Arc<Mailbox>,
        started: Instant,
    ) -> Self {
        Self {
            id,
            node,
            disk,
            peers,
            mailbox,
            started,
            now: Now::default(),
            clients: BTreeMap::new(),
            last_ticket: 0,
            held: Held::default(),
            filling: 1,
            in_flight: None,
            last_changes: 0,
            expected_changes: 0,
            lingers_until: Now::default(),
            to_itself: VecDeque::new(),
            effects: Vec::new(),
            is_finishing: false,
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
            let lingers_until = self.lingers().then_some(self.lingers_until);
            alarm.set([self.node.wake_at(), lingers_until].into_iter().flatten().min());
            tokio::select! {
                () = self.mailbox.arrived() => {}
                () = alarm.rung() => {}
            }
            if self.turn(&mut mail)? == Turn::Last {
                drop(self.peers);
                return self.disk.close();
            }
        }
    }

    /// Takes everything that waits and does everything it leads to.
    fn turn(&mut self, mail: &mut Vec<Mail>) -> Result<Turn, FlushError> {
        self.now = self.read_clock();
        if let Some(result) = self.mailbox.take_report() {
            self.retire(result)?;
        }
        if !self.is_choked() {
            self.mailbox.take(mail);
        }
        for mail in mail.drain(..) {
            self.open(mail);
        }
        if self.node.wake_at().is_some_and(|wake_at| wake_at <= self.now) {
            self.step(Input::Woken);
        }
        self.hear_itself();
        self.flush()?;
        self.peers.flush();
        let is_idle = self.in_flight.is_none() && self.disk.staged() == 0;
        Ok(if self.is_finishing && is_idle { Turn::Last } else { Turn::Over })
    }

    /// Returns whether the disk has to catch up before more is taken in. A report of the
    /// committer ends it.
    fn is_choked(&self) -> bool {
        self.in_flight.is_some()
            && (STAGED_BYTES_MAX < self.disk.staged_bytes()
                || STAGED_CHANGES_MAX < self.disk.staged())
    }

    /// Lets out what the group in flight has made true.
    fn retire(&mut self, result: Result<(), FlushError>) -> Result<(), FlushError> {
        result?;
        self.disk.flushed();
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
            Mail::Asked { request, answer } => {
                self.last_ticket += 1;
                let ticket = Ticket(self.last_ticket);
                self.clients.insert(ticket, answer);
                self.step(Input::Requested { ticket, request });
            }
            Mail::Received { from, messages } => {
                for message in messages {
                    self.step(Input::Received { from, message });
                }
            }
            Mail::Connected(peer) => self.step(Input::Connected(peer)),
            Mail::Lost(peer) => self.step(Input::Lost(peer)),
            Mail::Finish => self.is_finishing = true,
        }
    }

    fn read_clock(&self) -> Now {
        let micros = self.started.elapsed().as_micros();
        Now::from_micros(u64::try_from(micros).expect("half a million years of uptime"))
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
            Effect::Answer { .. } | Effect::Send { after: After::Now, .. } => {
                return self.perform(effect);
            }
            Effect::Send { after: After::Committed, .. } => Promise::Committed,
            Effect::Send { after: After::Synced, .. } => Promise::Synced,
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
            Effect::Send { to, message, after: _ } => self.peers.send(to, &message),
            Effect::Answer { ticket, reply } => {
                if let Some(client) = self.clients.remove(&ticket) {
                    // A client that has gone away does not wait for its answer.
                    let _ = client.send(reply);
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
            if self.held.is_waiting_for(Promise::Synced) || self.disk.is_behind() {
                self.flush_behind();
            } else {
                self.disk.flush_now()?;
                self.held.keep(Promise::Committed, self.filling);
                self.filling += 1;
                self.release();
                self.hear_itself();
            }
        }
        Ok(())
    }

    fn needs_flush(&self) -> bool {
        0 < self.disk.staged()
            || self.held.is_waiting_for(Promise::Synced)
            || self.held.is_waiting_for(Promise::Committed)
    }

    /// Hands the group to the committer's thread.
    fn flush_behind(&mut self) {
        let (promise, durability) = if self.held.is_waiting_for(Promise::Synced) {
            (Promise::Synced, Durability::Synced)
        } else {
            (Promise::Committed, Durability::Buffered)
        };
        self.last_changes = self.disk.staged();
        let mailbox = Arc::clone(&self.mailbox);
        self.disk.flush(durability, Box::new(move |result| mailbox.report(result)));
        self.in_flight = Some(promise);
        self.filling += 1;
    }
}

/// A timer that is only set again when it must ring earlier. Most deadlines are never
/// reached, and ringing too early costs one idle step.
struct Alarm {
    started: Instant,
    rings_at: Option<Now>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    fn new(started: Instant) -> Self {
        Self { started, rings_at: None, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }

    fn set(&mut self, wake_at: Option<Now>) {
        let Some(wake_at) = wake_at else { return };
        if self.rings_at.is_none_or(|rings_at| wake_at < rings_at) {
            let at = self.started + Duration::from_micros(wake_at.as_micros());
            self.sleep.as_mut().reset(at.into());
            self.rings_at = Some(wake_at);
        }
    }

    async fn rung(&mut self) {
        if self.rings_at.is_none() {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.rings_at = None;
    }
}
