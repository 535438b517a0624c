//! Sessions at this node: what is missing of what a client has seen, and what of it need not be
//! remembered any more.
//!
//! A read of a session is answered when those who took part lack nothing in common: what one
//! lacks another has brought. If they do, everybody is asked, and again after a pause, because
//! what is missing is on its way. A write is accepted by a replica that has everything, so that
//! whatever follows from the write comes after what it followed from.
//!
//! What all replicas of a shard have on disk is left out of a session, so that its token stays
//! short. Only a replica knows that, so it is said with each answer, which waits for its own disk.

use std::time::Duration;

use causality::DotSet;
use model::{Failure, Need, NodeId, Object, ReadNeed, Seen, Session, ShardId, shortened_dots};
use mutant::{Mutant, is};

use crate::message::Known;
use crate::{Fetch, Found, Node, Site};

/// How long a read of a session waits for what is on its way, before it asks again. Twice as long
/// after each time.
const PAUSE: Duration = Duration::from_millis(100);

/// How long it waits for those it has asked, before it asks them again: their answers may be lost.
/// Longer than a round trip around the world, less if its client has less time, and twice as long
/// after each time.
const PATIENCE: Duration = Duration::from_secs(1);

/// A read of a session, while it looks for what the session has seen.
#[derive(Debug)]
pub(crate) struct Sessioned {
    /// To begin again with.
    pub(crate) asked: model::Get,
    pub(crate) session: Session,
    /// What all lack that have answered. Nothing if nobody has.
    lacking: Option<DotSet>,
    settled: DotSet,
    told: Vec<NodeId>,
    pub(crate) pause: Duration,
    pub(crate) patience: Duration,
    /// Whether it was looked for before.
    pub(crate) is_again: bool,
}

impl Sessioned {
    pub(crate) fn new(asked: &model::Get, shard: ShardId) -> Option<Self> {
        let session = session_of(asked.sessions.as_ref()?, shard);
        let (lacking, settled, told) = (None, DotSet::new(), Vec::new());
        let (asked, pause) = (asked.clone(), PAUSE);
        let patience = PATIENCE.min(asked.timeout / 2);
        Some(Self { asked, session, lacking, settled, told, pause, patience, is_again: false })
    }

    /// The same, before anybody has answered, and with more patience.
    pub(crate) fn anew(self: Box<Self>) -> Box<Self> {
        let (lacking, settled, told) = (None, DotSet::new(), Vec::new());
        let (pause, patience) = (2 * self.pause, 2 * self.patience);
        Box::new(Self { lacking, settled, told, pause, patience, is_again: true, ..*self })
    }

    /// Somebody has answered, and told this.
    pub(crate) fn hear(&mut self, from: NodeId, known: Known) {
        self.told.push(from);
        let _ = self.settled.union(&known.settled);
        self.lacking = Some(match self.lacking.take() {
            Some(before) => before.intersection(&known.lacking),
            None => known.lacking,
        });
    }

    /// Whether there is something to look for.
    pub(crate) fn has_seen(&self) -> bool {
        matches!(&self.session.seen, Seen::Dots(seen) if !seen.is_empty())
    }

    /// Whom it waits for beside: one replica, because what all replicas have is not in the session
    /// any more, and guests need not have it. All of them, if the session has seen more than its
    /// token can say. What guests keep would be missed by that.
    pub(crate) fn demand(
        &self,
        need: &mut ReadNeed,
        site: &Site,
        is_sloppy: bool,
    ) -> Result<(), Failure> {
        let is_wide = self.session.seen == Seen::All;
        if is_sloppy && is_wide {
            return Err(Failure::SessionBehind { missing: None, asked: Vec::new() });
        }
        if is_sloppy || is_wide {
            let count = if is_wide { site.replicas.len() as u16 } else { 1 };
            let replicas = Need::default().and_nodes(site.voters.iter(), count);
            need.primaries = std::mem::take(&mut need.primaries).and(replicas);
        }
        Ok(())
    }

    /// Whether something is missing, as far as those know who have answered.
    pub(crate) fn is_behind(&self) -> bool {
        self.has_seen()
            && (self.lacking.as_ref().is_none_or(|lacking| !lacking.is_empty())
                || is(Mutant::SessionNeverMet))
            && !is(Mutant::SessionLacksIgnored)
    }

    /// The session, now that this was read.
    pub(crate) fn after(&self, object: &Object) -> Session {
        let mut session = self.session.clone();
        if !is(Mutant::SessionForgetsReads) {
            session.sees(object.context());
        }
        session.forgets(&self.settled);
        session
    }

    pub(crate) fn failure(&self) -> Failure {
        let missing = self.lacking.as_ref().map(DotSet::len);
        Failure::SessionBehind { missing, asked: self.told.clone() }
    }
}

/// What a client has seen of a shard.
pub(crate) fn session_of(sessions: &[Session], shard: ShardId) -> Session {
    let of_shard = sessions.iter().filter(|session| session.shard == shard);
    let mut all = Session::new(shard);
    for session in of_shard {
        match (&mut all.seen, &session.seen) {
            (Seen::Dots(ours), Seen::Dots(theirs)) => {
                let _ = ours.union(theirs);
            }
            (Seen::All, _) | (_, Seen::All) => all.seen = Seen::All,
        }
    }
    all
}

impl Node {
    /// What this node knows of what a session has seen, beside what it has found. A guest has
    /// what it keeps at the key, and does not know what is settled.
    pub(crate) fn known_of(&self, seen: &Seen, fetch: &Fetch, found: &Found) -> Known {
        let session = |shard| Session { shard, seen: seen.clone() };
        let Some(shard) = self.contracts.shard_of(&fetch.address) else { return Known::default() };
        let held = match found {
            Found::Full(object) => object.context().clone(),
            Found::Digest(_) | Found::Failed => DotSet::new(),
        };
        let session = session(shard);
        if !self.contracts.replicas(shard).contains(&self.config.id) {
            let lacking = session.lacking(&held).unwrap_or_default();
            return Known { lacking, settled: DotSet::new() };
        }
        let lacking = session.lacking(self.clock(shard)).unwrap_or_default();
        let mut settled = self.settled_of(&session, shard);
        let _ = settled.union(&shortened_dots(&self.settled_part(shard, &held)));
        Known { lacking, settled }
    }

    /// The clock of a shard that this node keeps.
    fn clock(&self, shard: ShardId) -> &DotSet {
        const NOTHING: &DotSet = &DotSet::new();
        let kept = self.shards.get(&shard).map(|kept| kept.replica.clock());
        kept.or(self.recovered.get(&shard)).unwrap_or(NOTHING)
    }

    /// The part of some dots that every replica has on disk.
    fn settled_part(&self, shard: ShardId, dots: &DotSet) -> DotSet {
        self.exchange.acks.settled(shard, &self.awaited(shard), dots)
    }

    /// The part of what a session has seen that every replica has on disk: of each incarnation
    /// that is so called here.
    fn settled_of(&self, session: &Session, shard: ShardId) -> DotSet {
        let Seen::Dots(seen) = &session.seen else { return DotSet::new() };
        let settled = self.settled_part(shard, self.clock(shard));
        let open = Session { shard, seen: Seen::Dots(seen.clone()) }.lacking(&settled);
        seen.difference(&open.unwrap_or_default())
    }

    /// Looks whether this node may accept a write of a session. Returns the session.
    pub(crate) fn admit(
        &self,
        sessions: Option<&Vec<Session>>,
        shard: ShardId,
    ) -> Result<Option<Session>, Failure> {
        let Some(sessions) = sessions else { return Ok(None) };
        let session = session_of(sessions, shard);
        let is_replica = self.contracts.replicas(shard).contains(&self.config.id);
        let minted = self.minters.get(&shard).map(replica::Replica::clock);
        let lacking = match (is_replica, minted) {
            (true, _) => session.lacking(self.clock(shard)),
            (false, Some(minted)) => session.lacking(minted),
            (false, None) => session.lacking(&DotSet::new()),
        };
        let missing = lacking.map(|lacking| lacking.len());
        if missing == Some(0) || is(Mutant::SessionWritesUnchecked) {
            return Ok(Some(session));
        }
        Err(Failure::SessionBehind { missing, asked: vec![self.config.id] })
    }
}
