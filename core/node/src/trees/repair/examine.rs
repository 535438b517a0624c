//! Reading again what a disk holds, so that a tree says what is so, and not what was.
//!
//! A scrub does the same, over a day. A repair does not wait for it: it reads the leaves of the
//! range that it is about, some in one step, here and, as it is asked to in an [`Examine`], at the
//! other replica. That one keeps nothing in mind: who asks says where to go on, and sets the pace.

use antientropy::{KeyRange, Verdict};
use model::{NodeId, ShardId};
use replica::StoreError;

use crate::message::{Examine, Examined, Leaves};
use crate::trees::{OBJECTS_MAX, OBJECTS_MAX_BUSY, Place, Stored};
use crate::{After, Disk, Message, Node, Turn};

impl Node {
    /// Reads the first leaves of a range, and makes the tree say what is there. Nothing is said
    /// while the tree is made anew: it is read by that.
    pub(super) fn read_leaves<D: Disk>(
        &mut self,
        shard: ShardId,
        range: &KeyRange<Place>,
        is_busy: bool,
        turn: &mut Turn<'_, D>,
    ) -> Result<Option<Leaves>, StoreError> {
        let tables = self.tables_of(shard);
        if !self.kept(shard).tree.is_whole() {
            self.begin_tending(turn.now);
            return Ok(None);
        }
        let Some(kept) = self.shards.get_mut(&shard) else { return Ok(None) };
        let objects_max = if is_busy { OBJECTS_MAX_BUSY } else { OBJECTS_MAX };
        let objects_max = kept.scrub.in_one_step(objects_max);
        let stored = Stored::new(&*turn.disk, shard, &tables);
        let mut leaves = Leaves { next: range.from.clone(), ..Leaves::default() };
        let (mut objects, mut is_first) = (0, true);
        while (is_first || leaves.next.is_some()) && objects < objects_max {
            let leaf = kept.tree.scrub(leaves.next.as_ref(), &stored);
            self.counts.records_unreadable += stored.unreadable.take();
            let Some(check) = leaf? else { return Ok(None) };
            self.counts.leaves_scrubbed += 1;
            self.counts.leaves_damaged += u64::from(check.verdict != Verdict::Sound);
            let (read, bytes) = stored.read.take();
            objects += read.max(1);
            leaves.keys += read as u64;
            leaves.bytes += bytes as u64;
            let is_within = |next: &Place| range.to.as_ref().is_none_or(|to| next < to);
            leaves.next = check.leaf.to.filter(is_within);
            is_first = false;
        }
        Ok(Some(leaves))
    }

    /// Another replica is about to compare, and wants the tree here to say what the disk holds.
    pub(crate) fn examine<D: Disk>(
        &mut self,
        from: NodeId,
        examine: &Examine,
        turn: &mut Turn<'_, D>,
    ) {
        let Examine { request, shard, range } = examine;
        if !self.is_shared(*shard, from) {
            return;
        }
        let is_busy = self.exchange.is_busy_with(from);
        let leaves = self.read_leaves(*shard, range, is_busy, turn).unwrap_or_else(|_| {
            self.counts.failed_scrubs += 1;
            None
        });
        let examined = Examined { request: *request, leaves };
        turn.send(from, Message::Examined(examined), After::Now);
    }
}
