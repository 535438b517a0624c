//! Shards whose disk has lost something, as the node itself has found (R9).
//!
//! A record that is lost can have been evidence: that a value was superseded. A replica that has lost
//! such a record, and does not know it, takes the old value back from whoever brings it. So when what
//! was read does not come to [what it should](crate::trees::account), the shard is *suspect* until it
//! has heard what all the others have:
//!
//! ```text
//! n1  reads less than its disk says        suspect: counted, shown, and told with its clocks
//! n1 ◄─compare─► n2, n1 ◄─compare─► n3     at once; those in good standing first
//! n1  has all that they have               whole: its sum is what is there
//! ```
//!
//! It is suspect at once when a value comes that its clock has heard of, and nothing that it holds says
//! what became of it: the record is lost, and what is read need not be awaited.
//!
//! **What it may not do meanwhile.** What it has acknowledged does not count as settled, here or at
//! others, so that nobody forgets what only it may be about to lack. And what it brings as a repair is
//! not [put back](replica::Replica::repair) by those who have heard of it and do not hold it (R7): they
//! may know better. What nobody has heard of is taken from it as from anybody.
//!
//! **Where more than one is suspect** one of them may put back what another brings, as soon as it
//! was compared with all in good standing: these had nothing to say against it. Only the lesser of two
//! asks, since an answer makes both whole. Nobody is left out for being away: one who does not come
//! back keeps the others suspect, until it is evicted. Two suspects who wait for a third compare
//! themselves now and then, and take nothing from each other that they have heard of.
//!
//! **Alone.** A shard of which there is no other replica stays suspect until an operator has repaired
//! it: that there is nobody to ask is for him to know.
//!
//! A tree of which one leaf is found to differ may be wrong in others that were read long ago. The
//! shard is read anew then, before it is compared.

use antientropy::{KeyRange, Tree};
use model::{NodeId, Now, RepairMode, ShardId, StartRepair, Suspect};
use mutant::{Mutant, is};

use crate::exchange::acks::Trust;
use crate::message::Clocks;
use crate::trees::account::Finding;
use crate::trees::compare::Purpose;
use crate::{Disk, Node, Turn};

impl Node {
    /// Whether what a shard holds here is known not to be what its disk should hold.
    pub fn is_suspect(&self, shard: ShardId) -> bool {
        self.shards.get(&shard).is_some_and(|kept| kept.account.suspicion().is_some())
    }

    /// How often that was found of any shard.
    pub fn suspicions(&self) -> u64 {
        self.counts.suspicions
    }

    /// The same of all shards: those of which it is known.
    pub fn suspect_shards(&self) -> impl Iterator<Item = ShardId> {
        let suspect = self.shards.iter().filter(|(_, kept)| kept.account.suspicion().is_some());
        suspect.map(|(shard, _)| *shard)
    }

    /// The shards of this node that are suspect, in order, and what they wait for.
    pub fn suspects(&self, now: Now) -> Vec<Suspect> {
        let suspicions = self.shards.iter().filter_map(|(shard, kept)| {
            let suspicion = kept.account.suspicion()?;
            let others = self.awaited(*shard);
            let is_left = |node: &NodeId| !suspicion.compared.contains(node);
            let left: Vec<NodeId> = others.iter().copied().filter(is_left).collect();
            // Compared with all, it is read again.
            let waits_for = if left.is_empty() { others } else { left };
            Some(Suspect { shard: *shard, since: now.since(suspicion.since), waits_for })
        });
        suspicions.collect()
    }

    /// Whether what this node knows of a shard is all that its disk should hold, as far as that was
    /// read.
    pub(crate) fn is_sound(&self, shard: ShardId) -> bool {
        let sound = |kept: &crate::exchange::Kept| kept.tree.is_whole() && kept.account.is_sound();
        self.shards.get(&shard).is_some_and(sound)
    }

    /// Holds the tree of a shard, if it is whole, against what the disk should hold. A `fresh` one was
    /// read just before.
    pub(crate) fn look_at_sum<D: Disk>(
        &mut self,
        shard: ShardId,
        fresh: bool,
        turn: &mut Turn<'_, D>,
    ) {
        let Some(kept) = self.shards.get_mut(&shard) else { return };
        let Some(total) = kept.tree.total() else { return };
        let was_suspect = kept.account.suspicion().is_some();
        match kept.account.look(total.sum, turn.now) {
            Finding::Known if is(Mutant::SumNotInBatch) => {}
            Finding::Known => return,
            Finding::First => {}
            Finding::Found => self.exchange.hurry(),
            Finding::Lost => {
                self.counts.suspicions += u64::from(!was_suspect);
                if !fresh {
                    kept.tree = Tree::unread(self.config.salt.clone());
                }
                return self.exchange.hurry();
            }
        }
        if let Some(sum) = kept.account.told(&self.config.salt) {
            turn.disk.keep_sum(shard, sum);
        }
    }

    /// Shards to which something came that they have lost are suspect, and are read anew.
    fn note_missed(&mut self, now: Now) {
        for kept in self.shards.values_mut() {
            if kept.account.suspect(now) {
                self.counts.suspicions += 1;
                kept.tree = Tree::unread(self.config.salt.clone());
            }
        }
    }

    /// Goes on with making suspect shards whole: each is compared with one replica after the other.
    pub(crate) fn see_to_suspects<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        self.note_missed(turn.now);
        let due: Vec<ShardId> = self.suspect_shards().filter(|shard| self.keeps(*shard)).collect();
        for shard in due {
            let others = self.awaited(shard);
            let suspicion = self.shards.get(&shard).and_then(|kept| kept.account.suspicion());
            let Some(suspicion) = suspicion else { continue };
            let is_left = |node: &&NodeId| !suspicion.compared.contains(node);
            let left: Vec<NodeId> = others.iter().filter(is_left).copied().collect();
            let is_accepted = suspicion.is_accepted || !others.is_empty();
            if !left.is_empty() {
                self.compare_suspect(shard, left, turn);
            } else if is_accepted && !is(Mutant::SuspectForEver) {
                self.end_suspicion(shard, turn);
            }
        }
    }

    /// Compares a shard with the next that it has to be compared with, unless that is under way, or a
    /// repair does so.
    fn compare_suspect<D: Disk>(
        &mut self,
        shard: ShardId,
        mut left: Vec<NodeId>,
        turn: &mut Turn<'_, D>,
    ) {
        let is_repaired = self.trees.job.as_ref().is_some_and(|job| job.is_at_work_on(shard));
        let is_read = self.shards.get(&shard).is_some_and(|kept| kept.tree.is_whole());
        if !is_read || is_repaired {
            return;
        }
        let is_resting = |node: &NodeId| {
            self.trees.resting.get(&(shard, *node)).is_some_and(|until| turn.now < *until)
        };
        let trust = |node: &NodeId| self.exchange.acks.trust_in(shard, *node);
        // Of two suspects one asks. The other is whole when their sums are equal, or asks when the
        // first is whole.
        let is_our_turn = |node: &NodeId| match trust(node) {
            Trust::Sound => true,
            Trust::Unread => false,
            Trust::Suspect => self.config.id < *node,
        };
        left.retain(|node| self.serves(*node, turn.now) && !is_resting(node) && is_our_turn(node));
        left.sort_by_key(|node| (trust(node) == Trust::Suspect, *node));
        if let Some(with) = left.first() {
            self.begin_comparison((shard, *with), KeyRange::ALL, Purpose::Itself, turn);
        }
    }

    /// A shard was compared with another replica, and lacks nothing of what that one has.
    pub(crate) fn lacks_nothing_of(&mut self, shard: ShardId, with: NodeId) {
        let kept = self.shards.get_mut(&shard);
        if let Some(suspicion) = kept.and_then(|kept| kept.account.suspicion_mut()) {
            suspicion.compared.insert(with);
        }
    }

    fn end_suspicion<D: Disk>(&mut self, shard: ShardId, turn: &mut Turn<'_, D>) {
        let Some(kept) = self.shards.get_mut(&shard) else { return };
        let Some(total) = kept.tree.total() else { return };
        kept.account.settle(total.sum);
        if let Some(sum) = kept.account.told(&self.config.salt) {
            turn.disk.keep_sum(shard, sum);
        }
        self.exchange.hurry();
    }

    /// An operator repairs all of some shards: what is there of those that nobody else has is all
    /// there is.
    pub(crate) fn accept_losses(&mut self, asked: &StartRepair) {
        if asked.mode != RepairMode::Full {
            return;
        }
        let keyspaces = &self.in_force().keyspaces;
        let is_meant = |shard: &ShardId| {
            asked.of.as_ref().is_none_or(|extent| {
                let keyspace = keyspaces.get(&extent.keyspace).map(|keyspace| keyspace.id);
                let is_whole = extent.table.is_none() && keyspace == Some(shard.keyspace);
                is_whole && (extent.shards.is_empty() || extent.shards.contains(&shard.index))
            })
        };
        let is_alone = |shard: &ShardId| self.awaited(*shard).is_empty();
        let all = self.shards.keys().copied();
        let meant: Vec<ShardId> = all.filter(|shard| is_meant(shard) && is_alone(shard)).collect();
        for shard in meant {
            let kept = self.shards.get_mut(&shard);
            if let Some(suspicion) = kept.and_then(|kept| kept.account.suspicion_mut()) {
                suspicion.is_accepted = true;
            }
        }
    }

    /// A node says which of its shards are suspect. That is believed of anybody.
    pub(crate) fn hear_suspects(&mut self, from: NodeId, clocks: &Clocks) {
        let suspects = clocks.shards.iter().filter(|sums| sums.is_suspect).map(|sums| sums.shard);
        for shard in suspects {
            let replicas = self.contracts.replicas(shard);
            if replicas.contains(&from) && replicas.contains(&self.config.id) {
                self.exchange.acks.stands(from, shard, true, false);
            }
        }
    }

    /// Whether a value may be put back here that a node brings, or a read has found somewhere: this
    /// shard has heard of it, and holds nothing against it.
    pub(crate) fn may_put_back(&self, shard: ShardId, from: Option<NodeId>) -> bool {
        let is_suspect =
            |node: &NodeId| self.exchange.acks.trust_in(shard, *node) == Trust::Suspect;
        let others = self.awaited(shard);
        let is_in_doubt = match from {
            Some(from) => is_suspect(&from),
            None => others.iter().any(is_suspect),
        };
        // A disk that is being filled was never evidence of anything.
        if !is_in_doubt || !self.takes_part() {
            return true;
        }
        let suspicion = self.shards.get(&shard).and_then(|kept| kept.account.suspicion());
        suspicion.is_some_and(|suspicion| {
            let mut sound = others.iter().filter(|node| !is_suspect(node));
            sound.all(|node| suspicion.compared.contains(node))
        })
    }
}
