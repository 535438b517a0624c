//! Reads of one key.

mod effects;

use std::collections::BTreeSet;
use std::time::Duration;

use coordinator::{Get, GetEffect, GetEvent};
use model::{Address, Failure, Now, Object};
use mutant::{Mutant, is};

use crate::doubt::{Doubts, doubt};
use crate::flight::{Client, Flight, SLOW, Work};
use crate::recall::{Purpose, Recalling};
use crate::session::Sessioned;
use crate::shards::digest;
use crate::{Disk, Fetched, Found, Merged, Node, NodeId, RequestId, Site, Turn, Verdict};

/// How long an answered read waits for the replicas that were asked and are late. They
/// may be behind, and would be repaired; but nobody else waits.
const LINGER: Duration = Duration::from_secs(1);

/// A read, until its client is answered and its replicas are repaired.
#[derive(Debug)]
pub(crate) struct Getting {
    get: Get<Object>,
    site: Site,
    address: Address,
    /// Who was asked, some of them twice.
    asked: Vec<Asked>,
    /// The token that is looked for, if the client wants to know what became of it.
    recalling: Option<Box<Recalling>>,
    /// The session that it is a part of.
    session: Option<Box<Sessioned>>,
    /// Those who said that they have forgotten something in the shard.
    forgetful: BTreeSet<NodeId>,
}

/// One question to one replica.
#[derive(Debug)]
struct Asked {
    node: NodeId,
    since: Now,
    is_answered: bool,
    /// Whether the time that it takes says something about the replica: not if it waits for the
    /// disk.
    is_timed: bool,
    /// How old the answer can be, if it says so.
    staleness: Option<Duration>,
}

impl Getting {
    /// A read that looks for a token.
    pub(crate) fn recalling(
        get: Get<Object>,
        site: Site,
        address: Address,
        recalling: Recalling,
    ) -> Self {
        let recalling = Some(Box::new(recalling));
        let (asked, forgetful) = (Vec::new(), BTreeSet::new());
        Self { get, site, address, asked, recalling, session: None, forgetful }
    }

    /// The session of which something is missing yet. Not if the answer is found, and is brought
    /// to replicas.
    fn looked_for(&self) -> Option<&Sessioned> {
        let is_found = self.get.is_answered() || self.get.is_settling();
        self.session.as_deref().filter(|_| !is_found)
    }

    /// Who holds something else than what all hold together, and may have forgotten the rest.
    fn doubts(&self, object: &Object) -> Doubts {
        let mut doubts = Doubts::new();
        for node in self.get.differing().into_iter().filter(|node| self.forgetful.contains(node)) {
            doubt(&mut doubts, (node, self.site.shard), &self.address, object);
        }
        doubts
    }

    /// Whether nobody was asked who may still answer.
    fn has_heard_all(&self) -> bool {
        self.asked.iter().all(|asked| asked.is_answered || !self.get.expects(asked.node))
    }

    /// Whether it only looks at what there is.
    fn is_explaining(&self) -> bool {
        self.recalling.as_ref().is_some_and(|told| matches!(told.purpose, Purpose::Explain))
    }

    /// Whether it looks for a token, and waits for disks.
    fn is_recalling(&self) -> bool {
        self.recalling.is_some()
    }
}

/// What a client sees of an object. A write that was tried twice is one.
pub(crate) fn shown(object: Object) -> Object {
    if is(Mutant::TwinsShown) { object } else { object.shown() }
}

impl Node {
    /// Asks as many replicas as the read needs.
    pub(crate) fn get<D: Disk>(
        &mut self,
        client: Client,
        asked: &model::Get,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition())?;
        let session = Sessioned::new(asked, site.shard).map(Box::new);
        self.read(client, asked, site, session, turn)
    }

    /// Begins a read, or begins again with one of a session.
    fn read<D: Disk>(
        &mut self,
        client: Client,
        asked: &model::Get,
        site: Site,
        session: Option<Box<Sessioned>>,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let mut need = self.read_need(&site, asked.options, turn.now)?;
        if let Some(session) = &session {
            session.demand(&mut need, &site, self.contracts.is_sloppy(site.shard))?;
            self.attempt(&site, need.least(), &[], &need.primaries, turn.now)?;
        }
        let settled = asked.monotonic.then(|| self.monotonic_need(&site, &mut need, turn.now));
        let settled = settled.transpose()?;
        let id = self.new_request();
        let order = self.in_order(&site, turn.now);
        let mut effects = Vec::new();
        let guests = self.guests(&site, false, turn.now);
        let away = self.away(&site, &[&need.answers], turn.now);
        let mut get = Get::start(&order, guests, need, digest, &mut effects);
        if let Some(settled) = settled {
            get = get.settled_at(settled, &order);
        }
        if session.as_ref().is_some_and(|session| session.is_behind()) {
            get = get.of_session();
        }
        for node in away {
            get.step(GetEvent::Failed(node), &mut effects);
        }
        if session.as_ref().is_some_and(|session| session.is_again) {
            get.step(GetEvent::Slow, &mut effects);
        }
        let address = Address { table: site.table.id, key: asked.key.clone() };
        let deadline = turn.now + asked.timeout;
        // Who answers after an fsync is not slow, and nobody else is asked for it.
        let usual = match &session {
            Some(session) => session.pause,
            None if asked.monotonic => SLOW,
            None => self.pace.begin(site.table.id).min(SLOW),
        };
        let is_done = get.is_done();
        let (asked, recalling) = (Vec::new(), None);
        let forgetful = BTreeSet::new();
        let getting = Getting { get, site, address, asked, recalling, session, forgetful };
        let work = Work::Get(getting);
        let timer = deadline.min(turn.now + usual);
        let mut flight = Flight { client, begun: turn.now, deadline, timer, work };
        self.get_effects(id, &mut flight, effects, turn);
        // It may be over before anybody has answered: all who were needed are away.
        if is_done {
            self.give_up_waiting(&flight, turn.now);
        } else {
            self.keep_until(id, flight);
        }
        Ok(())
    }

    pub(crate) fn fetched<D: Disk>(
        &mut self,
        from: NodeId,
        fetched: Fetched,
        turn: &mut Turn<'_, D>,
    ) {
        let Some(Flight { work: Work::Get(_), .. }) = self.flights.get(&fetched.request) else {
            return;
        };
        let Some(mut flight) = self.take(fetched.request) else { return };
        self.heard_of(from, &fetched, &mut flight, turn.now);
        // What comes too late, from a node that was given up, is not in the answer.
        if let (Work::Get(Getting { session: Some(session), get, .. }), Some(known)) =
            (&mut flight.work, fetched.known)
            && matches!(fetched.found, Found::Full(_))
            && (get.expects(from) || is(Mutant::LateAnswerVouches))
        {
            session.hear(from, *known);
        }
        let event = match fetched.found {
            Found::Full(object) => GetEvent::Fetched(from, object),
            Found::Digest(digest) => GetEvent::Digested(from, digest),
            Found::Failed => GetEvent::Failed(from),
        };
        self.get_event(fetched.request, flight, event, turn);
    }

    /// A replica says what became of what a read has sent it. Only a monotonic one waits for it.
    pub(crate) fn repaired<D: Disk>(
        &mut self,
        from: NodeId,
        merged: &Merged,
        turn: &mut Turn<'_, D>,
    ) {
        let Some(flight) = self.take(merged.request) else { return };
        let event = match merged.verdict {
            Verdict::Durable => GetEvent::Repaired(from),
            Verdict::Buffered | Verdict::Failed | Verdict::Full => GetEvent::NotRepaired(from),
        };
        self.get_event(merged.request, flight, event, turn);
    }

    pub(crate) fn get_event<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        event: GetEvent<Object>,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Get(getting) = &mut flight.work else { return };
        let mut effects = Vec::new();
        let is_hedge = matches!(event, GetEvent::Hedge);
        getting.get.step(event, &mut effects);
        let has_all = |session: &Sessioned| !session.is_behind();
        if getting.get.is_behind() && getting.session.as_deref().is_some_and(has_all) {
            getting.get.step(GetEvent::CaughtUp, &mut effects);
        }
        if let Some(GetEffect::Settle(object)) =
            effects.pop_if(|effect| matches!(effect, GetEffect::Settle(_)))
        {
            let known = self.known_at(&getting.site, &object, turn.now);
            getting.get.step(known, &mut effects);
        }
        if is_hedge && !effects.is_empty() {
            self.pace.hedged();
        }
        let (is_done, is_answered) = (getting.get.is_done(), getting.get.is_answered());
        self.get_effects(id, &mut flight, effects, turn);
        if is_answered {
            flight.deadline = flight.deadline.min(turn.now + LINGER);
            flight.timer = flight.deadline;
        }
        if is_done {
            self.give_up_waiting(&flight, turn.now);
        } else {
            self.keep_until(id, flight);
        }
    }

    /// The timer of a read has fired. Too late is the deadline; before that one more replica
    /// is asked, and later all.
    pub(crate) fn get_timer<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Get(getting) = &flight.work else { return };
        let slow = flight.begun + SLOW;
        let event = if flight.deadline <= turn.now {
            GetEvent::Deadline
        } else if let Some(session) = getting.looked_for() {
            let asks_again = flight.begun + session.patience;
            if getting.has_heard_all() || asks_again <= turn.now {
                return self.read_again(flight, turn);
            }
            flight.timer = flight.deadline.min(asks_again).min(turn.now + session.pause);
            GetEvent::Slow
        } else if getting.get.is_settling() && turn.now < slow {
            flight.timer = flight.deadline.min(slow);
            return self.keep_until(id, flight);
        } else if slow <= turn.now {
            flight.timer = flight.deadline;
            GetEvent::Slow
        } else {
            flight.timer = flight.deadline.min(slow);
            if !self.pace.may_hedge() {
                return self.keep_until(id, flight);
            }
            GetEvent::Hedge
        };
        self.get_event(id, flight, event, turn);
    }

    /// Begins again with a read of a session: what was missing may have come.
    fn read_again<D: Disk>(&mut self, flight: Flight, turn: &mut Turn<'_, D>) {
        self.give_up_waiting(&flight, turn.now);
        let Work::Get(Getting { site, session: Some(session), .. }) = flight.work else { return };
        let mut session = session.anew();
        session.asked.timeout = flight.deadline.since(turn.now);
        let asked = session.asked.clone();
        if let Err(failure) = self.read(flight.client, &asked, site, Some(session), turn) {
            self.fail(flight.client, failure, turn);
        }
    }

    /// Takes note of how long a replica took, how old its answer can be, and whether what it told
    /// is on its disk.
    fn heard_of(&mut self, from: NodeId, fetched: &Fetched, flight: &mut Flight, now: Now) {
        let Work::Get(getting) = &mut flight.work else { return };
        if let Some(recalling) = getting.recalling.as_mut().filter(|_| fetched.durable) {
            recalling.is_on_disk(from);
        }
        if fetched.forgets {
            getting.forgetful.insert(from);
        }
        let is_it = |asked: &&mut Asked| asked.node == from && !asked.is_answered;
        let Some(asked) = getting.asked.iter_mut().find(is_it) else { return };
        (asked.is_answered, asked.staleness) = (true, fetched.staleness);
        if asked.is_timed {
            let took = now.since(asked.since);
            self.pace.answered(from, took, now);
            if !matches!(fetched.found, Found::Failed) {
                self.count_read(from, took);
            }
        }
    }

    fn give_up_waiting(&mut self, flight: &Flight, now: Now) {
        let Work::Get(getting) = &flight.work else { return };
        let is_late = |asked: &&Asked| asked.is_timed && !asked.is_answered;
        for asked in getting.asked.iter().filter(is_late) {
            self.pace.given_up(asked.node, now.since(asked.since), now);
        }
    }
}
