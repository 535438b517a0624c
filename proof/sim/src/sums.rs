//! Replicas that find out by themselves that their disks have lost something, and what they may not do
//! until they are whole again.
//!
//! A disk keeps what each shard on it should come to, in the batch of each change. What it does come
//! to is added up here, from the disk itself. So it can be told of each shard, at any moment and
//! without asking the node, whether something is missing in it; and when the node must have noticed:
//!
//! ```text
//! lost while the node is down     as soon as it has read the shard after its next start
//! lost while it is up             when everything was scrubbed, which is waited for in quiet
//! lost nowhere                    never
//! ```
//!
//! In the end, when all replicas are there and nothing is lost any more, nobody is suspect.

use std::collections::BTreeSet;

use model::{NodeId, ShardId, Suspect};
use node::{Input, Message};

use crate::disk::Place;
use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::Look;
use crate::report::Broken;
use crate::trees::salt;
use crate::world::World;

/// What is known of shards whose disks have lost something.
#[derive(Default)]
pub(crate) struct Sums {
    /// Where a record was ever lost, turned old or could not be read.
    rotten: BTreeSet<(NodeId, ShardId)>,
    /// Those of them where that happened while the node was down, and that it has not read since.
    unread: BTreeSet<(NodeId, ShardId)>,
    /// Where an operator has taken a record away whose node was up.
    pub(crate) thrown_away: BTreeSet<(NodeId, ShardId)>,
    /// Who is suspect.
    suspects: BTreeSet<(NodeId, ShardId)>,
    /// Which life of a node was told last that which other one is suspect in a shard.
    told: BTreeSet<(NodeId, u64, ShardId, NodeId)>,
}

impl Sums {
    /// Whether any disk has lost a record of a shard.
    pub(crate) fn is_rotten(&self, shard: ShardId) -> bool {
        self.rotten.iter().any(|(_, of)| *of == shard)
    }
}

impl World {
    /// Whether a node that is up knows that its disk has lost something of a shard. One that is alone
    /// stays so, and forgets nothing.
    pub(crate) fn is_suspect(&self, at: NodeId, shard: ShardId) -> bool {
        let node = self.hosts.get(&at).and_then(|host| host.node.as_ref());
        node.is_some_and(|node| node.is_suspect(shard))
    }

    /// Something is wrong with a record, and nobody knows yet.
    pub(crate) fn note_rotten(&mut self, at: NodeId, place: &Place) {
        let is_up = self.host(at).is_up();
        self.sums.rotten.insert((at, place.0));
        if !is_up {
            self.sums.unread.insert((at, place.0));
        }
    }

    /// A node hears from another which of its shards are suspect.
    pub(crate) fn note_told(&mut self, at: NodeId, input: &Input) {
        let Input::Received { from, message } = input else { return };
        let life = self.host(at).life;
        if let Message::Alike(_) = message {
            // What it says is so here: whoever hears it and is suspect itself forgets nothing.
            self.sums.told.retain(|told| (told.0, told.3) != (at, *from));
        }
        let Message::Clocks(clocks) = message else { return };
        for sums in &clocks.shards {
            let told = (at, life, sums.shard, *from);
            if sums.is_suspect {
                self.sums.told.insert(told);
            } else if sums.tree.is_some() {
                self.sums.told.remove(&told);
            }
        }
    }

    /// Looks who has become suspect, and who should have.
    pub(crate) fn check_suspects(&mut self, at: NodeId) -> Result<(), Broken> {
        let Some(node) = self.hosts.get(&at).and_then(|host| host.node.as_ref()) else {
            return Ok(());
        };
        if self.oracle.look != Look::Everywhere {
            return Ok(());
        }
        let suspects: BTreeSet<ShardId> = node.suspect_shards().collect();
        if let Some(shard) = suspects.iter().find(|of| !self.sums.rotten.contains(&(at, **of))) {
            let detail = format!("{at} takes {shard} for suspect, and no record of it was lost");
            return Err(Broken::new(Invariant::SuspicionHasACause, detail));
        }
        let unread: Vec<ShardId> =
            self.sums.unread.iter().filter(|(of, _)| *of == at).map(|(_, shard)| *shard).collect();
        for shard in unread {
            let is_read = node.tree_sum(shard).is_some();
            if is_read && !suspects.contains(&shard) {
                self.hosts.get(&at).map_or(Ok(()), |host| check_noticed(host, shard))?;
            }
            if is_read {
                self.sums.unread.remove(&(at, shard));
            }
        }
        for shard in suspects.iter().map(|shard| (at, *shard)) {
            if self.sums.suspects.insert(shard) {
                *self.requests.entry(("shards", "suspect")).or_default() += 1;
            }
        }
        let before = self.sums.suspects.len();
        self.sums.suspects.retain(|(of, shard)| *of != at || suspects.contains(shard));
        let ended = before - self.sums.suspects.len();
        *self.requests.entry(("shards", "whole again")).or_default() += ended as u64;
        Ok(())
    }

    /// What a replica forgets it has not been told to be in doubt.
    pub(crate) fn check_unsuspected(&self, at: NodeId, shard: ShardId) -> Result<(), Broken> {
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        let from = (at, host.life, shard, NodeId::new(0));
        let to = (at, host.life, shard, NodeId::new(u16::MAX));
        // Whom nobody waits for, because it is given up or has another disk, keeps nobody from anything.
        let is_gone = |host: &Host| host.given_up.is_some() || host.replaced_at.is_some();
        let is_given_up = |node: &NodeId| self.hosts.get(node).is_some_and(is_gone);
        let mut told = self.sums.told.range(from..=to).filter(|(.., node)| !is_given_up(node));
        if let Some((.., node)) = told.next() {
            let detail = format!("{at} forgets something of {shard}, in which {node} is suspect");
            return Err(Broken::new(Invariant::SuspectsSettleNothing, detail));
        }
        // What it finds in the same step it may find after that.
        let suspects = host.node.as_ref().map(|node| node.suspects(host.clock.read(self.now)));
        let is_old = |suspect: &Suspect| suspect.shard == shard && !suspect.since.is_zero();
        if suspects.is_some_and(|suspects| suspects.iter().any(is_old)) {
            let detail = format!("{at} forgets something of {shard}, in which it is suspect");
            return Err(Broken::new(Invariant::SuspectsSettleNothing, detail));
        }
        Ok(())
    }

    /// Long after all faults everything that was lost was noticed, and nobody is suspect.
    pub(crate) fn check_sums(&self) -> Result<(), Broken> {
        for host in self.hosts.values() {
            let Some(node) = host.node.as_ref().filter(|node| node.takes_part()) else { continue };
            // Nobody repairs what has one replica: what is lost of that is lost.
            let is_alone = |shard| {
                let mut of_it = self.oracle.spots.iter().filter(|spot| spot.shard == shard);
                of_it.next().is_some_and(|spot| spot.replicas.len() == 1)
            };
            let suspects = node.suspects(host.clock.read(self.now));
            if let Some(suspect) = suspects.iter().find(|suspect| !is_alone(suspect.shard)) {
                let detail = format!("long after all faults {} has {suspect:?}", host.id);
                return Err(Broken::new(Invariant::SuspicionEnds, detail));
            }
            // Where nothing is scrubbed, what is taken away from a node that is up is missed at its next start.
            let may_know = |shard: &ShardId| {
                self.plan.scrubs || !self.sums.thrown_away.contains(&(host.id, *shard))
            };
            let shards = host.disk.view().sums.keys();
            let mut sound = shards.filter(|shard| !node.is_suspect(**shard) && may_know(shard));
            sound.try_for_each(|shard| check_noticed(host, *shard))?;
        }
        Ok(())
    }
}

/// A shard that nobody takes for suspect comes to what its disk says.
fn check_noticed(host: &Host, shard: ShardId) -> Result<(), Broken> {
    let view = host.disk.view();
    let Some(due) = view.sums.get(&shard).map(|sum| sum.total) else { return Ok(()) };
    let is_held =
        |(place, _): &(&Place, _)| place.0 == shard && !host.disk.damaged().contains(*place);
    let held = view.objects.iter().filter(is_held);
    let is = node::sum_of(salt(), held.map(|((_, address), object)| (address, object)));
    if is == due {
        return Ok(());
    }
    let detail = format!(
        "{shard} comes to {is:x} at {}, and should come to {due:x}: it has not noticed",
        host.id
    );
    Err(Broken::new(Invariant::LossesAreNoticed, detail))
}
