//! Making a new disk whole before its node takes part (R6).
//!
//! A disk that takes the place of another holds nothing, and its node had acknowledged much. Until
//! it holds all that again it must not vote: a quorum that counted it could miss a write that was
//! acknowledged. And it must not listen to whoever comes along: what arrives late was
//! perhaps deleted long ago, and nobody is left to tell it so.
//!
//! ```text
//! n3 ──Vouch s7──────► n1       n3 is joining, as n1 knows from the catalog
//! n3 ◄─Vouched──────── n1       n1 takes part itself, and has forgotten {a1 b2}
//! n3 ──Compare, Bring─ n1 ...   everything that n1 holds, as when trees are compared
//!                               n3 has what n1 had then; the same with n2
//! n3 is whole                   when that is so of all shards, it says so, and takes part
//! ```
//!
//! **With whom.** With all replicas of a shard that are there, and at least with half of all, rounded
//! up: that leaves too few others for a write that was acknowledged by a majority. Where a table
//! counts votes, with all of them. Where there is nobody to copy, an operator has to say that the disk
//! before is lost: it may only not be mounted. Where several
//! disks were lost at once there may be fewer, and an operator has to say that they will not
//! come back: a node that was evicted does not count.
//!
//! **Clocks** are not taken over: each object brings the dots that there is evidence of (R4). What a
//! member has forgotten no object speaks of any more, so it says that first, some at a time: the new
//! disk then knows it as well, and takes in no value of it.
//!
//! **What was said before.** Whoever vouches knows that the disk is joining, and tells nobody a clock
//! any more without the version of the catalog that says so. Whoever hears of that version forgets
//! what the disk before had acknowledged, so that nothing rests on it while the new one
//! copies.

use std::collections::{BTreeMap, BTreeSet};

use antientropy::KeyRange;
use causality::{Dot, DotSet};
use model::{Enrolment, NodeId, Now, ShardId};
use mutant::{Mutant, is};
use replica::Replica;

use crate::exchange::owed;
use crate::message::{Vouch, Vouched};
use crate::trees::Watched;
use crate::trees::compare::Purpose;
use crate::{After, Disk, Message, Node, RequestId, Turn};

/// How many intervals of the clock exchange an answer is waited for.
const PATIENCE: u32 = 4;

/// How often a replica is asked that others have been copied without.
const TRIES_MAX: u32 = 3;

/// What was done to make the disk of this node whole.
#[derive(Debug, Default)]
pub(crate) struct Joins {
    shards: BTreeMap<ShardId, Join>,
    /// Who was asked what it has forgotten besides, and until when an answer is waited for.
    learning: BTreeMap<(ShardId, NodeId), (RequestId, Now)>,
}

/// One shard of a new disk.
#[derive(Debug, Default)]
struct Join {
    /// Those whose objects are all here.
    copied: BTreeSet<NodeId>,
    /// Who was asked to vouch, under which name, and when another one is asked.
    asked: Option<(NodeId, RequestId, Now)>,
    /// Who was asked last. The next one is asked next.
    last: Option<NodeId>,
    /// How often each was asked.
    tries: BTreeMap<NodeId, u32>,
    is_whole: bool,
}

impl Joins {
    /// How many shards are whole.
    pub(crate) fn whole(&self) -> u64 {
        self.shards.values().filter(|join| join.is_whole).count() as u64
    }

    /// Nothing is to be made whole any more.
    pub(crate) fn stop(&mut self) {
        self.shards.clear();
    }
}

impl Node {
    /// Whether all shards of a joining disk are whole.
    pub(crate) fn is_whole(&self) -> bool {
        let mut shards = self.contracts.kept_by(self.config.id).peekable();
        // Who keeps no shard has nothing that shows whether the disk before is really gone.
        let is_sure = shards.peek().is_some() || self.is_given_up();
        let is_whole = |shard| self.joins.shards.get(&shard).is_some_and(|join| join.is_whole);
        is_sure && shards.all(|(shard, _)| is_whole(shard))
    }

    /// Whether an operator has said that the disk before does not come back.
    fn is_given_up(&self) -> bool {
        !self.in_force().is_enrolled(self.config.id)
    }

    /// Goes on with making a new disk whole.
    pub(crate) fn join<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        if self.enrolment() != Enrolment::Joining {
            return;
        }
        let shards = self.contracts.kept_by(self.config.id);
        let shards: Vec<ShardId> = shards.map(|(shard, _)| shard).collect();
        shards.into_iter().for_each(|shard| self.join_shard(shard, turn));
    }

    /// Copies a shard from the next replica, unless that is under way, or makes it whole if there is
    /// none.
    pub(crate) fn join_shard<D: Disk>(&mut self, shard: ShardId, turn: &mut Turn<'_, D>) {
        self.kept(shard);
        let join = self.joins.shards.entry(shard).or_default();
        if join.is_whole || join.asked.is_some_and(|(_, _, until)| turn.now < until) {
            return;
        }
        if self.trees.comparisons.values().any(|comparison| comparison.shard == shard) {
            return;
        }
        if let Some(node) = self.next_to_copy(shard, turn.now) {
            if self.copies_left(node) != 0 {
                self.ask_to_vouch(shard, node, turn);
            }
            return;
        }
        let is_whole = self.is_copied(shard);
        if let Some(join) = self.joins.shards.get_mut(&shard) {
            join.is_whole = is_whole;
        }
        if is_whole && self.is_whole() {
            self.exchange.hurry();
        }
    }

    /// Who is there and was not copied yet, in turn.
    fn next_to_copy(&self, shard: ShardId, now: Now) -> Option<NodeId> {
        let join = self.joins.shards.get(&shard)?;
        let is_enough = self.is_copied(shard);
        let is_hopeless = |node: &NodeId| {
            is_enough && join.tries.get(node).is_some_and(|tries| TRIES_MAX <= *tries)
        };
        let is_new = |node: &NodeId| {
            !join.copied.contains(node) && self.serves(*node, now) && !is_hopeless(node)
        };
        let mut others: Vec<NodeId> = self.awaited(shard).into_iter().filter(is_new).collect();
        others.sort_by_key(|node| (join.last.is_some_and(|last| *node <= last), *node));
        others.first().copied()
    }

    fn ask_to_vouch<D: Disk>(&mut self, shard: ShardId, node: NodeId, turn: &mut Turn<'_, D>) {
        let request = self.new_request();
        let until = turn.now + self.config.limits.exchange_interval * PATIENCE;
        if let Some(join) = self.joins.shards.get_mut(&shard) {
            (join.asked, join.last) = (Some((node, request, until)), Some(node));
            *join.tries.entry(node).or_default() += 1;
        }
        self.go_on_vouching((request, shard, node), None, turn);
    }

    fn go_on_vouching<D: Disk>(
        &self,
        (request, shard, node): (RequestId, ShardId, NodeId),
        after: Option<Dot>,
        turn: &mut Turn<'_, D>,
    ) {
        let disk = self.config.disk;
        turn.send(node, Message::Vouch(Vouch { request, shard, disk, after }), After::Now);
    }

    /// A node with a new disk wants to copy a shard. It may, if it is known here that it is joining:
    /// what this node says of its own clock from now on says so, too.
    pub(crate) fn vouch<D: Disk>(&mut self, from: NodeId, vouch: &Vouch, turn: &mut Turn<'_, D>) {
        let Vouch { request, shard, disk, after } = *vouch;
        let catalog = self.in_force();
        let is_known = catalog.joining(from) == Some(disk)
            || catalog.enrolment(from, disk) == Enrolment::Enrolled;
        if !is_known || !self.is_shared(shard, from) || is(Mutant::NobodyVouches) {
            return;
        }
        let all = self.kept(shard).replica.forgotten().clone();
        let next = after.map(|dot| Dot::new(dot.incarnation, dot.seq.saturating_add(1)));
        let rest = owed::from_on(all, next);
        let forgotten = owed::first_runs(rest.clone());
        let more = forgotten != rest;
        let forgotten = if is(Mutant::ForgottenNotVouched) { DotSet::new() } else { forgotten };
        // What is copied from here can be read here and at others, so it is not to be undone.
        turn.send(from, Message::Vouched(Vouched { request, forgotten, more }), After::Synced);
    }

    /// A member vouches. Everything that it holds is copied.
    pub(crate) fn vouched<D: Disk>(
        &mut self,
        from: NodeId,
        vouched: &Vouched,
        turn: &mut Turn<'_, D>,
    ) {
        let awaited = (from, vouched.request);
        let until = turn.now + self.config.limits.exchange_interval * PATIENCE;
        let is_awaited =
            |join: &Join| join.asked.is_some_and(|(node, request, _)| (node, request) == awaited);
        let last = vouched.forgotten.runs().last().filter(|_| vouched.more);
        let after = last.map(|run| Dot::new(run.incarnation, run.last));
        let mut shards = self.joins.shards.iter_mut();
        let joined = shards.find(|(_, join)| is_awaited(join)).map(|(shard, join)| {
            join.asked = after.map(|_| (from, vouched.request, until));
            *shard
        });
        let is_learned = |((_, node), (request, _)): &(&(ShardId, NodeId), &(RequestId, Now))| {
            (*node, *request) == awaited
        };
        let learned = self.joins.learning.iter().find(is_learned).map(|((shard, _), _)| *shard);
        let Some(shard) = joined.or(learned) else { return };
        self.adopt(shard, &vouched.forgotten, turn);
        if after.is_some() {
            return self.go_on_vouching((vouched.request, shard, from), after, turn);
        }
        self.joins.learning.remove(&(shard, from));
        if joined.is_none() {
            return;
        }
        self.begin_comparison((shard, from), KeyRange::ALL, Purpose::Copy, turn);
    }

    /// Takes over what another replica has forgotten.
    fn adopt<D: Disk>(&mut self, shard: ShardId, forgotten: &DotSet, turn: &mut Turn<'_, D>) {
        if !forgotten.is_empty() {
            let adopt = |replica: &mut Replica, disk: &mut Watched<'_, D>| {
                replica.adopt(disk, forgotten);
            };
            self.kept(shard).change(turn.disk, adopt);
        }
    }

    /// Another replica has forgotten what this one has never heard of: its disk is an older copy of
    /// what it was, or a member that it was copied from had lost something. It asks for all that is
    /// forgotten there. Trees then find what is held of it here.
    pub(crate) fn learn_forgotten<D: Disk>(
        &mut self,
        shard: ShardId,
        from: NodeId,
        turn: &mut Turn<'_, D>,
    ) {
        self.joins.learning.retain(|_, (_, until)| turn.now < *until);
        if self.joins.learning.contains_key(&(shard, from)) {
            return;
        }
        let request = self.new_request();
        let until = turn.now + self.config.limits.exchange_interval * PATIENCE;
        self.joins.learning.insert((shard, from), (request, until));
        self.counts.old_copies += 1;
        self.go_on_vouching((request, shard, from), None, turn);
    }

    /// Everything that a member holds is here. The next one is copied.
    pub(crate) fn copied<D: Disk>(&mut self, shard: ShardId, from: NodeId, turn: &mut Turn<'_, D>) {
        if let Some(join) = self.joins.shards.get_mut(&shard) {
            join.copied.insert(from);
            self.join(turn);
        }
    }

    /// Whether those that were copied are enough.
    fn is_copied(&self, shard: ShardId) -> bool {
        let others = self.others(shard);
        let others = others.iter().filter(|node| self.in_force().is_enrolled(**node)).count();
        if others == 0 {
            return self.is_given_up();
        }
        let mut tables = self.in_force().tables.values();
        let is_weighted =
            tables.any(|table| table.keyspace == shard.keyspace && !table.voting.votes.is_empty());
        let half = self.contracts.replicas(shard).len().div_ceil(2);
        let needed = match is_weighted {
            true => others,
            false => half.min(others),
        };
        self.joins.shards.get(&shard).is_some_and(|join| needed <= join.copied.len())
    }
}
