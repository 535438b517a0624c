//! One step of a node: an input goes in, and what comes of it is looked at and carried out.
//!
//! Whatever happens to a node happens here, so this is where the oracle sees each object at
//! the moment it is stored, and learns which write a new dot stands for.

use causality::Dot;
use model::{Mutation, NodeId, Object, Request};
use node::{Cause, Input, Message};

use crate::invariant::Invariant;
use crate::oracle::{Look, Spot, Viewer, WriteId, dots};
use crate::report::Broken;
use crate::workload::Op;
use crate::world::{Event, Open, Phase, World};

impl World {
    /// Hands a node an input, looks at what it stored, and carries out what it wants.
    pub(crate) fn step(&mut self, at: NodeId, input: Input) -> Result<(), Broken> {
        let now = self.now;
        let write = self.write_behind(at, &input);
        let overwrite = self.overwriting(&input);
        let fails = self.phase == Phase::Safety && self.disk_dice.chance(self.plan.disk.unreadable);
        let is_asked = match &input {
            Input::Requested { .. } => true,
            Input::Received { message, .. } => matches!(message, Message::Forward(_)),
            Input::Connected(_) | Input::Lost(_) | Input::Woken => false,
        };
        self.note_told(at, &input);
        let decides = matches!(&input, Input::Woken);
        let offer = self.offer(&input);
        let is_repair = is_repair(&input);
        let damaged = if is_repair { self.host(at).disk.damaged_objects() } else { Vec::new() };
        let host = self.host(at);
        host.disk.set_unreadable(fails);
        host.disk.overwrite_next(overwrite);
        let effects = host.step(now, input);
        host.disk.overwrite_next(None);
        self.note_replaced_records(at, damaged)?;
        self.look(at, write, is_repair)?;
        self.check_forgotten(at)?;
        self.check_reaped(at, decides)?;
        self.look_at_hints(at, write)?;
        self.check_rooms(at, offer.as_ref(), &effects)?;
        self.check_node(at)?;
        self.check_whole(at)?;
        self.check_suspects(at)?;
        self.check_repairs(at)?;
        if is_asked {
            self.check_refusals(at, &effects, fails)?;
        }
        for effect in effects {
            if self.meets_doom(at)? {
                return Ok(());
            }
            self.carry_out(at, effect, write)?;
        }
        self.be_slow(at);
        self.move_on(at)?;
        self.arrange_wake(at);
        Ok(())
    }

    /// A slow node takes a while for each step.
    fn be_slow(&mut self, at: NodeId) {
        let (now, (step, until)) = (self.now, self.host(at).slow_steps);
        if now < until {
            let busy = now + self.disk_dice.between(1, step);
            let host = self.host(at);
            host.paused_until = host.paused_until.max(busy);
        }
    }

    /// A node has no more requests in hand than it may, does not hedge too often, and its catalog does not grow older.
    fn check_node(&mut self, at: NodeId) -> Result<(), Broken> {
        let max = self.limits.requests_max;
        let host = self.host(at);
        let Some(node) = &host.node else { return Ok(()) };
        let (requests, catalog) = (node.requests(), node.catalog_version());
        if max < requests {
            let detail = format!("{at} has {requests} requests in hand, and at most {max}");
            return Err(Broken::new(Invariant::LimitsHold, detail));
        }
        let (reads, hedges) = node.hedges();
        if reads < 20 * hedges {
            let detail = format!("{at} has hedged {hedges} of {reads} reads, and may one of 20");
            return Err(Broken::new(Invariant::LimitsHold, detail));
        }
        if catalog < host.catalog_version {
            let detail = format!("{at} had catalog {} and has {catalog}", host.catalog_version);
            return Err(Broken::new(Invariant::ContractsStand, detail));
        }
        host.catalog_version = catalog;
        Ok(())
    }

    /// Arranges the next wake of a node, if it wants one that is not arranged.
    pub(crate) fn arrange_wake(&mut self, at: NodeId) {
        let now = self.now;
        if let Some(due) = self.host(at).wake_due(now) {
            let life = self.host(at).life;
            self.arrange(due - now, Event::Wake { at, life, due });
        }
    }

    /// The write that a node would mint a dot for while it works on this input.
    fn write_behind(&self, at: NodeId, input: &Input) -> Option<WriteId> {
        match input {
            Input::Requested { ticket, .. } => match self.open.get(ticket)?.op {
                Op::Write { id, .. } => Some(id),
                Op::Read { .. }
                | Op::Recall { .. }
                | Op::List(_)
                | Op::Watch { .. }
                | Op::Declare(_)
                | Op::Nowhere
                | Op::Ask => None,
            },
            Input::Received { from, message: Message::Forward(forward) } => {
                self.forwards.get(&(*from, forward.request)).copied()
            }
            // Nobody else has taken it: then it may be for this node to do.
            Input::Received { message: Message::Forwarded(forwarded), .. } => {
                self.forwards.get(&(at, forwarded.request)).copied()
            }
            Input::Received { .. } | Input::Connected(_) | Input::Lost(_) | Input::Woken => None,
        }
    }

    /// Shows the oracle what a node has just stored.
    fn look(&mut self, at: NodeId, write: Option<WriteId>, is_repair: bool) -> Result<(), Broken> {
        let host = self.hosts.get_mut(&at).expect("events name nodes of the layout");
        for (place, gained) in host.disk.take_touched() {
            let host = self.hosts.get(&at).expect("events name nodes of the layout");
            let spot = self.oracle.spot_of(&place)?;
            if !gained.is_empty() {
                self.arrivals.note((at, spot), gained.clone(), self.now);
            }
            let Some(object) = host.disk.view().objects.get(&place) else { continue };
            self.trace.note_object(object);
            if let Some(id) = write.filter(|id| self.oracle.write(*id).spot == spot) {
                let before = self.oracle.write(id).dot;
                self.oracle.learn(id, spot, host.incarnation, object)?;
                if before.is_none() {
                    self.check_minted(at, id)?;
                }
                self.oracle.check_siblings(at, id, object, &self.limits)?;
            }
            if is_repair {
                self.oracle.note_repaired(at, spot, object);
            }
            if self.oracle.look != Look::Everywhere {
                continue;
            }
            if !self.oracle.spot(spot).replicas.contains(&at) {
                let detail = format!("{at} stores it and is no replica");
                return Err(Broken::of(Invariant::NothingIsInvented, spot, detail));
            }
            let view = host.disk.view();
            let known = self.oracle.known(spot, view);
            let fresh = self.oracle.check(Viewer::Replica(at), spot, &known)?;
            if let Some(dot) = dots(&fresh).find(|dot| !view.has_heard(place.0, *dot)) {
                let detail = format!("{at} stores {object:?}, and its clock does not know {dot}");
                return Err(Broken::of(Invariant::ClocksAreExact, spot, detail));
            }
            let unheard = gained.difference(object.context());
            if !unheard.is_empty() {
                let detail = format!("the clock of {at} takes in {unheard:?} with {object:?}");
                return Err(Broken::of(Invariant::ClocksAreExact, spot, detail));
            }
            self.check_logged(at, spot, &gained)?;
        }
        Ok(())
    }

    /// A node that waited in vain for a replica accepts a write itself, long after it was asked:
    /// only what it wrote, and the token if it has one, tells which write that is.
    fn learn_late(&mut self, at: NodeId, spot: usize, object: &Object) -> Result<(), Broken> {
        let minter = self.host(at).incarnation;
        let is_new = |dot: &Dot| dot.incarnation.is_of(minter) && !self.oracle.is_known(spot, *dot);
        let new: Vec<Dot> = dots(object.context()).filter(is_new).collect();
        for dot in new {
            let held = object.values().get(&dot);
            let token = object.marks().get(&dot).map(|mark| mark.token);
            let is_it = |open: &&Open| {
                let Request::Put(put) = &open.request else { return false };
                let is_same = match &put.mutation {
                    Mutation::Store(value) => held == Some(value),
                    Mutation::Delete => {
                        held.is_none() && object.context().is_superset(&put.context)
                    }
                };
                open.at == at && put.token == token && is_same
            };
            let write_of = |open: &Open| match open.op {
                Op::Write { id, .. } => Some(id),
                Op::Read { .. }
                | Op::Recall { .. }
                | Op::List(_)
                | Op::Watch { .. }
                | Op::Declare(_)
                | Op::Nowhere
                | Op::Ask => None,
            };
            // A client may have used the token for a write to another key as well, or for another delete
            // of this one: the object speaks of all that the one which was accepted had read.
            let is_here = |id: &WriteId| self.oracle.write(*id).spot == spot;
            let asked = self.open.values().filter(is_it).filter_map(write_of).filter(is_here);
            let had_read = |id: &WriteId| self.oracle.write(*id).context.len();
            if let Some(id) = asked.max_by_key(had_read) {
                self.oracle.mint(id, dot)?;
            }
        }
        Ok(())
    }

    /// Shows the oracle what a node has just taken in for others.
    fn look_at_hints(&mut self, at: NodeId, write: Option<WriteId>) -> Result<(), Broken> {
        let host = self.host(at);
        let (minter, hinted) = (host.incarnation, host.disk.take_hinted());
        for (hint, object) in hinted {
            let of = |spot: &Spot| spot.address() == hint.address;
            let Some(spot) = self.oracle.spots.iter().position(of) else {
                let detail = format!("{at} keeps {hint:?}, which nobody wrote");
                return Err(Broken::new(Invariant::NothingIsInvented, detail));
            };
            if let Some(id) = write.filter(|id| self.oracle.write(*id).spot == spot) {
                self.oracle.learn(id, spot, minter, &object)?;
            }
            if write.is_none() {
                self.learn_late(at, spot, &object)?;
            }
            let replicas = &self.oracle.spot(spot).replicas;
            if replicas.contains(&at) || !replicas.contains(&hint.target) {
                let detail = format!("{at} keeps something for {}", hint.target);
                return Err(Broken::of(Invariant::NothingIsInvented, spot, detail));
            }
            if self.oracle.look == Look::Everywhere {
                self.oracle.check(Viewer::Guest(at), spot, &object)?;
            }
        }
        Ok(())
    }
}

/// Whether a node is sent what a read or a comparison of trees has found missing there.
fn is_repair(input: &Input) -> bool {
    let Input::Received { message: Message::Merge(merge), .. } = input else { return false };
    matches!(merge.cause, Cause::ReadRepair | Cause::Repair)
}
