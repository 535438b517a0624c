//! What an answer claims, and whether it is so.
//!
//! A receipt names the replicas that took part. That is worth checking word by word,
//! because everything a client can conclude rests on it: if one replica took part in an
//! acknowledged write and later in a read, the read must have heard of the write, and if
//! a write was acknowledged by anyone whose disk was not lost, it is never lost.

use std::collections::BTreeSet;

use causality::Dot;
use model::{
    Ack, Cast, Durability, Kind, NodeId, Object, Read, ReadOptions, Receipt, ShardId, WriteOptions,
    Written,
};

use crate::invariant::Invariant;
use crate::levels::Poll;
use crate::oracle::{Look, Oracle, Outcome, Viewer, Write, WriteId};
use crate::report::Broken;
use crate::workload::Op;

impl Oracle {
    /// A write was acknowledged.
    pub(crate) fn acked(&mut self, id: WriteId, written: &Written, now: u64) {
        let acks = written.receipt.acks.clone();
        let write = self.write_mut(id);
        (write.outcome, write.ended, write.acks) = (Outcome::Acked, now, acks);
    }

    /// What the acknowledgement of a write says is so.
    pub(crate) fn check_written(
        &self,
        id: WriteId,
        options: WriteOptions,
        written: &Written,
    ) -> Result<(), Broken> {
        if self.look == Look::Quiet {
            return Ok(());
        }
        let write = self.write(id);
        let spot = self.spot(write.spot);
        let receipt = &written.receipt;
        let complain = |what: String| {
            let detail = format!("w{}: {what} in {receipt:?}", id.0);
            Err(Broken::of(Invariant::ReceiptsAreTrue, write.spot, detail))
        };
        let poll = self.poll(spot, write.at);
        let acks = &receipt.acks;
        if let Some(lie) = lie(spot.shard, &poll, receipt, poll.write_kind(acks)) {
            return complain(lie);
        }
        if !poll.is_proper_write(options) {
            return complain(format!("what was met may not be asked for, {options:?}"));
        }
        if !poll.is_written(options, acks) {
            return complain(format!("too few for {options:?} at {:?}", spot.table));
        }
        let synced = spot.table.durability == Durability::Synced;
        if synced && receipt.acks.iter().any(|ack| !ack.durable) {
            return complain("a replica of a synced table acknowledged before it synced".into());
        }
        if write.dot.is_none() || receipt.dot != write.dot {
            return complain(format!("the dot is {:?}", write.dot));
        }
        let mut context = write.context.clone();
        let _ = receipt.dot.map(|dot| context.insert(dot));
        if written.context != context {
            return complain(format!("the context is {:?}", written.context));
        }
        Ok(())
    }

    /// A write failed, for certain or perhaps.
    pub(crate) fn failed(&mut self, id: WriteId, outcome: Outcome, now: u64) -> Result<(), Broken> {
        let write = self.write_mut(id);
        (write.outcome, write.ended) = (outcome, now);
        let spot = write.spot;
        if let (Outcome::Refused, Some(dot)) = (outcome, write.dot)
            && !self.hand_over(id, dot)
        {
            let detail = format!("w{} was accepted as {dot} and then refused", id.0);
            return Err(Broken::of(Invariant::RefusedStaysAway, spot, detail));
        }
        Ok(())
    }

    /// Too few replicas took part: those who did are named, and no others. What needs more than
    /// its level may have failed with as many as that.
    pub(crate) fn check_unmet(
        &self,
        (at, needs_more): (NodeId, bool),
        op: &Op,
        (wanted, got): (u8, u8),
        receipt: &Receipt,
    ) -> Result<(), Broken> {
        let acks = &receipt.acks;
        let (index, is_named, is_met) = match op {
            Op::Write { id, options } => {
                let write = self.write(*id);
                let poll = self.poll(self.spot(write.spot), at);
                let is_named = receipt.dot == write.dot && write.dot.is_some();
                (write.spot, is_named, poll.is_written(*options, acks))
            }
            Op::Read { spot, options, monotonic } => {
                let poll = self.poll(self.spot(*spot), at);
                let is_met = match monotonic {
                    true => poll.is_monotonic_read(*options, acks),
                    false => poll.is_read(*options, acks),
                };
                (*spot, receipt.dot.is_none() && receipt.durable() == 0, is_met)
            }
            Op::Recall { .. }
            | Op::List(_)
            | Op::Watch { .. }
            | Op::Declare(_)
            | Op::Nowhere
            | Op::Ask => {
                return Ok(());
            }
        };
        let spot = self.spot(index);
        let is_counted = got == spoken_for(receipt) && receipt.wanted == wanted;
        let what = match misfit(spot.shard, &self.poll_anywhere(spot), receipt) {
            Some(misfit) => misfit,
            None if is_met && !needs_more => "these are not too few".into(),
            None if !is_counted => format!("{got} of {wanted} are told"),
            None if !is_named => "the write is another".into(),
            None => return Ok(()),
        };
        let detail = format!("{what} in {receipt:?} of what failed");
        Err(Broken::of(Invariant::ReceiptsAreTrue, index, detail))
    }

    /// A read was answered.
    pub(crate) fn read(
        &mut self,
        spot_index: usize,
        options: ReadOptions,
        (at, begun): (NodeId, u64),
        (read, told): (&Read, &Object),
    ) -> Result<(), Broken> {
        if self.look == Look::Quiet {
            return Ok(());
        }
        let spot = self.spot(spot_index);
        let receipt = &read.receipt;
        let complain = |what: String| {
            Err(Broken::of(
                Invariant::ReceiptsAreTrue,
                spot_index,
                format!("{what} in {receipt:?} of a read begun at {begun}"),
            ))
        };
        let poll = self.poll(spot, at);
        if let Some(lie) = lie(spot.shard, &poll, receipt, poll.read_kind(&receipt.acks)) {
            return complain(lie);
        }
        if !poll.is_proper_read(options) {
            return complain(format!("what was met may not be asked for, {options:?}"));
        }
        if !poll.is_read(options, &receipt.acks) {
            return complain(format!("too few for {options:?} at {:?}", spot.table));
        }
        if receipt.dot.is_some() || receipt.durable() != 0 {
            return complain("a read claims to have written".into());
        }
        self.check(Viewer::Client, spot_index, told)?;
        self.check_meets(spot_index, begun, read)
    }

    /// A read must have heard of each write that was acknowledged before it began by a
    /// replica that took part in both.
    fn check_meets(&self, spot: usize, begun: u64, read: &Read) -> Result<(), Broken> {
        let readers: BTreeSet<NodeId> = read.receipt.acks.iter().map(|ack| ack.node).collect();
        for (id, write) in self.writes_of(spot) {
            let before = write.outcome == Outcome::Acked && write.ended < begun;
            let unseen = write.dot.is_some_and(|dot| !read.object.context().contains(dot));
            if !before || !unseen {
                continue;
            }
            if let Some(both) =
                self.losses.keepers(write, begun).find(|node| readers.contains(node))
            {
                let detail = format!(
                    "a read begun at {begun} and answered by {readers:?} has not heard of w{}, acknowledged by {both}",
                    id.0
                );
                return Err(Broken::of(Invariant::QuorumsMeet, spot, detail));
            }
            self.check_stays_away(id, begun, read, &readers)?;
        }
        Ok(())
    }

    /// A read from replicas that have all applied a write, and that do not hold it because
    /// each has lost the record, must at least not return what the write superseded.
    fn check_stays_away(
        &self,
        id: WriteId,
        begun: u64,
        read: &Read,
        readers: &BTreeSet<NodeId>,
    ) -> Result<(), Broken> {
        let write = self.write(id);
        let knows_it = |value: Dot| {
            let witnesses: BTreeSet<NodeId> = self.losses.witnesses(write, value, begun).collect();
            readers.is_subset(&witnesses)
        };
        let superseded = read.object.values().keys().filter(|dot| write.context.contains(**dot));
        match superseded.copied().find(|dot| knows_it(*dot)) {
            Some(dot) => {
                let detail =
                    format!("{readers:?} return {dot}, which w{} superseded at each of them", id.0);
                Err(Broken::of(Invariant::SupersededStaysAway, write.spot, detail))
            }
            None => Ok(()),
        }
    }

    /// What all replicas together hold: each acknowledged write must be in it, unless it was
    /// acknowledged from memory only and everybody has lost that, or everything may be lost.
    pub(crate) fn check_kept(
        &self,
        spot: usize,
        read: &Read,
        destroys: bool,
    ) -> Result<(), Broken> {
        for (id, write) in self.writes_of(spot) {
            let kept = write.dot.is_some_and(|dot| read.object.context().contains(dot));
            let acked = write.outcome == Outcome::Acked;
            let was_durable = !destroys && write.acks.iter().any(|ack| ack.durable);
            let must = was_durable || self.losses.keepers(write, u64::MAX).next().is_some();
            if acked && !kept && must {
                let detail = format!("w{} is lost: at the end there is {:?}", id.0, read.object);
                return Err(Broken::of(Invariant::AcknowledgedIsKept, spot, detail));
            }
        }
        Ok(())
    }

    pub(crate) fn writes_of(&self, spot: usize) -> impl Iterator<Item = (WriteId, &Write)> {
        let ids = self.by_spot.get(&spot).map(Vec::as_slice).unwrap_or_default();
        ids.iter().map(|id| (*id, self.write(*id)))
    }
}

/// What is wrong with a receipt, even if it is of what failed.
pub(crate) fn misfit(shard: ShardId, poll: &Poll<'_>, receipt: &Receipt) -> Option<String> {
    let n = poll.voters.len();
    let nodes: BTreeSet<NodeId> = receipt.acks.iter().map(|ack| ack.node).collect();
    if nodes.len() < receipt.acks.len() {
        return Some("one replica is counted twice".into());
    }
    let is_replica = |node: &NodeId| poll.voters.iter().any(|voter| voter.node == *node);
    let is_stranger = |ack: &&Ack| match ack.stands_for {
        None => !is_replica(&ack.node),
        Some(replica) => !poll.sloppy || is_replica(&ack.node) || !is_replica(&replica),
    };
    if let Some(stranger) = receipt.acks.iter().find(is_stranger) {
        return Some(format!("{} is no replica, and no guest of one", stranger.node));
    }
    let guests: Vec<NodeId> = receipt.acks.iter().filter_map(|ack| ack.stands_for).collect();
    if guests.iter().collect::<BTreeSet<_>>().len() < guests.len() {
        return Some("two guests stand in for one replica".into());
    }
    if receipt.shard != shard || usize::from(receipt.replicas) != n {
        return Some(format!("the shard is {shard} with {n} replicas"));
    }
    let cast = cast(poll, receipt);
    (receipt.cast != cast).then(|| format!("the votes are {cast:?}, by {:?}", poll.voters))
}

/// The votes behind a receipt, where the table gives any.
fn cast(poll: &Poll<'_>, receipt: &Receipt) -> Option<Cast> {
    let spoken: BTreeSet<NodeId> = receipt.acks.iter().map(Ack::voter).collect();
    let (mut got, mut of) = (0, 0);
    for voter in poll.voters {
        let votes = u16::from(voter.votes);
        of += votes;
        got += if spoken.contains(&voter.node) { votes } else { 0 };
    }
    (!poll.table.voting.votes.is_empty()).then_some(Cast { got, of })
}

/// What is wrong with a receipt of what was done. The answer is worth `kind`.
pub(crate) fn lie(
    shard: ShardId,
    poll: &Poll<'_>,
    receipt: &Receipt,
    kind: Kind,
) -> Option<String> {
    if let Some(misfit) = misfit(shard, poll, receipt) {
        return Some(misfit);
    }
    let nodes = receipt.acks.len();
    if !(1..=nodes).contains(&usize::from(receipt.wanted)) {
        return Some(format!("{nodes} answered and {} were wanted", receipt.wanted));
    }
    if receipt.kind != kind {
        return Some(format!("it is {kind:?}, by {:?} of {:?}", poll.voters, poll.table));
    }
    None
}

/// For how many replicas somebody has answered. A guest beside its replica adds nothing.
pub(crate) fn spoken_for(receipt: &Receipt) -> u8 {
    let mut replicas: Vec<NodeId> =
        receipt.acks.iter().map(|ack| ack.stands_for.unwrap_or(ack.node)).collect();
    replicas.sort_unstable();
    replicas.dedup();
    u8::try_from(replicas.len()).unwrap_or(u8::MAX)
}
