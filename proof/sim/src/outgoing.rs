//! What a node wants done, carried out.
//!
//! A message waits in the disk until what it speaks of has come as far as it promises,
//! then goes to the network, which decides when and how often it arrives. And the disk
//! begins what there is to begin.

use model::{NodeId, Put, Request};
use node::{Effect, Message};

use crate::bytes;
use crate::disk::Work;
use crate::network::Passage;
use crate::oracle::WriteId;
use crate::report::Broken;
use crate::workload::Op;
use crate::world::{Event, Open, Phase, World};

/// The longest that a disk takes for anything. What is slow when the faults end must be
/// over before every request has to succeed.
const STALL_MAX: u64 = 3_000_000;

impl World {
    pub(crate) fn carry_out(
        &mut self,
        at: NodeId,
        effect: Effect,
        write: Option<WriteId>,
    ) -> Result<(), Broken> {
        match effect {
            Effect::Answer { ticket, reply } => return self.answered(ticket, reply),
            Effect::Located { .. } => {}
            Effect::Send { to, message, after } => {
                self.remember(at, &message, write);
                self.check_told_to_watchers(at, &message)?;
                if let Some(message) = self.host(at).disk.hold(after, to, message) {
                    return self.send(at, to, &message);
                }
            }
        }
        Ok(())
    }

    /// Remembers which write a forwarded request is.
    fn remember(&mut self, at: NodeId, message: &Message, write: Option<WriteId>) {
        if let Message::Forward(forward) = message {
            let write = write.or_else(|| self.asked_at(at, &forward.asked));
            write.map(|id| self.forwards.insert((at, forward.request), id));
        }
        self.remember_fetch(at, message);
    }

    /// The write that a client asked of this node in these words. A node that forwards it once
    /// more says how much time is left.
    fn asked_at(&self, at: NodeId, asked: &Request) -> Option<WriteId> {
        let same = |open: &&Open| open.at == at && is_same(&open.request, asked);
        self.open.values().filter(same).find_map(|open| match open.op {
            Op::Write { id, .. } => Some(id),
            Op::Read { .. }
            | Op::Recall { .. }
            | Op::List(_)
            | Op::Watch { .. }
            | Op::Declare(_)
            | Op::Nowhere
            | Op::Ask => None,
        })
    }

    /// The bytes of a message are damaged on their way: it is refused at the other end, and
    /// the connection breaks and is made again.
    fn damage(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), Broken> {
        *self.fault_counts.entry("message damaged").or_default() += 1;
        bytes::damage_message(message, self.network.bits())?;
        self.tell_ends((from, to), false);
        self.tell_ends((from, to), true);
        Ok(())
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), Broken> {
        // To a node itself there is no network. And a forwarded request is no merge: the
        // connection it travels on ends with the process at its other end.
        let is_bound = from == to || matches!(message, Message::Forward(_));
        let life = is_bound.then(|| self.host(to).life);
        let sent = self.now;
        let event =
            |from| Event::Deliver { to, from, life, sent, message: Box::new(message.clone()) };
        let (now, far) = (self.now, self.network.far(from, to));
        match self.network.send(now, from, to) {
            Passage::Never => {
                self.troubles.of_way(from, to, now);
                *self.fault_counts.entry("message lost").or_default() += 1;
            }
            Passage::Damaged => {
                self.troubles.of_way(from, to, now);
                return self.damage(from, to, message);
            }
            Passage::Once(after) => {
                self.troubles.of_message((from, to), now, after, far);
                self.arrange(after, event(from));
            }
            Passage::Twice(first, second) => {
                self.troubles.of_message((from, to), now, first, far);
                *self.fault_counts.entry("message doubled").or_default() += 1;
                self.arrange(first, event(from));
                self.arrange(second, event(from));
            }
        }
        for other in self.forgers(message) {
            self.arrange(1, event(other));
        }
        Ok(())
    }

    /// Lets a disk begin what it can, and lets out what waited for what it has done.
    pub(crate) fn move_on(&mut self, at: NodeId) -> Result<(), Broken> {
        for (to, message) in self.host(at).disk.release() {
            self.send(at, to, &message)?;
        }
        let (now, (factor, until)) = (self.now, self.host(at).slow_disk);
        let factor = if now < until { factor } else { 1 };
        let life = self.host(at).life;
        for work in self.host(at).disk.begin() {
            let plan = self.plan.disk;
            // A disk that stalls is a fault like any other, and ends with them.
            let tail = if self.phase == Phase::Safety { plan.tail } else { 0 };
            let micros = match work {
                Work::Commit => self.disk_dice.micros(plan.commit, tail),
                Work::Sync => self.disk_dice.micros(plan.sync, tail),
                Work::LazySync => self.disk_dice.micros(plan.sync * 4, tail),
            };
            let after = (micros * factor).min(STALL_MAX);
            self.troubles.of_disk(at, now, after);
            self.arrange(after, Event::Done { at, life, work });
        }
        Ok(())
    }
}

/// Whether two requests are the same write, however long each may take.
pub(crate) fn is_same(a: &Request, b: &Request) -> bool {
    match (a, b) {
        (Request::Put(a), Request::Put(b)) => {
            *a == Put { timeout: a.timeout, repeated: a.repeated, ..b.clone() }
        }
        (a, b) => a == b,
    }
}

/// A message as numbers and as a name, for the trace.
pub(crate) fn identify(message: &Message) -> (u64, u64, &'static str) {
    match message {
        Message::Merge(merge) => (1, merge.request.0, "merge"),
        Message::Merged(merged) => (2, merged.request.0, "merged"),
        Message::Fetch(fetch) => (3, fetch.request.0, "fetch"),
        Message::Fetched(fetched) => (4, fetched.request.0, "fetched"),
        Message::Scan(scan) => (5, scan.request.0, "scan"),
        Message::Scanned(scanned) => (6, scanned.request.0, "scanned"),
        Message::Forward(forward) => (7, forward.request.0, "forward"),
        Message::Forwarded(forwarded) => (8, forwarded.request.0, "forwarded"),
        Message::Probe { catalog_version, .. } => (9, *catalog_version, "probe"),
        Message::Probed { catalog_version } => (10, *catalog_version, "probed"),
        Message::Prepare { ballot } => (11, ballot.round, "prepare"),
        Message::Promised { ballot, .. } => (12, ballot.round, "promised"),
        Message::Accept { ballot, .. } => (13, ballot.round, "accept"),
        Message::Accepted { ballot } => (14, ballot.round, "accepted"),
        Message::Rejected { ballot, .. } => (15, ballot.round, "rejected"),
        Message::Learn { catalog } => (16, catalog.version, "learn"),
        Message::Gossip { packet } => (17, packet.len() as u64, "gossip"),
        Message::Clocks(clocks) => (18, clocks.stamp.0, "clocks"),
        Message::Alike(alike) => (63, alike.stamp.into(), "alike"),
        Message::Lack(lack) => (19, lack.request.0, "lack"),
        Message::Sent(sent) => (20, sent.request.0, "sent"),
        Message::Holding { count, .. } => (21, *count, "holding"),
        Message::Take { bytes } => (22, *bytes, "take"),
        Message::Compare(compare) => (23, compare.request.0, "compare"),
        Message::Compared(compared) => (24, compared.request.0, "compared"),
        Message::Bring(bring) => (25, bring.request.0, "bring"),
        Message::Spared(spared) => (62, spared.request.0, "spared"),
        Message::Forgot(forgot) => (64, forgot.keys.len() as u64, "forgot"),
        Message::Follow(follow) => (26, follow.request.0, "follow"),
        Message::Followed(followed) => (27, followed.request.0, "followed"),
        Message::Vouch(vouch) => (40, vouch.request.0, "vouch"),
        Message::Vouched(vouched) => (41, vouched.request.0, "vouched"),
        Message::Doubt(doubt) => (42, doubt.request.0, "doubt"),
        Message::Doubted(doubted) => (43, doubted.request.0, "doubted"),
        Message::Examine(examine) => (34, examine.request.0, "examine"),
        Message::Examined(examined) => (35, examined.request.0, "examined"),
        Message::Recognise(recognise) => (60, recognise.request.0, "recognise"),
        Message::Recognised(recognised) => (61, recognised.request.0, "recognised"),
    }
}
