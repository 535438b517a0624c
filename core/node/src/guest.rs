//! The node as a guest: it stands in for replicas that are away.
//!
//! In a sloppy keyspace a write whose replicas are away goes to nodes that keep no replica of
//! the shard, and each keeps it for one of them: a *hint*. Until it is handed over it is part
//! of what readers are shown who find the replica away as well.
//!
//! ```text
//! n2 is away:   n1 ── merge ──► n1, n3             n4 keeps a hint for n2
//!                 └── merge, stands_for n2 ──► n4
//! n2 is back:   n4 ── merge ──► n2 ── merged ──► n4 drops the hint       (handoff.rs)
//! ```
//!
//! Hints of one key are merged as a lattice, and no clock is asked: what was handed over and
//! dropped may come again, and has to be kept again. Old news is the replica's business.
//!
//! If no replica can be reached at all, the node that was asked mints the dot itself. Dots
//! are counted by shard and incarnation. In one life a node is either a replica of a shard or
//! none, so its count as a guest cannot meet its count as a replica.
//!
//! What a guest has said that it keeps it never drops before it was handed over. A hint for
//! which there is no room is refused, so that it is taken to somebody else; and a write that it
//! would have to accept itself is passed on to the other guests, see [`forward`](crate::forward).
//! What no guest has room for is lost to nobody: whoever has accepted the write has it in its log,
//! or keeps it for all replicas.

use causality::DotSet;
use coordinator::Guests;
use model::{Address, Failure, Need, NodeId, Now, Object, Refusal};
use replica::{Asked, Replica, StoreError, Stored};

use crate::contracts::Site;
use crate::room::{Area, NotKept, merged};
use crate::{After, Disk, Merge, Merged, Message, Node, Turn, Verdict};

impl Node {
    /// Who may stand in for which replica: those alive, first those of its region, and in the
    /// same order for all who see the same nodes alive. This node first if it has to keep the
    /// write in any case.
    pub(crate) fn guests(&self, site: &Site, is_guest: bool, now: Now) -> Guests {
        let all = self.contracts.guests(site.shard);
        if all.is_empty() {
            return Guests::default();
        }
        let is_alive = |node: &NodeId| self.membership.is_alive(*node, now);
        let alive: Vec<NodeId> = all.iter().copied().filter(is_alive).collect();
        let list = |replica: NodeId| {
            let region = self.config.layout.members.get(&replica).map(|member| &member.region);
            let is_far = |node: &NodeId| {
                let is_first = is_guest && *node == self.config.id;
                let there = self.config.layout.members.get(node).map(|member| &member.region);
                (!is_first, there != region)
            };
            let mut list = alive.clone();
            list.sort_by_key(is_far);
            (replica, list)
        };
        // Who was evicted takes nothing that is kept: what comes in its place is copied.
        let may_return = |replica: &&NodeId| !self.in_force().is_evicted(**replica);
        let replicas = site.replicas.iter().filter(may_return);
        Guests::new(replicas.map(|replica| list(*replica)).collect())
    }

    /// The replicas that are away and would have a guest.
    pub(crate) fn stood_in_for(&self, site: &Site, needs: &[&Need], now: Now) -> Vec<NodeId> {
        let mut guests = self.guests(site, false, now);
        let mut absent = self.away(site, needs, now);
        absent.retain(|node| guests.call(*node).is_some());
        absent
    }

    /// The replicas to give up at once, where guests may take their place. There may be fewer
    /// guests than that, so those come first whom the needs cannot do without.
    pub(crate) fn away(&self, site: &Site, needs: &[&Need], now: Now) -> Vec<NodeId> {
        if !self.contracts.is_sloppy(site.shard) {
            return Vec::new();
        }
        let is_alive = |node: NodeId| self.serves(node, now);
        let is_spare = |node: &NodeId| !needs.iter().any(|need| need.wants(*node, is_alive));
        let mut away = site.replicas.clone();
        away.retain(|node| !is_alive(*node));
        away.sort_by_key(is_spare);
        away
    }

    /// Keeps an object for a replica that is away.
    pub(crate) fn take_hint<D: Disk>(
        &mut self,
        from: NodeId,
        merge: Merge,
        replica: NodeId,
        turn: &mut Turn<'_, D>,
    ) {
        let Merge { request, address, object, sync, .. } = merge;
        let kept = match self.is_guest_for(&address, replica) {
            true => self.keep_hint(&[replica], &address, &object, None, turn),
            false => Err(NotKept::Unreadable),
        };
        let verdict = match kept {
            Ok(()) => {
                self.counts.hints_taken += 1;
                return self.acknowledge(request, from, sync, turn);
            }
            Err(NotKept::Full { .. }) => {
                self.counts.hints_refused += 1;
                Verdict::Full
            }
            Err(NotKept::Unreadable) => Verdict::Failed,
        };
        turn.send(from, Message::Merged(Merged { request, verdict }), After::Now);
    }

    /// Whether this node may stand in for that replica.
    fn is_guest_for(&self, address: &Address, replica: NodeId) -> bool {
        let shard = self.contracts.shard_of(address);
        shard.is_some_and(|shard| {
            !self.is_retired()
                && self.contracts.guests(shard).contains(&self.config.id)
                && self.contracts.replicas(shard).contains(&replica)
        })
    }

    /// Merges an object into what is kept for each of these replicas, or for none: since when, if
    /// it was kept before for another one.
    pub(crate) fn keep_hint<D: Disk>(
        &mut self,
        targets: &[NodeId],
        address: &Address,
        object: &Object,
        since_millis: Option<u64>,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), NotKept> {
        self.area(targets, turn).keep(address, object, since_millis)
    }

    fn area<'a, D: Disk>(
        &'a mut self,
        targets: &'a [NodeId],
        turn: &'a mut Turn<'_, D>,
    ) -> Area<'a, D> {
        let now_millis = self.wall_millis(turn.now);
        let bytes_max = self.config.limits.hint_bytes_max;
        let (disk, ledger) = (&mut *turn.disk, &mut self.hints);
        Area { disk, ledger, targets, bytes_max, now_millis, committed: None }
    }

    /// What is kept at a key for any of the replicas of its shard. Nothing if this node is no
    /// guest there.
    pub(crate) fn hinted<D: Disk>(
        &self,
        address: &Address,
        disk: &D,
    ) -> Option<Result<Object, StoreError>> {
        let shard = self.contracts.shard_of(address)?;
        let is_guest = self.contracts.guests(shard).contains(&self.config.id);
        is_guest.then(|| merged(disk, self.contracts.replicas(shard), address))
    }

    /// Makes a client's mutation an object here, and keeps it for all replicas. If there is no
    /// room for that, nothing was changed, and no dot was minted.
    pub(crate) fn mint_as_guest<D: Disk>(
        &mut self,
        site: &Site,
        address: &Address,
        asked: Asked,
        turn: &mut Turn<'_, D>,
    ) -> Result<Stored, Failure> {
        let limits = site.table.siblings.within(&self.config.limits);
        let (shard, incarnation) = (site.shard, self.config.incarnation);
        // It hears of nothing but what it mints: what it keeps it keeps for others. The number of
        // a dot counts when there is room for it.
        let minter = || Replica::new(shard, incarnation, DotSet::new());
        let mut replica = self.minters.get(&shard).cloned().unwrap_or_else(minter);
        let mut targets = site.replicas.clone();
        targets.retain(|replica| !self.in_force().is_evicted(*replica));
        let mut area = self.area(&targets, turn);
        let stored = replica.apply_marked(&mut area, address, asked, &limits);
        let stored = stored.map_err(crate::put::refusal)?;
        // What was known here, as what is kept for some of them, is now owed to all.
        let object = area.committed.take().unwrap_or_else(|| stored.object.clone());
        match area.keep(address, &object, None) {
            Ok(()) => {
                self.minters.insert(shard, replica);
                Ok(stored)
            }
            Err(NotKept::Full { needs }) => Err(self.full(needs).into()),
            Err(NotKept::Unreadable) => {
                Err(Refusal::Disk("what is kept for others cannot be read".into()).into())
            }
        }
    }

    fn full(&mut self, needs: u64) -> Refusal {
        self.counts.hints_refused += 1;
        let (kept, max) = (self.hints.bytes(), self.config.limits.hint_bytes_max);
        Refusal::HintsFull { nodes: vec![self.config.id], kept, needs, max }
    }
}
