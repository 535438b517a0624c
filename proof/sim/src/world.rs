//! The world: virtual time, and everything that happens in it, in one order.
//!
//! Whatever will happen stands in one queue, ordered by time and then by the order in
//! which it was arranged. The loop takes the first, lets it happen, and arranges what
//! follows. Nothing else moves, so that one seed is one course of events. While things
//! happen, the oracle looks at every object that is stored and every answer that is given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Address, Limits, Name, NodeId, Now, Reply, Request, ShardId};
use node::{Input, Message, RequestId, Ticket};
use placement::Layout;

use crate::clock;
use crate::contracts::Contracts;
use crate::dice::{Dice, Part};
use crate::disk::Work;
use crate::faults::{Faults, Ways};
use crate::host::{Host, Hosts};
use crate::invariant::Invariant;
use crate::mutant::{self, Mutant};
use crate::network::Network;
use crate::oracle::{Oracle, WriteId};
use crate::outgoing;
use crate::reach::Troubles;
use crate::report::Broken;
use crate::rot::Rot;
use crate::swarm::Plan;
use crate::tokens;
use crate::trace::Trace;
use crate::trees;
use crate::watchers::Watchers;
use crate::workload::{self, Op, Workload};

/// Something that will happen.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A message arrives, if the process still lives that it is for. Most messages are
    /// for whoever answers to the name.
    Deliver { to: NodeId, from: NodeId, life: Option<u64>, sent: u64, message: Box<Message> },
    /// A node hears that its connection to another broke, or was made.
    Link { at: NodeId, peer: NodeId, is_up: bool },
    /// A timer of a node.
    Wake { at: NodeId, life: u64, due: u64 },
    /// A disk has done something.
    Done { at: NodeId, life: u64, work: Work },
    /// A request reaches its node.
    Ask { ticket: Ticket, timeout: Duration },
    /// A client thinks of its next request.
    Next { client: usize },
    /// A watcher asks what has changed.
    Watch { watcher: usize },
    /// By now a node must have answered.
    Overdue { ticket: Ticket },
    /// An operator declares a keyspace or a table.
    Declare,
    /// An operator begins a repair.
    Repair,
    /// An operator gives up the disk of a node.
    Evict,
    /// An operator says so of this node, once more if nobody has heard.
    GiveUp { at: NodeId },
    /// The losses that are not healed are looked at.
    LookAtLosses,
    /// Something goes wrong.
    Fault,
    /// A record on a disk is damaged.
    Rot,
    /// Messages are lost for a while.
    Cut { ways: Ways, lasts: u64 },
    /// A clock runs at its usual rate again.
    Steady { at: NodeId },
    /// Messages are held for a while.
    Clog { ways: Ways, lasts: u64 },
    /// A client goes away before it is answered.
    Leave { ticket: Ticket },
    /// Messages pass again.
    Mend(Ways),
    /// A node starts again.
    Restart { at: NodeId },
}

/// A request that was not answered yet.
pub(crate) struct Open {
    pub(crate) at: NodeId,
    pub(crate) request: Request,
    pub(crate) op: Op,
    pub(crate) client: Option<usize>,
    pub(crate) begun: u64,
    /// When its node must have answered, by the clock of that node.
    pub(crate) deadline: Now,
    /// Whether nothing may keep it from succeeding.
    pub(crate) healthy: bool,
    /// Replicas that lacked something of what its session had seen, when it was asked.
    pub(crate) behind: Vec<NodeId>,
}

/// Which part of a run this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Clients are at work and anything may go wrong.
    Safety,
    /// Clients are at work and everything must succeed.
    Liveness,
    /// Clients rest.
    Quiet,
}

/// Far more than any run needs. A node that answers itself without end stops here.
const EVENTS_MAX: u64 = 20_000_000;

/// The whole simulation.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) plan: Plan,
    pub(crate) layout: Layout,
    pub(crate) hosts: Hosts,
    pub(crate) network: Network,
    pub(crate) troubles: Troubles,
    pub(crate) oracle: Oracle,
    pub(crate) workload: Workload,
    pub(crate) watchers: Watchers,
    pub(crate) faults: Faults,
    pub(crate) contracts: Contracts,
    pub(crate) trace: Trace,
    pub(crate) phase: Phase,
    /// Microseconds in which clients were at work.
    pub(crate) under_load: u64,
    pub(crate) open: BTreeMap<Ticket, Open>,
    /// Answers to what the world itself asked.
    pub(crate) heard: BTreeMap<Ticket, Reply>,
    /// What monotonic reads have returned.
    pub(crate) returned: crate::monotonic::Returned,
    pub(crate) rot: Rot,
    pub(crate) repairs: crate::repairs::Repairs,
    pub(crate) evictions: crate::evictions::Evictions,
    pub(crate) outages: crate::outages::Outages,
    pub(crate) healing: crate::healing::Healing,
    pub(crate) sums: crate::sums::Sums,
    pub(crate) arrivals: crate::exchanged::Arrivals,
    /// Which guests had no room for what.
    pub(crate) rooms: crate::rooms::Rooms,
    /// How many faults have come so far.
    pub(crate) fault_number: u64,
    /// The numbers of those that are not to happen.
    pub(crate) left_out: BTreeSet<u64>,
    pub(crate) requests: BTreeMap<(&'static str, &'static str), u64>,
    pub(crate) fault_counts: BTreeMap<&'static str, u64>,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub(crate) tickets: u64,
    /// Which write a forwarded request is.
    pub(crate) forwards: BTreeMap<(NodeId, RequestId), WriteId>,
    /// What a node asks for, to bend the answers. For mutants.
    pub(crate) fetching: BTreeMap<(NodeId, RequestId), (ShardId, Address)>,
    pub(crate) limits: Limits,
    /// The first version of the catalog that has all tables of the workload.
    pub(crate) catalog_needed: u64,
    pub(crate) node_dice: Dice,
    pub(crate) disk_dice: Dice,
    pub(crate) mutant: Option<Mutant>,
    /// After how many lines of the trace to stop, for who wants to look at it then.
    pub(crate) lines_max: Option<u64>,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan, layout: Layout, mutant: Option<Mutant>) -> Self {
        let nodes: Vec<NodeId> = layout.members.keys().copied().collect();
        let dice = |part| Dice::new(seed, part);
        let regions: Vec<(NodeId, Name)> =
            layout.members.iter().map(|(node, member)| (*node, member.region.clone())).collect();
        let Plan {
            siblings_max,
            requests_max,
            page_objects_max,
            log_entries_max,
            context_runs_max,
            own_runs_max,
            hint_bytes_max,
            ..
        } = plan;
        let mut limits = Limits {
            siblings_max,
            requests_max,
            page_objects_max,
            log_entries_max,
            context_runs_max,
            own_runs_max,
            hint_bytes_max,
            retry_window: tokens::WINDOW,
            token_ahead_max: tokens::WINDOW,
            changes_retention: Duration::from_micros(plan.changes_retention),
            scrub_interval: trees::scrub_interval(&plan),
            repair_interval: trees::REPAIR,
            ..Limits::default()
        };
        if plan.clients.large != 0 {
            (limits.value_bytes_max, limits.object_bytes_max) = workload::SMALL_LIMITS;
        }
        let mut clocks = dice(Part::Clocks);
        let mut rate = || clock::draw_rate(plan.drift, &mut clocks);
        Self {
            now: 0,
            layout,
            hosts: nodes.iter().map(|node| (*node, Host::new(*node, rate(), mutant))).collect(),
            network: Network::new(plan.network, &regions, dice(Part::Network)),
            troubles: Troubles::default(),
            oracle: Oracle::default(),
            workload: Workload::new(&plan.clients, nodes.clone(), seed),
            watchers: Watchers::new(dice(Part::Watchers)),
            contracts: Contracts::new(plan.declares, dice(Part::Contracts)),
            faults: Faults::new(plan.faults.clone(), nodes, dice(Part::Faults)),
            trace: Trace::default(),
            phase: Phase::Quiet,
            under_load: 0,
            open: BTreeMap::new(),
            heard: BTreeMap::new(),
            returned: BTreeMap::new(),
            rooms: crate::rooms::Rooms::default(),
            rot: Rot::new(&plan.disk, dice(Part::Rot)),
            repairs: crate::repairs::Repairs::new(plan.repairs, dice(Part::Repairs)),
            evictions: crate::evictions::Evictions::new(plan.evictions, dice(Part::Evictions)),
            outages: crate::outages::Outages::default(),
            healing: crate::healing::Healing::default(),
            sums: crate::sums::Sums::default(),
            arrivals: crate::exchanged::Arrivals::default(),
            fault_number: 0,
            left_out: BTreeSet::new(),
            requests: BTreeMap::new(),
            fault_counts: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            tickets: 0,
            forwards: BTreeMap::new(),
            fetching: BTreeMap::new(),
            limits,
            catalog_needed: 0,
            node_dice: dice(Part::Nodes),
            disk_dice: dice(Part::Disk),
            mutant,
            lines_max: None,
            plan,
        }
    }

    /// Arranges that something happens after so many microseconds.
    pub(crate) fn arrange(&mut self, after: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    /// Lets everything happen up to a time.
    pub(crate) fn run_until(&mut self, end: u64) -> Result<(), Broken> {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.happen()?;
        }
        self.now = end;
        Ok(())
    }

    /// Lets the next thing happen. There always is one: nodes set timers.
    pub(crate) fn happen(&mut self) -> Result<(), Broken> {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return Err(Broken::new(Invariant::EveryRequestIsAnswered, "nothing happens any more"));
        };
        self.now = at;
        let lines_max = self.lines_max.unwrap_or(EVENTS_MAX);
        if lines_max <= self.trace.count {
            return Err(Broken::new(Invariant::EveryRequestIsAnswered, "nodes find no end"));
        }
        match event {
            Event::Deliver { to, from, life, sent, message } => {
                self.deliver(to, from, life, sent, message)
            }
            Event::Link { at, peer, is_up } => self.tell_link(at, peer, is_up),
            Event::Wake { at, life, due } => self.wake(at, life, due),
            Event::Done { at, life, work } => self.done(at, life, work),
            Event::Ask { ticket, timeout } => self.reach(ticket, timeout),
            Event::Next { client } => self.next(client),
            Event::Watch { watcher } => self.watch(watcher),
            Event::Overdue { ticket } => self.overdue(ticket),
            Event::Declare => self.declare_something(),
            Event::Repair => self.begin_repair(),
            Event::Evict => self.evict(),
            Event::GiveUp { at } => self.give_up(at),
            Event::LookAtLosses => self.look_at_losses(),
            Event::Fault => self.fault(),
            Event::Rot => self.rot(),
            Event::Cut { ways, lasts } => {
                self.cut(ways, lasts);
                Ok(())
            }
            Event::Clog { ways, lasts } => {
                self.clog(&ways, lasts);
                Ok(())
            }
            Event::Steady { at } => {
                let rate = self.host(at).usual_rate;
                self.set_rate(at, rate);
                Ok(())
            }
            Event::Leave { ticket } => {
                self.leave(ticket);
                Ok(())
            }
            Event::Mend(ways) => {
                self.mend(&ways);
                Ok(())
            }
            Event::Restart { at } => self.start(at),
        }
    }

    pub(crate) fn host(&mut self, at: NodeId) -> &mut Host {
        self.hosts.get_mut(&at).expect("events name nodes of the layout")
    }

    /// Puts an event off if its node stands still.
    pub(crate) fn while_paused(&mut self, at: NodeId, event: impl FnOnce() -> Event) -> bool {
        let now = self.now;
        let turn = self.host(at).turn_of(now);
        if let Some(turn) = turn {
            self.arrange(turn - now, event());
        }
        turn.is_some()
    }

    fn deliver(
        &mut self,
        to: NodeId,
        from: NodeId,
        life: Option<u64>,
        sent: u64,
        mut message: Box<Message>,
    ) -> Result<(), Broken> {
        let host = self.host(to);
        if !host.is_up() || life.is_some_and(|life| life != host.life) {
            return Ok(());
        }
        let again = || Event::Deliver { to, from, life, sent, message: message.clone() };
        if self.while_paused(to, again) {
            return Ok(());
        }
        let (kind, number, name) = outgoing::identify(&message);
        let words = [1, u64::from(from.number()), u64::from(to.number()), kind, number];
        self.trace.note(self.now, &words, || format!("{from} -> {to} {name} {message:?}"));
        // What happens to lists is to be seen before the end, where all are looked through.
        let is_over = self.phase == Phase::Quiet && self.mutant == Some(Mutant::KeySkipped);
        let mutant = self.mutant.filter(|_| !is_over);
        mutant::bend(mutant, &mut message, || self.pretended(to, from, number));
        let waited = Duration::from_micros(self.now - sent);
        if message.is_expired(waited) {
            return Ok(());
        }
        self.check_expired(to, &message, waited)?;
        self.note_late_hint(&message);
        self.step(to, Input::Received { from, message: *message })
    }

    fn tell_link(&mut self, at: NodeId, peer: NodeId, is_up: bool) -> Result<(), Broken> {
        let event = || Event::Link { at, peer, is_up };
        if !self.host(at).is_up() || self.while_paused(at, event) {
            return Ok(());
        }
        if !is_up {
            let now = self.now;
            self.troubles.of_way(at, peer, now);
        }
        let words = [2, u64::from(at.number()), u64::from(peer.number()), u64::from(is_up)];
        let said = if is_up { "is connected to" } else { "has lost" };
        self.trace.note(self.now, &words, || format!("{at} hears that it {said} {peer}"));
        self.step(at, if is_up { Input::Connected(peer) } else { Input::Lost(peer) })
    }

    fn wake(&mut self, at: NodeId, life: u64, due: u64) -> Result<(), Broken> {
        let host = self.host(at);
        if !host.is_up() || host.life != life || !host.is_waited_for(due) {
            return Ok(());
        }
        let now = self.now;
        let host = self.host(at);
        if let Some(due) = host.turn_of(now) {
            host.put_off_wake(due);
            self.arrange(due - now, Event::Wake { at, life, due });
            return Ok(());
        }
        host.wake_now();
        self.trace.note(self.now, &[3, u64::from(at.number())], || format!("{at} wakes"));
        self.step(at, Input::Woken)
    }

    fn done(&mut self, at: NodeId, life: u64, work: Work) -> Result<(), Broken> {
        let now = self.now;
        let host = self.host(at);
        if !host.is_up() || host.life != life {
            return Ok(());
        }
        if now < host.paused_until {
            // The kernel goes on, but nobody is there to hear of it yet.
            let until = host.paused_until;
            self.arrange(until - now, Event::Done { at, life, work });
            return Ok(());
        }
        match work {
            Work::Commit => match host.is_full(now) {
                Some(until) => return self.find_no_room(at, until),
                None => host.disk.finish_commit(),
            },
            Work::Sync | Work::LazySync => {
                host.disk.finish_sync();
                self.note_synced(at);
            }
        }
        let words = [4, u64::from(at.number()), work as u64];
        self.trace.note(now, &words, || format!("{at} has done {work:?}"));
        self.move_on(at)
    }
}
