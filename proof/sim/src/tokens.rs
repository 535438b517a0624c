//! Writes that are tried again with the same token, and what each may come to: one effect.
//!
//! To the oracle each attempt is a write of its own, with the dot that was minted for it, if
//! one was. Attempts with the same token, at the same key, with the same value and the same
//! context are one *family*. Whatever happened to its members, the family is one write:
//!
//! ```text
//! w1 put "tea" {} t  -> a1         an object that has heard of w3 must hold neither a1 nor b1,
//! w2 the same     t  -> b1         also if b1 reaches it years after a1
//! w3 put "milk" {a1} -> c1         a client is shown one of a1 and b1
//! ```
//!
//! An attempt whose node had heard of an earlier one gets no dot. It is answered with the dot
//! of that one, and must keep what that answer promises.

use std::collections::BTreeSet;
use std::time::Duration;

use causality::{Dot, DotSet};
use model::{Object, Read, Receipt, Refusal, Token};

use crate::invariant::Invariant;
use crate::oracle::{Oracle, Outcome, Viewer, Write, WriteId};
use crate::report::Broken;
use crate::world::World;

/// The wall clock when the world begins, in milliseconds.
pub(crate) const WALL_BEGINS: u64 = 1_800_000_000_000;

/// How far wall clocks are apart, and how far one is set from life to life: twelve days, in
/// milliseconds.
pub(crate) const WALL_SPREAD: u64 = 1 << 30;

/// How old tokens may be here, and how early. Longer than clocks are apart, so that a token of
/// the day is never refused.
pub(crate) const WINDOW: Duration = Duration::from_millis(2 * WALL_SPREAD);

/// How old a token is, or how early, that everybody must refuse, in milliseconds.
pub(crate) const TOO_FAR: u64 = 4 * WALL_SPREAD;

impl Oracle {
    /// The attempts of one write, this one included.
    pub(crate) fn family(&self, id: WriteId) -> &[WriteId] {
        let family = self.write(id).family.and_then(|first| self.families.get(&first));
        family.map(Vec::as_slice).unwrap_or_default()
    }

    /// A write that cannot be told from this one: a delete with the same token of the same
    /// values. It is the same write, whatever its client means.
    pub(crate) fn same_write(&self, write: &Write) -> Option<WriteId> {
        let same = |(_, other): &(WriteId, &Write)| {
            write.token.is_some()
                && other.token == write.token
                && other.value == write.value
                && other.context == write.context
        };
        self.writes_of(write.spot).find(same).and_then(|(_, other)| other.family)
    }

    /// The dots of other attempts of a write that an object has heard of.
    pub(crate) fn twins<'a>(
        &'a self,
        id: WriteId,
        dot: Dot,
        context: &'a DotSet,
    ) -> impl Iterator<Item = Dot> + 'a {
        let dots = self.family(id).iter().filter_map(|twin| self.write(*twin).dot);
        dots.filter(move |twin| *twin != dot && context.contains(*twin))
    }

    /// Of a write that was tried again, an object shows one effect, and none when any attempt
    /// is superseded.
    pub(crate) fn check_twins(
        &self,
        viewer: Viewer,
        spot: usize,
        (id, dot): (WriteId, Dot),
        object: &Object,
    ) -> Result<(), Broken> {
        let complain = |twin: Dot, what: &str| {
            let detail = format!("{viewer:?} holds {dot} (w{}), and its twin {twin} {what}", id.0);
            Err(Broken::of(Invariant::TokensTakeEffectOnce, spot, detail))
        };
        for twin in self.twins(id, dot, object.context()) {
            if viewer == Viewer::Client && object.values().contains_key(&twin) {
                return complain(twin, "beside it");
            }
            let is_superseded = self.cover(spot, twin, object.context()).is_some();
            if is_superseded && !self.may_forget(spot, twin) {
                return complain(twin, "is superseded");
            }
        }
        Ok(())
    }

    /// Whether a dot that is not held has a twin that explains it: one that is superseded, or,
    /// in what a client is shown, one that is shown.
    pub(crate) fn is_gone_with_twin(
        &self,
        viewer: Viewer,
        spot: usize,
        (id, dot): (WriteId, Dot),
        object: &Object,
    ) -> bool {
        self.twins(id, dot, object.context()).any(|twin| {
            let is_shown = viewer == Viewer::Client && object.values().contains_key(&twin);
            let is_superseded = self.cover(spot, twin, object.context()).is_some();
            is_shown
                || is_superseded
                || self.is_forgotten(spot, twin)
                || self.is_claimed(spot, twin)
                || self.may_claim(viewer, spot, twin)
        })
    }

    /// Whether so many writes to its key are younger that nobody has to remember the mark of
    /// a superseded dot. One that was sent again gives way to such only.
    pub(crate) fn may_forget(&self, spot: usize, dot: Dot) -> bool {
        let Some(id) = self.named(spot, dot) else { return false };
        let write = self.write(id);
        let is_younger =
            |other: &Write| write.token < other.token && (other.repeated || !write.repeated);
        model::MARKS_MAX
            <= self.writes_of(write.spot).filter(|(_, other)| is_younger(other)).count()
    }

    /// Whether so many writes to its key are younger that nobody has to remember a token.
    pub(crate) fn may_be_forgotten(&self, id: WriteId) -> bool {
        let write = self.write(id);
        let younger = self.writes_of(write.spot).filter(|(_, other)| write.token < other.token);
        model::MARKS_MAX <= younger.count()
    }

    /// An attempt is answered with a dot that an earlier one has got, or that this one has got
    /// at another node: that dot is what the answer speaks of.
    pub(crate) fn adopt(&mut self, id: WriteId, receipt: &Receipt) {
        let Some(told) = receipt.dot.filter(|dot| self.write(id).dot != Some(*dot)) else { return };
        let mut family = self.family(id).iter().copied();
        if !family.any(|twin| self.write(twin).dot == Some(told)) {
            return;
        }
        if let Some(mine) = self.write_mut(id).dot.replace(told) {
            let twin = self.split(id);
            let _ = self.name(mine, twin);
        }
    }

    /// A node that was asked twice for one write, and accepts it long afterwards, does not show for
    /// which of the two. If it refuses one, it was the other: that one gets the dot.
    pub(crate) fn hand_over(&mut self, id: WriteId, dot: Dot) -> bool {
        let at = self.write(id).at;
        let is_it = |twin: &WriteId| {
            let other = self.write(*twin);
            let is_refused = *twin == id || other.outcome == Outcome::Refused;
            other.at == at && !is_refused && other.dot.is_none_or(|its| its == dot)
        };
        let Some(twin) = self.family(id).iter().copied().find(is_it) else { return false };
        self.write_mut(id).dot = None;
        let _ = self.name(dot, twin);
        true
    }

    /// A second dot for one attempt, which was forwarded to two nodes: it is as if the client had
    /// tried twice.
    pub(crate) fn split(&mut self, id: WriteId) -> WriteId {
        let (outcome, acks) = (Outcome::Unknown, Vec::new());
        let twin = Write { dot: None, outcome, acks, ..self.write(id).clone() };
        self.begin(twin)
    }
}

impl World {
    /// Whether a token deserves to be refused.
    pub(crate) fn deserves_token(&self, id: WriteId, refusal: &Refusal) -> bool {
        let write = self.oracle.write(id);
        let Some(token) = write.token else { return false };
        let is_of_the_day = is_of_the_day(token);
        let is_early = WALL_BEGINS < token.millis();
        if matches!(refusal, Refusal::TokenExpired { .. }) {
            return !is_of_the_day && !is_early;
        }
        if matches!(refusal, Refusal::TokenFromFuture { .. }) {
            return !is_of_the_day && is_early;
        }
        if matches!(refusal, Refusal::TokenForgotten { .. }) {
            return self.oracle.may_be_forgotten(id);
        }
        let is_other = |other: &Write| other.token == Some(token) && other.family != write.family;
        self.oracle.writes_of(write.spot).any(|(_, other)| is_other(other))
    }

    /// What must not have been accepted: a token that is too far from the time of day.
    pub(crate) fn check_token(&self, id: WriteId) -> Result<(), Broken> {
        match self.oracle.write(id).token.filter(|token| !is_of_the_day(*token)) {
            None => Ok(()),
            Some(token) => {
                let detail = format!("w{} is acknowledged, and {token} is not of the day", id.0);
                Err(Broken::new(Invariant::ImproperIsRefused, detail))
            }
        }
    }
}

impl World {
    /// Counts what became of the writes with tokens, for the summary: how often they were
    /// tried, and what of it there is at the end. It counts by itself, and asks no other check.
    pub(crate) fn count_effects(&mut self, reads: &[Read]) {
        let mut counts = Effects::default();
        for attempts in self.oracle.families.values() {
            let attempts: Vec<&Write> = attempts.iter().map(|id| self.oracle.write(*id)).collect();
            let Some(read) = attempts.first().and_then(|first| reads.get(first.spot)) else {
                continue;
            };
            counts.add(&attempts, &read.object);
        }
        let Effects { made, tried, unanswered, acknowledged, twice, lost, doubled } = counts;
        for (what, count) in [
            ("made", made),
            ("tried", tried),
            ("not answered", unanswered),
            ("acknowledged at last", acknowledged),
            ("accepted at two nodes", twice),
            ("lost", lost),
            ("doubled", doubled),
        ] {
            self.requests.insert(("tokens", what), count);
        }
    }
}

/// What became of all writes with tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Effects {
    made: u64,
    tried: u64,
    /// Attempts that were not answered, or that ended unknown.
    unanswered: u64,
    acknowledged: u64,
    twice: u64,
    /// Acknowledged, and neither there nor superseded.
    lost: u64,
    /// Shown more than once.
    doubled: u64,
}

impl Effects {
    /// One write, all attempts of which were these, and what its key holds in the end.
    fn add(&mut self, attempts: &[&Write], held: &Object) {
        let dots: BTreeSet<Dot> = attempts.iter().filter_map(|write| write.dot).collect();
        let open = |write: &&&Write| matches!(write.outcome, Outcome::Open | Outcome::Unknown);
        let is_acknowledged = attempts.iter().any(|write| write.outcome == Outcome::Acked);
        let is_applied = dots.iter().any(|dot| held.context().contains(*dot));
        let shown = dots.iter().filter(|dot| held.values().contains_key(dot)).count();
        self.made += 1;
        self.tried += attempts.len() as u64;
        self.unanswered += attempts.iter().filter(open).count() as u64;
        self.acknowledged += u64::from(is_acknowledged);
        self.twice += u64::from(1 < dots.len());
        self.lost += u64::from(is_acknowledged && !is_applied);
        self.doubled += u64::from(1 < shown);
    }
}

/// Whether a token is of a time that all nodes take for near enough. A run takes minutes.
pub(crate) fn is_of_the_day(token: Token) -> bool {
    token.millis().abs_diff(WALL_BEGINS) < WALL_SPREAD
}

/// An object as two of it are compared: what is shown, and what was heard of. What is
/// remembered about twins may differ.
pub(crate) fn plain(object: &Object) -> Object {
    let (values, context) = object.clone().shown().into_parts();
    Object::from_parts(values, context).expect("a part of an object is one")
}

#[cfg(test)]
mod tests {
    use causality::Incarnation;
    use model::{
        Durability, Key, KeyspaceId, Level, NodeId, Policy, ShardId, SiblingRules, Table, TableId,
        Voting,
    };

    use super::*;
    use crate::invariant::Invariant;
    use crate::levels::Places;
    use crate::oracle::{Look, Spot};
    use crate::scenario::name;

    /// Two attempts of one write, at these nodes, of which the first was accepted as far as anybody
    /// can see.
    fn attempts(nodes: [u16; 2]) -> (Oracle, [WriteId; 2], Dot) {
        let keyspace = KeyspaceId::new(1);
        let table = Table {
            id: TableId::new(1),
            keyspace,
            name: name("table"),
            policy: Policy::Siblings,
            durability: Durability::Synced,
            read: Level::Quorum,
            write: Level::Quorum,
            voting: Voting::default(),
            siblings: SiblingRules::default(),
        };
        let (key, shard) =
            (Key::new("k".into(), "".into()).unwrap(), ShardId { keyspace, index: 0 });
        let spot = Spot { keyspace: name("space"), table, key, shard, replicas: Vec::new() };
        let mut oracle = Oracle::new(vec![spot], Places::default(), Look::Quiet);
        let ids = nodes.map(|at| {
            oracle.begin(Write {
                spot: 0,
                at: NodeId::new(at),
                value: None,
                context: Default::default(),
                marks: Default::default(),
                token: Some(Token::new(7, 7)),
                repeated: false,
                family: None,
                begun: 0,
                ended: u64::MAX,
                outcome: Outcome::Open,
                dot: None,
                acks: Vec::new(),
            })
        });
        let dot = Dot::new(Incarnation::new(9), 1);
        oracle.mint(ids[0], dot).unwrap();
        (oracle, ids, dot)
    }

    #[test]
    fn of_two_attempts_at_one_node_one_may_be_refused_and_not_both() {
        let (mut oracle, [first, second], dot) = attempts([1, 1]);
        oracle.failed(first, Outcome::Refused, 5).unwrap();
        assert_eq!((oracle.write(first).dot, oracle.write(second).dot), (None, Some(dot)));
        let broken = oracle.failed(second, Outcome::Refused, 6).unwrap_err();
        assert_eq!(broken.invariant, Invariant::RefusedStaysAway);
    }

    #[test]
    fn what_one_node_has_accepted_was_not_accepted_by_another() {
        let (mut oracle, [first, _], _) = attempts([1, 2]);
        let broken = oracle.failed(first, Outcome::Refused, 5).unwrap_err();
        assert_eq!(broken.invariant, Invariant::RefusedStaysAway);
    }
}
