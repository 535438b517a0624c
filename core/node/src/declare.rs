//! Declarations: this node as proposer, acceptor and learner of catalogs.

use std::collections::BTreeSet;
use std::time::Duration;

use catalog::{Ballot, Catalog, Effect, Event, Proposal, Vote};
use lattice::Change;
use model::{Declare, Declared, Failure, NodeId, Now, Refusal, Reply};
use mutant::{Mutant, is};
use placement::Placement;
use rand::RngExt;

use crate::contracts::Contracts;
use crate::flight::{Client, Flight, Work};
use crate::{After, Disk, Message, Node, RequestId, Turn, levels};

/// How long a client waits for a declaration.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait, after a catalog is in force, until all live nodes have it. A client
/// may go on at another node, and should find its table there.
const SPREAD: Duration = Duration::from_secs(2);

/// The longest pause before the first outbid attempt is repeated. Two nodes that outbid each
/// other in step would do so for ever. It doubles with each attempt, because an attempt
/// takes two round trips, and between distant nodes those take longer than any fixed pause.
const PAUSE_MAX_MILLIS: u64 = 200;

/// How often the pause doubles at most: to 3.2 s.
const PAUSE_DOUBLINGS_MAX: u32 = 4;

/// How long one attempt may take before its messages are taken for lost. Longer than two
/// round trips around the world, and a slow disk at both ends.
const ATTEMPT: Duration = Duration::from_secs(3);

/// A declaration, until its client is answered.
#[derive(Debug)]
pub(crate) struct Declaring {
    declare: Declare,
    phase: Phase,
    /// How often it was outbid.
    outbid: u32,
}

#[derive(Debug)]
enum Phase {
    /// Waiting until no other declaration of this node is being voted on: they would outbid
    /// each other.
    Queued,
    /// Gathering votes.
    Voting(Box<Proposal>),
    /// Outbid, and pausing before an attempt above this round.
    Pausing(u64),
    /// In force. These nodes have not said that they know.
    Spreading { version: u64, waiting: BTreeSet<NodeId>, declared: Result<Declared, Refusal> },
}

fn reply(declared: Result<Declared, Refusal>) -> Reply {
    declared.map_or_else(|refusal| Reply::Failed(refusal.into()), Reply::Declared)
}

impl Node {
    pub(crate) fn declare<D: Disk>(
        &mut self,
        client: Client,
        declare: Declare,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let mut catalog = self.in_force().clone();
        let declared = catalog.declare(&declare)?;
        let (Declared::Keyspace { created, .. }
        | Declared::Table { created, .. }
        | Declared::Disk { created, .. }) = &declared;
        if !created {
            self.repeat(client, declare, declared, turn);
            return Ok(());
        }
        if let Declared::Keyspace { keyspace, .. } = &declared {
            let placed = Placement::new(&self.config.layout, keyspace);
            placed.map_err(|few| Refusal::Contract(few.to_string()))?;
        }
        if let Declared::Table { table, .. } = &declared {
            levels::check(&self.config.layout, &self.contracts, table)?;
        }
        self.check_majority(turn.now)?;
        let _ = self.propose_later(client, declare, turn);
        Ok(())
    }

    /// Refuses what a majority of all nodes has to vote on, if it is not there.
    pub(crate) fn check_majority(&self, now: Now) -> Result<(), Refusal> {
        let nodes = self.config.layout.members.len();
        let members = self.config.layout.members.keys();
        let alive = members.filter(|node| self.membership.is_alive(**node, now)).count();
        if nodes / 2 < alive { Ok(()) } else { Err(Refusal::NoMajority { alive, nodes }) }
    }

    /// Lets a declaration be voted on when those before it are decided.
    pub(crate) fn propose_later<D: Disk>(
        &mut self,
        client: Client,
        declare: Declare,
        turn: &mut Turn<'_, D>,
    ) -> RequestId {
        let deadline = turn.now + PATIENCE;
        let work = Work::Declare(Declaring { declare, phase: Phase::Queued, outbid: 0 });
        let id = self.new_request();
        self.keep_until(id, Flight { client, begun: turn.now, deadline, timer: deadline, work });
        self.propose_next(turn);
        id
    }

    /// Begins with the declaration that has waited longest, unless one is being voted on.
    fn propose_next<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        let is_busy = self.proposing.is_some_and(|id| self.flights.contains_key(&id));
        if is_busy && !is(Mutant::AttemptsDuel) {
            return;
        }
        let is_queued = |flight: &Flight| match &flight.work {
            Work::Declare(declaring) => matches!(declaring.phase, Phase::Queued),
            Work::Put(_)
            | Work::Get(_)
            | Work::List(_)
            | Work::Watch(_)
            | Work::Forward(_)
            | Work::Doubt(_)
            | Work::Salvage(_) => false,
        };
        let queued = self.flights.iter().find(|(_, flight)| is_queued(flight));
        self.proposing = queued.map(|(id, _)| *id);
        let Some(id) = self.proposing else { return };
        let Some(mut flight) = self.take(id) else { return };
        if let Work::Declare(declaring) = &mut flight.work {
            declaring.phase = Phase::Pausing(0);
        }
        self.propose(id, flight, turn);
    }

    /// Whatever was voted on is decided or given up: lets the next one begin.
    fn stop_proposing<D: Disk>(&mut self, id: RequestId, turn: &mut Turn<'_, D>) {
        self.forget(id);
        if self.proposing == Some(id) {
            self.proposing = None;
            self.propose_next(turn);
        }
    }

    /// Answers that a contract exists, once this node has it on disk as being in force. Who
    /// declared it may still be waiting for that.
    fn repeat<D: Disk>(
        &mut self,
        client: Client,
        declare: Declare,
        declared: Declared,
        turn: &mut Turn<'_, D>,
    ) {
        let version = self.in_force().version;
        let waiting = BTreeSet::from([self.config.id]);
        let phase = Phase::Spreading { version, waiting, declared: Ok(declared) };
        let deadline = turn.now + SPREAD;
        let work = Work::Declare(Declaring { declare, phase, outbid: 0 });
        let id = self.new_request();
        self.keep_until(id, Flight { client, begun: turn.now, deadline, timer: deadline, work });
        self.probe(self.config.id, turn);
    }

    /// Makes an attempt above every round this node has heard of.
    fn propose<D: Disk>(&mut self, id: RequestId, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let first_disks = self.first_disks();
        let Work::Declare(declaring) = &mut flight.work else { return };
        let Phase::Pausing(outbid) = declaring.phase else { return };
        let last = self.ballots.keys().last().map_or(0, |ballot| ballot.round);
        let round = outbid.max(self.acceptor.promised.round).max(last) + 1;
        let ballot = Ballot { round, node: self.config.id };
        let nodes = self.config.layout.members.len();
        let mut effects = Vec::new();
        let declare = declaring.declare.clone();
        let proposal = Proposal::start(ballot, declare, first_disks, nodes, &mut effects);
        declaring.phase = Phase::Voting(Box::new(proposal));
        flight.timer = flight.deadline.min(turn.now + ATTEMPT);
        self.ballots.insert(ballot, id);
        self.declare_effects(id, flight, effects, turn);
    }

    /// A vote on one of this node's attempts has come in.
    pub(crate) fn voted<D: Disk>(&mut self, ballot: Ballot, event: Event, turn: &mut Turn<'_, D>) {
        let Some(&id) = self.ballots.get(&ballot) else { return };
        let Some(mut flight) = self.take(id) else { return };
        let mut effects = Vec::new();
        if let Work::Declare(Declaring { phase: Phase::Voting(proposal), .. }) = &mut flight.work {
            proposal.step(event, &mut effects);
        }
        self.declare_effects(id, flight, effects, turn);
    }

    fn declare_effects<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        effects: Vec<Effect>,
        turn: &mut Turn<'_, D>,
    ) {
        for effect in effects {
            match effect {
                Effect::Prepare(ballot) => {
                    // The next life of this node must not use the ballot again.
                    let _ = self.acceptor.prepare(ballot);
                    turn.disk.keep_acceptor(&self.acceptor);
                    self.tell_all(&Message::Prepare { ballot }, After::Synced, turn);
                }
                Effect::Accept(ballot, catalog) => {
                    self.tell_all(&Message::Accept { ballot, catalog }, After::Now, turn);
                }
                Effect::Chosen(catalog, declared) => {
                    return self.chosen(id, flight, &catalog, declared, turn);
                }
                Effect::Outbid(ballot) => {
                    self.forget(id);
                    let Work::Declare(declaring) = &mut flight.work else { return };
                    let doublings = match is(Mutant::AttemptsDuel) {
                        true => 0,
                        false => declaring.outbid.min(PAUSE_DOUBLINGS_MAX),
                    };
                    let max = PAUSE_MAX_MILLIS << doublings;
                    let pause = Duration::from_millis(self.rng.random_range(1..max));
                    declaring.phase = Phase::Pausing(ballot.round);
                    declaring.outbid += 1;
                    flight.timer = flight.deadline.min(turn.now + pause);
                }
            }
        }
        self.keep_until(id, flight);
    }

    /// A majority has accepted: the catalog is in force, and everybody is to know, this
    /// node included. Until one node has it on disk *as being in force*, a loss of power
    /// everywhere would leave votes behind, and nobody who counts them.
    fn chosen<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        catalog: &Catalog,
        declared: Result<Declared, Refusal>,
        turn: &mut Turn<'_, D>,
    ) {
        self.learn(catalog, turn);
        self.stop_proposing(id, turn);
        let members: Vec<NodeId> = self.config.layout.members.keys().copied().collect();
        let alive = |node: &NodeId| self.membership.is_alive(*node, turn.now);
        let mut waiting: BTreeSet<NodeId> = members.iter().copied().filter(alive).collect();
        if is(Mutant::ChosenNotStored) {
            waiting.clear();
        }
        for node in members {
            if node != self.config.id {
                turn.send(node, Message::Learn { catalog: catalog.clone() }, After::Now);
            }
            self.probe(node, turn);
        }
        let Work::Declare(declaring) = &mut flight.work else { return };
        declaring.phase = Phase::Spreading { version: catalog.version, waiting, declared };
        flight.deadline = flight.deadline.min(turn.now + SPREAD);
        flight.timer = flight.deadline;
        self.keep_or_answer(id, flight, turn);
    }

    /// A node has told which catalog it has.
    pub(crate) fn spread<D: Disk>(&mut self, node: NodeId, has: u64, turn: &mut Turn<'_, D>) {
        let waits = |flight: &Flight| match &flight.work {
            Work::Declare(Declaring {
                phase: Phase::Spreading { version, waiting, .. }, ..
            }) => *version <= has && waiting.contains(&node),
            Work::Declare(_)
            | Work::Salvage(_)
            | Work::Put(_)
            | Work::Get(_)
            | Work::List(_)
            | Work::Watch(_)
            | Work::Doubt(_)
            | Work::Forward(_) => false,
        };
        let ids: Vec<RequestId> =
            self.flights.iter().filter(|(_, flight)| waits(flight)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(flight) = self.take(id) {
                self.declare_lost(id, flight, node, turn);
            }
        }
    }

    /// Waits no longer for this node to learn what is in force.
    pub(crate) fn declare_lost<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        node: NodeId,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Declare(declaring) = &mut flight.work else { return };
        if let Phase::Spreading { waiting, .. } = &mut declaring.phase {
            waiting.remove(&node);
        }
        self.keep_or_answer(id, flight, turn);
    }

    fn keep_or_answer<D: Disk>(&mut self, id: RequestId, flight: Flight, turn: &mut Turn<'_, D>) {
        match &flight.work {
            Work::Declare(Declaring {
                phase: Phase::Spreading { waiting, declared, .. }, ..
            }) if waiting.is_empty() => {
                let reply = reply(declared.clone());
                self.answer(flight.client, reply, turn);
            }
            Work::Declare(_)
            | Work::Salvage(_)
            | Work::Put(_)
            | Work::Get(_)
            | Work::List(_)
            | Work::Watch(_)
            | Work::Doubt(_)
            | Work::Forward(_) => {
                self.keep_until(id, flight);
            }
        }
    }

    pub(crate) fn declare_timer<D: Disk>(
        &mut self,
        id: RequestId,
        flight: Flight,
        is_late: bool,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Declare(declaring) = &flight.work else { return };
        match &declaring.phase {
            Phase::Pausing(_) if !is_late => self.propose(id, flight, turn),
            Phase::Voting(_) if !is_late => self.propose_again(id, flight, turn),
            // In force: nodes that do not know yet will learn it from a probe.
            Phase::Spreading { declared, waiting, .. } if !waiting.contains(&self.config.id) => {
                let reply = reply(declared.clone());
                self.answer(flight.client, reply, turn);
            }
            Phase::Queued | Phase::Voting(_) | Phase::Pausing(_) | Phase::Spreading { .. } => {
                self.stop_proposing(id, turn);
                let wanted = self.config.layout.members.len() / 2 + 1;
                let wanted = u8::try_from(wanted).unwrap_or(u8::MAX);
                let lacks = String::new();
                let failure = Failure::Unknown { wanted, got: 0, receipt: None, lacks };
                self.fail(flight.client, failure, turn);
            }
        }
    }

    /// Too few votes have come in: messages were lost, and another attempt is made.
    fn propose_again<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        turn: &mut Turn<'_, D>,
    ) {
        self.forget(id);
        if let Work::Declare(declaring) = &mut flight.work {
            declaring.phase = Phase::Pausing(0);
        }
        self.propose(id, flight, turn);
    }

    /// Drops the attempts that were made for a request.
    fn forget(&mut self, id: RequestId) {
        self.ballots.retain(|_, request| *request != id);
    }

    pub(crate) fn prepare<D: Disk>(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        turn: &mut Turn<'_, D>,
    ) {
        match self.acceptor.prepare(ballot) {
            Vote::Yes => {
                turn.disk.keep_acceptor(&self.acceptor);
                let accepted = self.acceptor.accepted;
                let catalog = self.acceptor.catalog.clone();
                let promised = Message::Promised { ballot, accepted, catalog };
                turn.send(from, promised, After::Synced);
            }
            Vote::No(promised) => {
                turn.send(from, Message::Rejected { ballot, promised }, After::Now);
            }
        }
    }

    pub(crate) fn accept<D: Disk>(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        catalog: &Catalog,
        turn: &mut Turn<'_, D>,
    ) {
        match self.acceptor.accept(ballot, catalog) {
            Vote::Yes => {
                if !is(Mutant::VoteNotStored) {
                    turn.disk.keep_acceptor(&self.acceptor);
                }
                turn.send(from, Message::Accepted { ballot }, After::Synced);
            }
            Vote::No(promised) => {
                turn.send(from, Message::Rejected { ballot, promised }, After::Now);
            }
        }
    }

    pub(crate) fn learn<D: Disk>(&mut self, catalog: &Catalog, turn: &mut Turn<'_, D>) {
        if self.acceptor.learn(catalog) == Change::Unchanged {
            return;
        }
        turn.disk.keep_acceptor(&self.acceptor);
        self.contracts = Contracts::new(&self.config.layout, catalog);
        self.look_at_disks();
    }

    /// Sends the catalog in force to a node that has an older one.
    pub(crate) fn teach<D: Disk>(&mut self, node: NodeId, has: u64, turn: &mut Turn<'_, D>) {
        if has < self.in_force().version {
            let catalog = self.in_force().clone();
            turn.send(node, Message::Learn { catalog }, After::Now);
        }
    }

    fn tell_all<D: Disk>(&mut self, message: &Message, after: After, turn: &mut Turn<'_, D>) {
        for node in self.config.layout.members.keys() {
            turn.send(*node, message.clone(), after);
        }
    }
}
