//! What clients are told of writes that they were not told of.
//!
//! A client that was not answered, or wants to be sure, asks what became of its write by its
//! token. Each word of the answer is judged against the true history: who has the write, who
//! has not, whether it was superseded, and above all whether it is true that it never will be.
//!
//! ```text
//! w7 put "tea" t -> a1 at n1 n2, n3 is cut off; nobody told the client
//!     applied, by n1 n2; silent n3          true
//!     applied, by n1; without n2            a lie if n2 had acknowledged it before the question
//!     not seen; without n1 n2, silent n3    the same
//!     not seen, final                       a lie if any attempt of it is ever accepted
//! ```
//!
//! What is judged is what must be so whenever the nodes were asked, between the question and
//! the answer. What they could have said a moment earlier is not held against them.

use std::collections::BTreeSet;

use causality::Dot;
use model::{Ack, Fate, NodeId, Recalled, Receipt, Token};

use crate::answers::misfit;
use crate::invariant::Invariant;
use crate::oracle::{Look, Oracle, Outcome, Write, WriteId};
use crate::report::Broken;
use crate::tokens::is_of_the_day;
use crate::world::{Open, World};

impl Oracle {
    /// The writes to the key of a write that came with its token.
    fn with_token(&self, id: WriteId) -> impl Iterator<Item = (WriteId, &Write)> {
        let (spot, token) = (self.write(id).spot, self.write(id).token);
        self.writes_of(spot).filter(move |(_, write)| write.token == token)
    }

    /// Those who answered and must have heard of one of these writes before the question.
    fn must_know<'a>(
        &'a self,
        writes: impl Iterator<Item = &'a Write> + 'a,
        begun: u64,
    ) -> impl Iterator<Item = NodeId> + 'a {
        let before = move |write: &&Write| write.outcome == Outcome::Acked && write.ended < begun;
        writes.filter(before).flat_map(move |write| self.losses.keepers(write, begun))
    }

    /// The writes that are known to have superseded one of these.
    fn covers(&self, id: WriteId, dots: &[Dot]) -> Vec<&Write> {
        let had_read = |write: &&Write| dots.iter().any(|dot| write.context.contains(*dot));
        let spot = self.write(id).spot;
        self.writes_of(spot).map(|(_, write)| write).filter(had_read).collect()
    }

    /// That a write was said never to take place is remembered, and it was not accepted before.
    fn is_said_dead(&mut self, id: WriteId) {
        let write = self.write(id);
        let dead = write.token.map(|token| (write.spot, token));
        self.dead.extend(dead);
    }

    /// A write that was just accepted was not said never to be.
    pub(crate) fn check_dead(&self, id: WriteId) -> Result<(), Broken> {
        let write = self.write(id);
        match write.token.filter(|token| self.dead.contains(&(write.spot, *token))) {
            None => Ok(()),
            Some(token) => {
                let detail = format!("w{} is accepted, and {token} was said never to be", id.0);
                Err(Broken::of(Invariant::OutcomesAreTrue, write.spot, detail))
            }
        }
    }

    /// What is wrong with what is said of a write, as far as clients could tell.
    fn untruth(&self, id: WriteId, told: &Recalled, begun: u64) -> Option<String> {
        let write = self.write(id);
        let spot = self.spot(write.spot);
        let poll = self.poll(spot, write.at);
        let acks = told.receipt.iter().flat_map(|receipt| &receipt.acks);
        let with: BTreeSet<NodeId> = acks.map(|ack| ack.node).chain(told.guests.clone()).collect();
        let all = [&told.without, &told.silent].into_iter().flatten().chain(&with);
        let all: BTreeSet<NodeId> = all.copied().collect();
        let count = with.len() + told.without.len() + told.silent.len();
        if count != all.len() {
            return Some("somebody is named twice".into());
        }
        let asked: BTreeSet<NodeId> = match poll.sloppy {
            true => self.places.regions.keys().copied().collect(),
            false => spot.replicas.iter().copied().collect(),
        };
        if all != asked {
            return Some(format!("those who may have it are {asked:?}"));
        }
        if let Some(receipt) = &told.receipt {
            let is_kind = receipt.kind == poll.write_kind(&receipt.acks);
            let misfit = misfit(spot.shard, &poll, receipt);
            let kind = (!is_kind).then(|| "its worth is another".to_owned());
            if let Some(lie) = misfit.or(kind).or_else(|| self.foreign(id, receipt)) {
                return Some(lie);
            }
        }
        if self.may_be_forgotten(id) {
            return None;
        }
        let attempts = self.with_token(id).map(|(_, write)| write);
        let knows = self.must_know(attempts, begun).find(|node| told.without.contains(node));
        if let Some(node) = knows {
            return Some(format!("{node} had acknowledged it before the question"));
        }
        self.false_fate(id, told, begun)
    }

    /// The write that is told of is another.
    fn foreign(&self, id: WriteId, receipt: &Receipt) -> Option<String> {
        let is_it = self.with_token(id).any(|(_, write)| write.dot == receipt.dot);
        (!is_it).then(|| format!("{:?} is another write", receipt.dot))
    }

    fn false_fate(&self, id: WriteId, told: &Recalled, begun: u64) -> Option<String> {
        let write = self.write(id);
        let is_found = matches!(told.fate, Fate::Applied | Fate::Superseded);
        if is_found != told.receipt.is_some() {
            return Some("either there is a receipt, or it was not found".into());
        }
        if told.fate == Fate::Expired && write.token.is_some_and(is_of_the_day) {
            return Some("it is of the day".into());
        }
        let mut families = self.with_token(id).map(|(_, other)| other.family);
        if families.any(|family| family != write.family) {
            return None;
        }
        let dots: Vec<Dot> = self.with_token(id).filter_map(|(_, write)| write.dot).collect();
        let covers = self.covers(id, &dots);
        let mut known = covers.iter().filter(|cover| cover.dot.is_some());
        let is_claimed = dots.iter().any(|dot| self.is_claimed(write.spot, *dot));
        match told.fate {
            Fate::Superseded if write.value.is_none() => Some("it is a delete".into()),
            Fate::Superseded if known.next().is_none() && !is_claimed => {
                Some("nothing had read it".into())
            }
            Fate::Applied if write.value.is_some() => {
                let acks = told.receipt.iter().flat_map(|receipt| &receipt.acks);
                let heard = acks.map(|ack| ack.node).chain(told.without.iter().copied());
                let heard: BTreeSet<NodeId> = heard.collect();
                let mut covered = self.must_know(covers.into_iter(), begun);
                let by = covered.find(|node| heard.contains(node))?;
                Some(format!("{by} had acknowledged what superseded it before the question"))
            }
            Fate::Applied | Fate::Superseded | Fate::NotSeen { .. } | Fate::Expired => None,
        }
    }
}

impl World {
    /// A client was told what became of a write.
    pub(crate) fn check_recalled(
        &mut self,
        open: &Open,
        id: WriteId,
        told: &Recalled,
    ) -> Result<(), Broken> {
        let name = match told.fate {
            Fate::Applied => "applied",
            Fate::Superseded => "superseded",
            Fate::NotSeen { is_final: false } => "not seen",
            Fate::NotSeen { is_final: true } => "never",
            Fate::Expired => "expired",
        };
        *self.requests.entry(("outcomes", name)).or_default() += 1;
        if self.oracle.look == Look::Quiet {
            return Ok(());
        }
        let untruth = self.oracle.untruth(id, told, open.begun);
        let untruth = untruth.or_else(|| self.not_there(id, told));
        if let Some(untruth) = untruth {
            let spot = self.oracle.write(id).spot;
            let detail = format!("w{}: {untruth}, and {} says {told:?}", id.0, open.at);
            return Err(Broken::of(Invariant::OutcomesAreTrue, spot, detail));
        }
        if open.healthy && !told.silent.is_empty() {
            let detail = format!("all are there, and {} is told {told:?}", open.at);
            return Err(Broken::new(Invariant::HealthyRequestsSucceed, detail));
        }
        if told.fate == (Fate::NotSeen { is_final: true }) {
            self.oracle.is_said_dead(id);
        }
        Ok(())
    }

    /// What the disks say against it.
    fn not_there(&self, id: WriteId, told: &Recalled) -> Option<String> {
        if self.oracle.look != Look::Everywhere {
            return None;
        }
        let spot = self.oracle.write(id).spot;
        let place = self.oracle.spot(spot).place();
        let dots: Vec<Dot> =
            self.oracle.with_token(id).filter_map(|(_, write)| write.dot).collect();
        let on_disk = |ack: &Ack| dots.iter().any(|dot| self.is_or_was_on_disk(ack, spot, *dot));
        let mut acks = told.receipt.iter().flat_map(|receipt| &receipt.acks);
        if let Some(ack) = acks.find(|ack| !ack.durable || !on_disk(ack)) {
            return Some(format!("{} has it not on disk", ack.node));
        }
        let is_never = told.fate == (Fate::NotSeen { is_final: true });
        let has = |node: &NodeId| {
            let host = self.hosts.get(node);
            host.is_some_and(|host| dots.iter().any(|dot| host.disk.has_copy(&place, *dot)))
        };
        let mut nodes = self.hosts.keys().filter(|_| is_never && !self.oracle.may_be_forgotten(id));
        nodes.find(|node| has(node)).map(|node| format!("{node} has it"))
    }
}

/// What clients were told will never be, by key.
pub(crate) type Dead = BTreeSet<(usize, Token)>;
