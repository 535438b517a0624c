//! Sessions: what a client in one has seen is never missing, or it is told so.
//!
//! | guarantee | what is looked at |
//! | --- | --- |
//! | read your writes, monotonic reads | an answer has each write to the key that the client has written or read |
//! | monotonic writes, writes follow reads | the replica that mints a dot has in its clock each write to the shard that the client has written or read |
//!
//! What the client has really seen is kept here, beside its tokens, which are the very ones that
//! clients get. Records and disks that were lost are excused.

use std::collections::BTreeMap;

use causality::DotSet;
use codec::session;
use model::{Failure, NodeId, Object, Reply, Request, Session, ShardId};

use crate::dice::Dice;
use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::{Look, Oracle, WriteId, dots};
use crate::report::Broken;
use crate::workload::{Next, Op};
use crate::world::World;

/// One client's session.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    tokens: BTreeMap<ShardId, String>,
    /// What it has seen, by key.
    seen: BTreeMap<usize, DotSet>,
}

/// The sessions of clients, and what writes in flight must come after.
pub(crate) struct Sessions {
    kept: Vec<Option<Kept>>,
    demanded: BTreeMap<WriteId, DotSet>,
}

impl Sessions {
    /// So many clients in a thousand are in a session.
    pub(crate) fn new(clients: usize, permille: u32, mut dice: Dice) -> Self {
        let mut draw = || (permille != 0 && dice.chance(permille)).then(Kept::default);
        let kept = (0..clients).map(|_| draw()).collect();
        Self { kept, demanded: BTreeMap::new() }
    }

    fn of(&self, client: Option<usize>) -> Option<&Kept> {
        self.kept.get(client?)?.as_ref()
    }

    /// Adds the tokens of a client to what it asks.
    pub(crate) fn add(&mut self, client: usize, next: &mut Next, oracle: &Oracle) {
        let Some(kept) = self.of(Some(client)) else { return };
        let read =
            |token: &String| session::decode(token).expect("a token is given back as it was");
        let sessions = Some(kept.tokens.values().map(read).collect());
        match (&mut next.request, &next.op) {
            (Request::Put(put), Op::Write { id, .. }) => {
                put.sessions = sessions;
                let shard = oracle.spot(oracle.write(*id).spot).shard;
                let demanded = kept.of_shard(shard, oracle);
                self.demanded.insert(*id, demanded);
            }
            (Request::Get(get), Op::Read { .. }) => get.sessions = sessions,
            (_, _) => {}
        }
    }

    /// A client was answered, or will not be.
    pub(crate) fn hear(&mut self, client: usize, op: &Op, oracle: &Oracle, reply: &Reply) {
        let Some(Some(kept)) = self.kept.get_mut(client) else { return };
        match (op, reply) {
            (Op::Write { id, .. }, Reply::Written(written)) => {
                let own = written.receipt.dot.into_iter().collect();
                kept.sees(oracle.write(*id).spot, &own, written.session.as_ref());
            }
            (Op::Read { spot, .. }, Reply::Read(read)) => {
                kept.sees(*spot, read.object.context(), read.session.as_ref());
            }
            // Whoever gets nowhere begins a new one.
            (_, Reply::Failed(Failure::SessionBehind { .. })) => *kept = Kept::default(),
            (_, _) => {}
        }
    }
}

impl Kept {
    fn sees(&mut self, spot: usize, dots: &DotSet, session: Option<&Session>) {
        let _ = self.seen.entry(spot).or_default().union(dots);
        if let Some(session) = session {
            self.tokens.insert(session.shard, session::encode(session));
        }
    }

    fn of_shard(&self, shard: ShardId, oracle: &Oracle) -> DotSet {
        let mut all = DotSet::new();
        for (spot, dots) in &self.seen {
            if oracle.spot(*spot).shard == shard {
                let _ = all.union(dots);
            }
        }
        all
    }

    /// Whether its token demands what a clock does not have, or cannot say what it demands.
    fn is_ahead_of(&self, shard: ShardId, clock: &DotSet) -> bool {
        let read = self.tokens.get(&shard).and_then(|token| session::decode(token).ok());
        let lacking = read.map(|session| session.lacking(clock));
        lacking.is_some_and(|lacking| lacking.is_none_or(|lacking| !lacking.is_empty()))
    }
}

fn clock_of(host: &Host, shard: ShardId) -> DotSet {
    let runs = host.disk.view().clock(shard);
    DotSet::from_runs(runs).expect("a clock is a set of dots")
}

impl World {
    /// A read of a session was answered: it has what the client has seen.
    pub(crate) fn check_session(
        &self,
        client: Option<usize>,
        spot: usize,
        object: &Object,
    ) -> Result<(), Broken> {
        let kept = self.workload.sessions.of(client);
        let Some(seen) = kept.and_then(|kept| kept.seen.get(&spot)) else { return Ok(()) };
        if self.oracle.look == Look::Quiet {
            return Ok(());
        }
        let missing = seen.difference(object.context());
        let replicas = &self.oracle.spot(spot).replicas;
        let is_lost = |dot| {
            let lacks = |node: &NodeId| self.oracle.losses.may_lack(*node, spot, dot, 0);
            replicas.iter().any(lacks)
        };
        match dots(&missing).find(|dot| !is_lost(*dot)) {
            None => Ok(()),
            Some(dot) => {
                let detail = format!("client {client:?} has seen {dot} and reads {object:?}");
                Err(Broken::of(Invariant::SessionsHold, spot, detail))
            }
        }
    }

    /// A node has minted a dot for a write of a session: it has what the client has seen.
    pub(crate) fn check_minted(&self, at: NodeId, id: WriteId) -> Result<(), Broken> {
        let Some(demanded) = self.workload.sessions.demanded.get(&id) else { return Ok(()) };
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        let write = self.oracle.write(id);
        let shard = self.oracle.spot(write.spot).shard;
        let is_own = write.dot.is_some_and(|dot| dot.incarnation.is_of(host.incarnation));
        let clock = clock_of(host, shard);
        let missing = demanded.difference(&clock);
        let is_lost = |dot| {
            let spots =
                self.oracle.spots.iter().enumerate().filter(|(_, spot)| spot.shard == shard);
            let mut spots = spots.map(|(index, _)| index);
            spots.any(|index| self.oracle.losses.has_lost(at, index, dot))
        };
        match dots(&missing).find(|dot| is_own && !is_lost(*dot)) {
            None => Ok(()),
            Some(dot) => {
                let detail =
                    format!("{at} accepts w{} without {dot}, which its client has seen", id.0);
                Err(Broken::of(Invariant::SessionsHold, write.spot, detail))
            }
        }
    }

    /// The replicas that lack something of what a client has seen, or all if its token cannot say
    /// what that is. Who asks them may find nobody who has it, until it has arrived.
    pub(crate) fn behind(&self, client: usize, op: &Op) -> Vec<NodeId> {
        let spot = match op {
            Op::Write { id, .. } => self.oracle.write(*id).spot,
            Op::Read { spot, .. } => *spot,
            Op::List(_)
            | Op::Watch { .. }
            | Op::Declare(_)
            | Op::Nowhere
            | Op::Recall { .. }
            | Op::Ask => {
                return Vec::new();
            }
        };
        let Some(kept) = self.workload.sessions.of(Some(client)) else { return Vec::new() };
        let spot = self.oracle.spot(spot);
        let lacks = |node: &NodeId| {
            let host = self.hosts.get(node);
            host.is_none_or(|host| kept.is_ahead_of(spot.shard, &clock_of(host, spot.shard)))
        };
        spot.replicas.iter().copied().filter(lacks).collect()
    }
}
