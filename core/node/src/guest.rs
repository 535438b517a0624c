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
//! which there is no room is refused, so that it is taken to somebody else.

use causality::{DotSet, Run};
use coordinator::Guests;
use lattice::{Change, Lattice};
use model::{Address, Failure, Limits, Mutation, Need, NodeId, Now, Object, ShardId, TableId};
use mutant::{Mutant, is};
use replica::{Asked, Entry, Page, PageNeed, Replica, Span, Store, StoreError, Stored};

use crate::contracts::Site;
use crate::hints::{Hint, HintPlace, Ledger};
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
        Guests::new(site.replicas.iter().map(|replica| list(*replica)).collect())
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
        let is_alive = |node: NodeId| self.membership.is_alive(node, now);
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
        let is_welcome = self.is_guest_for(&address, replica);
        if is_welcome && self.keep_hint(&HintPlace { target: replica, address }, object, turn) {
            self.counts.hints_taken += 1;
            return self.acknowledge(request, from, sync, turn);
        }
        self.counts.hints_refused += 1;
        let merged = Merged { request, verdict: Verdict::Failed };
        turn.send(from, Message::Merged(merged), After::Now);
    }

    /// Whether this node may stand in for that replica.
    fn is_guest_for(&self, address: &Address, replica: NodeId) -> bool {
        let shard = self.contracts.shard_of(address);
        shard.is_some_and(|shard| {
            self.contracts.guests(shard).contains(&self.config.id)
                && self.contracts.replicas(shard).contains(&replica)
        })
    }

    /// Merges an object into what is kept for a replica. Returns whether it is kept.
    pub(crate) fn keep_hint<D: Disk>(
        &mut self,
        place: &HintPlace,
        object: Object,
        turn: &mut Turn<'_, D>,
    ) -> bool {
        let now_millis = self.wall_millis(turn.now);
        let mut area = Area {
            disk: turn.disk,
            ledger: &mut self.hints,
            targets: &[],
            bytes_max: self.config.limits.hint_bytes_max,
            now_millis,
            is_kept: true,
        };
        area.keep(place, object).is_ok()
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

    /// Makes a client's mutation an object here, and keeps it for all replicas.
    pub(crate) fn mint_as_guest<D: Disk>(
        &mut self,
        site: &Site,
        address: &Address,
        asked: Asked,
        turn: &mut Turn<'_, D>,
    ) -> Result<Stored, Failure> {
        let limits = self.config.limits;
        if !self.has_room(&asked.mutation, site, &limits) {
            return Err(Failure::NotAttempted {
                wanted: 1,
                alive: 0,
                replicas: site.n,
                lacks: "room for what is kept for replicas that are away".into(),
            });
        }
        let now_millis = self.wall_millis(turn.now);
        let (shard, incarnation) = (site.shard, self.config.incarnation);
        // It hears of nothing but what it mints: what it keeps it keeps for others.
        let minter = || Replica::new(shard, incarnation, DotSet::new());
        let replica = self.minters.entry(shard).or_insert_with(minter);
        let mut area = Area {
            disk: turn.disk,
            ledger: &mut self.hints,
            targets: &site.replicas,
            bytes_max: u64::MAX,
            now_millis,
            is_kept: true,
        };
        let stored = replica.apply_marked(&mut area, address, asked, &limits);
        let stored = stored.map_err(crate::put::refusal)?;
        if stored.repeated {
            // It is known here as what is kept for some of them. Now it is owed to all.
            area.keep_for_all(address, &stored.object);
        }
        match area.is_kept {
            true => Ok(stored),
            // Some of it may be kept.
            false => Err(Failure::Unknown {
                wanted: 1,
                got: 0,
                receipt: None,
                lacks: "what is kept for others cannot be read".into(),
            }),
        }
    }

    /// Whether a write can be kept for all replicas of a shard.
    fn has_room(&self, mutation: &Mutation, site: &Site, limits: &Limits) -> bool {
        let bytes = match mutation {
            Mutation::Store(value) => value.body.len() as u64,
            Mutation::Delete => 0,
        };
        self.hints.bytes() + bytes * u64::from(site.n) <= limits.hint_bytes_max
    }
}

/// All that is kept at a key for these.
fn merged<D: Disk>(disk: &D, targets: &[NodeId], address: &Address) -> Result<Object, StoreError> {
    let mut merged = Object::default();
    for target in targets {
        let place = HintPlace { target: *target, address: address.clone() };
        if let Some(hint) = disk.hint(&place)? {
            let _ = merged.merge(hint.object);
        }
    }
    Ok(merged)
}

/// There is no room for a hint, or what is kept already cannot be read.
struct NotKept;

/// The hints of this node as a replica without a clock: what is committed is kept for each of
/// the targets.
struct Area<'a, D> {
    disk: &'a mut D,
    ledger: &'a mut Ledger,
    targets: &'a [NodeId],
    bytes_max: u64,
    now_millis: u64,
    /// Whether all was kept that was committed.
    is_kept: bool,
}

impl<D: Disk> Area<'_, D> {
    fn keep(&mut self, place: &HintPlace, object: Object) -> Result<(), NotKept> {
        if is(Mutant::HintNotKept) {
            return Ok(());
        }
        let before = self.disk.hint(place).map_err(|_| NotKept)?;
        let mut hint = match &before {
            Some(before) if !is(Mutant::HintReplaced) => before.clone(),
            Some(_) | None => Hint { since_millis: self.now_millis, object: Object::default() },
        };
        if hint.object.merge(object) == Change::Unchanged {
            return Ok(());
        }
        let more = hint.bytes(&place.address);
        let less = before.as_ref().map_or(0, |before| before.bytes(&place.address));
        if self.bytes_max < (self.ledger.bytes() + more).saturating_sub(less) {
            return Err(NotKept);
        }
        self.ledger.change(place, before.as_ref(), Some(&hint));
        self.disk.keep_hint(place, Some(&hint));
        Ok(())
    }

    fn keep_for_all(&mut self, address: &Address, object: &Object) {
        for target in self.targets {
            let place = HintPlace { target: *target, address: address.clone() };
            self.is_kept &= self.keep(&place, object.clone()).is_ok();
        }
    }
}

impl<D: Disk> Store for Area<'_, D> {
    fn object(&self, _: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        merged(self.disk, self.targets, address).map(Some)
    }

    fn scan(&self, _: ShardId, _: TableId, _: &Span, _: PageNeed) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    fn log(&self, _: ShardId, _: Run, _: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(Vec::new())
    }

    fn forget(&mut self, _: ShardId, _: &[Run]) {}

    fn commit(&mut self, change: replica::Change) {
        self.keep_for_all(&change.address, &change.object);
    }
}
