//! Writes that arrive at a node which is no replica of their key.
//!
//! A replica mints the dot of a write, so the request moves on to one that is alive.
//! Reads need no such detour: any node can ask the replicas.
//!
//! A replica that does not answer may have done what was asked. Asking another would make two
//! writes of one, unless the write has a token: then the next one is asked, for as long as
//! there is time, and whatever it says afterwards, the first may have it.
//!
//! In a sloppy keyspace a replica that says that it sees too few others is not believed for all:
//! this node may see enough. The next is asked, and if no replica takes the write, this node
//! accepts it itself, as if none were there. It must not do so if one may have it already,
//! unless the write has a token. If it has no room for what it would have to keep, it asks the
//! other guests in the same way, of which the first that has room accepts the write.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::{Failure, NodeId, Put, Refusal, Reply, Request, ShardId, no_room};
use mutant::{Mutant, is};

use crate::contracts::Site;
use crate::flight::{Client, Flight, Work};
use crate::{After, Disk, Forward, Forwarded, Message, Node, RequestId, Turn};

/// How much sooner than its client the other node gives up.
const HEAD_START: Duration = Duration::from_millis(50);

/// How long a write waits for what its session has seen, before replicas are asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// A request in the hands of another node.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(crate) to: NodeId,
    /// Who can be asked if that node does not know the table, lacks something, has too much to do,
    /// or says nothing of a write that can be repeated.
    rest: VecDeque<NodeId>,
    asked: Put,
    wanted: u8,
    /// Whether this node may accept it itself, if nobody else does.
    may_mint: bool,
    /// Whether guests are asked, because this one has no room.
    is_for_guests: bool,
    /// Whether somebody was asked who did not answer, and who may have done it.
    is_unsure: bool,
    /// What to say if none of them knows it.
    not_attempted: Failure,
    /// Whether it waits a while for what a session has seen to come to the replicas.
    is_resting: bool,
}

/// What others have said of a write before this node accepts it.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Whether somebody was asked who did not answer, and who may have done it.
    pub(crate) is_unsure: bool,
    /// That a replica is overloaded. That is over sooner than a want of room.
    pub(crate) overloaded: Option<Failure>,
}

/// How many forwarded requests of one node are remembered. When full, the oldest is
/// forgotten: a network that repeats a message does so within seconds.
const TAKEN_MAX: usize = 4_096;

/// The forwarded requests that this node has taken on, by who sent them.
///
/// Accepting a write is the one thing that is not a merge. A message that arrives twice
/// must not make two writes of one, whose values would be siblings for ever.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    by_node: BTreeMap<NodeId, (BTreeSet<RequestId>, VecDeque<RequestId>)>,
}

impl Taken {
    /// Remembers a request. Returns whether it is taken on for the first time.
    pub(crate) fn insert(&mut self, from: NodeId, request: RequestId) -> bool {
        let (known, order) = self.by_node.entry(from).or_default();
        if !known.insert(request) && !is(Mutant::ForwardTakenTwice) {
            return false;
        }
        order.push_back(request);
        if TAKEN_MAX < order.len()
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}

impl Node {
    /// Passes a write on to a replica that is alive, and to the next one if that replica
    /// does not know the table yet.
    pub(crate) fn forward<D: Disk>(
        &mut self,
        client: Client,
        site: &Site,
        asked: Put,
        (wanted, behind): (u8, Option<Failure>),
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let mut alive = self.in_order(site, turn.now);
        let is_other = |node: NodeId| node != self.config.id;
        alive.retain(|node| is_other(*node) && self.serves(*node, turn.now));
        let not_attempted = Failure::NotAttempted {
            wanted,
            alive: u8::try_from(alive.len()).unwrap_or(u8::MAX),
            replicas: site.n,
            lacks: String::new(),
        };
        let not_attempted = behind.unwrap_or(not_attempted);
        // A request that was passed on is not passed on again: the nodes disagree about
        // who keeps the key, and it could wander for ever.
        if client.is_forwarded() {
            return Err(not_attempted);
        }
        let deadline = turn.now + asked.timeout;
        let rest = alive.into_iter().collect();
        let (to, is_unsure) = (self.config.id, false);
        let may_mint = self.may_mint(site);
        let forwarding = Forwarding {
            to,
            rest,
            asked,
            wanted,
            may_mint,
            is_for_guests: false,
            is_unsure,
            not_attempted,
            is_resting: false,
        };
        let work = Work::Forward(forwarding);
        self.forward_next(
            Flight { client, begun: turn.now, deadline, timer: deadline, work },
            turn,
        );
        Ok(())
    }

    /// Passes a write for which there is no room here on to another guest, and to the next one if
    /// that one has no room either.
    pub(crate) fn forward_to_guests<D: Disk>(
        &mut self,
        client: Client,
        shard: ShardId,
        (asked, wanted): (Put, u8),
        (full, heard): (Failure, Heard),
        turn: &mut Turn<'_, D>,
    ) {
        let is_other = |node: &NodeId| *node != self.config.id;
        let rest = self.contracts.guests(shard).iter().copied().filter(is_other).collect();
        let deadline = turn.now + asked.timeout;
        let forwarding = Forwarding {
            to: self.config.id,
            rest,
            asked,
            wanted,
            may_mint: false,
            is_for_guests: true,
            is_unsure: heard.is_unsure,
            not_attempted: heard.overloaded.unwrap_or(full),
            is_resting: false,
        };
        let work = Work::Forward(forwarding);
        self.forward_next(
            Flight { client, begun: turn.now, deadline, timer: deadline, work },
            turn,
        );
    }

    fn forward_next<D: Disk>(&mut self, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let id = self.new_request();
        let left = flight.deadline.since(turn.now);
        let Work::Forward(forwarding) = &mut flight.work else { return };
        let is_away = |node: &NodeId| !self.membership.is_alive(*node, turn.now);
        while forwarding.rest.front().is_some_and(is_away) {
            forwarding.rest.pop_front();
        }
        let Some(to) = forwarding.rest.pop_front() else {
            if forwarding.may_rest() && 2 * PAUSE < left {
                return self.rest(id, flight, turn);
            }
            return self.accept_after_all(flight, turn);
        };
        forwarding.to = to;
        let mut asked = forwarding.asked_next();
        // The other node gives up first, so that its answer, which tells who took part, is
        // there in time.
        asked.timeout = left.saturating_sub(HEAD_START.min(left / 4));
        flight.timer = flight.deadline;
        if forwarding.may_ask_next() {
            // Half of the time that is left is enough for a node that is there.
            flight.timer = flight.deadline.min(turn.now + left / 2);
        }
        let asked = Request::Put(asked);
        turn.send(to, Message::Forward(Forward { request: id, asked }), After::Now);
        self.keep_until(id, flight);
    }

    /// All replicas lack something that a session has seen. It is on its way: they are asked again
    /// after a pause.
    fn rest<D: Disk>(&mut self, id: RequestId, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let Work::Forward(forwarding) = &mut flight.work else { return };
        let asked = &forwarding.asked;
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition());
        forwarding.rest = site.map(|site| site.replicas.into()).unwrap_or_default();
        forwarding.is_resting = true;
        flight.timer = flight.deadline.min(turn.now + PAUSE);
        self.keep_until(id, flight);
    }

    /// No replica has taken a write. If this node may, it accepts it itself.
    fn accept_after_all<D: Disk>(&mut self, flight: Flight, turn: &mut Turn<'_, D>) {
        let Work::Forward(forwarding) = flight.work else { return };
        let client = flight.client;
        if !forwarding.may_accept() {
            return self.fail(client, forwarding.failure(), turn);
        }
        let mut asked = forwarding.asked_next();
        asked.timeout = flight.deadline.since(turn.now);
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition());
        let accepted = site.map_err(Failure::from).and_then(|site| {
            let need = self.write_need(&site, asked.options, self.region_of(client), turn.now)?;
            self.take_or_pass(client, site, asked, need, forwarding.heard(), turn)
        });
        match accepted {
            Ok(()) => {}
            Err(failure) => self.fail(client, forwarding.why(failure), turn),
        }
    }

    pub(crate) fn forwarded<D: Disk>(&mut self, forwarded: Forwarded, turn: &mut Turn<'_, D>) {
        let Some(Flight { work: Work::Forward(_), .. }) = self.flights.get(&forwarded.request)
        else {
            return;
        };
        let Some(mut flight) = self.take(forwarded.request) else { return };
        // This node knows the table, so the other one has only not heard of it yet.
        if is_unknown_table(&forwarded.reply) {
            return self.forward_next(flight, turn);
        }
        let Work::Forward(forwarding) = &mut flight.work else { return };
        // Nothing was changed there, and another replica may have what was missing.
        if let Reply::Failed(behind @ Failure::SessionBehind { .. }) = &forwarded.reply {
            forwarding.declined(behind);
            return self.forward_next(flight, turn);
        }
        // One node has too much to do. That says nothing of the next.
        if let Reply::Failed(busy @ Failure::Refused(Refusal::Overloaded { .. })) = &forwarded.reply
        {
            forwarding.declined(busy);
            return self.forward_next(flight, turn);
        }
        // Its disk is new, and others have theirs.
        if let Reply::Failed(new @ Failure::Refused(Refusal::Joining { .. })) = &forwarded.reply {
            forwarding.declined(new);
            return self.forward_next(flight, turn);
        }
        // Nor does it say that others have room.
        if let Reply::Failed(Failure::Refused(Refusal::HintsFull { nodes, .. })) = &forwarded.reply
        {
            forwarding.are_full(nodes);
            return self.forward_next(flight, turn);
        }
        let may_go_on = forwarding.may_accept() || forwarding.is_for_guests;
        let is_believed = is(Mutant::NotAttemptedBelieved) || !may_go_on;
        if is_not_attempted(&forwarded.reply) && !is_believed {
            return self.forward_next(flight, turn);
        }
        let is_certain = !forwarding.is_unsure || is(Mutant::RefusalBelieved);
        if !is_certain && is_unchanged(&forwarded.reply) {
            let failure = forwarding.unknown();
            return self.fail(flight.client, failure, turn);
        }
        self.answer(flight.client, forwarded.reply, turn);
    }

    /// A node has answered whose disk was given up: it is as if it had not.
    pub(crate) fn forward_refused<D: Disk>(&mut self, id: RequestId, turn: &mut Turn<'_, D>) {
        if let Some(Flight { work: Work::Forward(_), .. }) = self.flights.get(&id)
            && let Some(flight) = self.take(id)
        {
            self.forward_failed(flight, turn);
        }
    }

    /// The other node did not answer. It may have done what was asked. A write with a token can
    /// be asked of the next one all the same.
    pub(crate) fn forward_failed<D: Disk>(&mut self, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let is_late = flight.deadline <= turn.now;
        let Work::Forward(forwarding) = &mut flight.work else { return };
        if !is_late && std::mem::take(&mut forwarding.is_resting) {
            return self.forward_next(flight, turn);
        }
        if !is_late && forwarding.may_ask_next() {
            forwarding.is_unsure = true;
            return self.forward_next(flight, turn);
        }
        if is(Mutant::UnknownForwardedAgain)
            && let Some(to) = forwarding.rest.front()
        {
            let asked = Request::Put(forwarding.asked.clone());
            let forward = Forward { request: self.new_request(), asked };
            turn.send(*to, Message::Forward(forward), After::Now);
        }
        let failure = match is_late && std::mem::take(&mut forwarding.is_resting) {
            true => forwarding.failure(),
            false => forwarding.unknown(),
        };
        self.fail(flight.client, failure, turn);
    }
}

impl Forwarding {
    /// What the next node is asked. It may mint a twin of what another has minted.
    fn asked_next(&self) -> Put {
        Put { repeated: self.asked.repeated || self.is_unsure, ..self.asked.clone() }
    }

    /// Whether another node can be asked although one may have done it.
    fn may_ask_next(&self) -> bool {
        self.asked.token.is_some() && (!self.rest.is_empty() || self.may_mint)
    }

    /// Whether all that is in the way is on its way.
    fn may_rest(&self) -> bool {
        !self.is_unsure
            && !self.is_for_guests
            && matches!(self.not_attempted, Failure::SessionBehind { missing: Some(_), .. })
    }

    /// Whether this node can accept the write in the end.
    fn may_accept(&self) -> bool {
        self.may_mint && (!self.is_unsure || self.asked.token.is_some())
    }

    /// Somebody says why it does not take the write. Guests are asked because there is no room,
    /// and that is what is said in the end, unless one may have room and has too much to do: that
    /// is what the client can wait for.
    fn declined(&mut self, why: &Failure) {
        let is_overloaded = matches!(why, Failure::Refused(Refusal::Overloaded { .. }));
        if !self.is_for_guests || is_overloaded {
            self.not_attempted = why.clone();
        }
    }

    /// These have no room either.
    fn are_full(&mut self, nodes: &[NodeId]) {
        if let Failure::Refused(Refusal::HintsFull { nodes: all, .. }) = &mut self.not_attempted {
            all.extend(nodes);
        }
    }

    /// What to say if nobody else can be asked.
    fn failure(&self) -> Failure {
        if self.is_unsure { self.unknown() } else { self.not_attempted.clone() }
    }

    /// What to say if this node does not accept it either. That it lacks what a session has seen
    /// is so of every guest: if a replica is overloaded, that is what the client can wait for.
    fn why(&self, own: Failure) -> Failure {
        let is_behind = matches!(own, Failure::SessionBehind { .. });
        if self.is_unsure || (is_behind && self.is_overloaded()) { self.failure() } else { own }
    }

    /// Whether the last that said why it did not take the write is overloaded.
    fn is_overloaded(&self) -> bool {
        matches!(self.not_attempted, Failure::Refused(Refusal::Overloaded { .. }))
    }

    fn heard(&self) -> Heard {
        let overloaded = self.is_overloaded().then(|| self.not_attempted.clone());
        Heard { is_unsure: self.is_unsure, overloaded }
    }

    /// What to say if nobody has said what became of it.
    fn unknown(&self) -> Failure {
        let mut lacks = String::new();
        if let Failure::Refused(Refusal::HintsFull { nodes, .. }) = &self.not_attempted {
            lacks = format!("{} for what is kept for others", no_room(nodes));
        }
        Failure::Unknown { wanted: self.wanted, got: 0, receipt: None, lacks }
    }
}

/// Whether an answer says that nothing was changed.
fn is_unchanged(reply: &Reply) -> bool {
    use Failure::{NotAttempted, Refused, SessionBehind};
    matches!(reply, Reply::Failed(Refused(_) | NotAttempted { .. } | SessionBehind { .. }))
}

fn is_not_attempted(reply: &Reply) -> bool {
    matches!(reply, Reply::Failed(Failure::NotAttempted { .. }))
}

fn is_unknown_table(reply: &Reply) -> bool {
    use Refusal::{UnknownKeyspace, UnknownTable};
    matches!(reply, Reply::Failed(Failure::Refused(UnknownKeyspace(_) | UnknownTable { .. })))
}
