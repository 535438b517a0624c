//! The node as a replica: what it holds, and what it tells of it.

use std::time::Duration;

use lattice::Change;
use model::{Address, NodeId, Now, Object, ShardId, TableId};
use mutant::{Mutant, is};
use replica::{Repaired, Replica, StoreError};
use xxhash_rust::xxh3::Xxh3;

use crate::exchange::Kept;
use crate::exchange::throttle;
use crate::trees::Watched;
use crate::{
    After, Cause, Config, Digest, Disk, Fetch, Fetched, Found, Merge, Merged, Message, Node,
    RequestId, Scan, Scanned, Turn, Verdict, Want,
};

/// What an object comes to: its values are named by their dots, so the dots are enough.
pub(crate) fn digest(object: &Object) -> Digest {
    let mut hash = Xxh3::new();
    for dot in object.values().keys() {
        hash.update(&dot.incarnation.bits().to_le_bytes());
        hash.update(&dot.seq.to_le_bytes());
    }
    hash.update(&[0]);
    for run in object.context().runs() {
        hash.update(&run.incarnation.bits().to_le_bytes());
        hash.update(&run.first.to_le_bytes());
        hash.update(&run.last.to_le_bytes());
    }
    Digest(hash.digest())
}

/// In whole milliseconds, and no less than it is.
fn in_millis(time: Duration) -> Duration {
    let millis = time.as_micros().div_ceil(1_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Says that a write is not in, if somebody waits to hear.
pub(crate) fn not_merged<D: Disk>(to: NodeId, request: RequestId, turn: &mut Turn<'_, D>) {
    if request != RequestId::NOBODY {
        let merged = Merged { request, verdict: Verdict::Failed };
        turn.send(to, Message::Merged(merged), After::Now);
    }
}

impl Node {
    /// A shard that this node keeps.
    pub(crate) fn kept(&mut self, shard: ShardId) -> &mut Kept {
        let (recovered, forgotten, sums) =
            (&mut self.recovered, &mut self.forgotten, &mut self.sums);
        let Config { incarnation, ref salt, limits, .. } = self.config;
        self.shards.entry(shard).or_insert_with(|| {
            let clock = recovered.remove(&shard).unwrap_or_default();
            let forgotten = forgotten.remove(&shard).unwrap_or_default();
            let replica = Replica::new(shard, incarnation, clock).with_forgotten(forgotten);
            Kept::new(replica, salt.clone(), limits.context_runs_max, sums.remove(&shard))
        })
    }

    pub(crate) fn merge<D: Disk>(&mut self, from: NodeId, merge: Merge, turn: &mut Turn<'_, D>) {
        if let Some(replica) = merge.stands_for {
            return self.take_hint(from, merge, replica, turn);
        }
        self.exchange.served += u64::from(merge.cause == Cause::Write);
        if merge.cause == Cause::Exchange {
            self.exchange.pulls.arrive(from, throttle::weight(&merge.object));
        }
        let Some(shard) = self.shard_to_merge(from, &merge) else {
            return not_merged(from, merge.request, turn);
        };
        if merge.cause == Cause::Repair && !is(Mutant::ComparedIsNews) {
            return self.take_repair(from, merge, shard, turn);
        }
        let Merge { request, address, object, sync, cause, .. } = merge;
        let merged = match cause {
            Cause::ReadRepair => {
                self.mend(shard, &address, object, None, turn).map(|repaired| repaired.change)
            }
            Cause::Repair | Cause::Write | Cause::Exchange | Cause::Handoff => {
                let merge = |replica: &mut Replica, disk: &mut Watched<'_, D>| {
                    replica.merge(disk, &address, object)
                };
                self.kept(shard).change(turn.disk, merge)
            }
        };
        match merged {
            // What is known already may still be on its way to the disk, so even that
            // acknowledgement waits.
            Ok(Change::Grew | Change::Unchanged) => {
                self.acknowledge(request, from, sync, turn);
            }
            Err(_) => not_merged(from, request, turn),
        }
    }

    /// The shard that a merge is for, if it may be taken in. While a disk is being made whole,
    /// nothing may that this node has not asked for.
    fn shard_to_merge(&self, from: NodeId, merge: &Merge) -> Option<ShardId> {
        let shard = self.contracts.shard_of(&merge.address)?;
        let Merge { request, address, cause, .. } = merge;
        let is_awaited = || *cause == Cause::Repair && self.awaits(from, *request, address);
        (self.keeps(shard) || self.is_placed_here(shard) && is_awaited()).then_some(shard)
    }

    /// Merges what a read or a comparison has found, and counts what this disk had lost. What comes
    /// from a replica that is suspect, or may do so, is news or is left out.
    pub(crate) fn mend<D: Disk>(
        &mut self,
        shard: ShardId,
        address: &Address,
        object: Object,
        from: Option<NodeId>,
        turn: &mut Turn<'_, D>,
    ) -> Result<Repaired, StoreError> {
        if !self.may_put_back(shard, from) {
            return self.take_news(shard, address, object, turn);
        }
        let repaired = self
            .kept(shard)
            .change(turn.disk, |replica, disk| replica.repair(disk, address, object))?;
        self.counts.lost_writes_restored += repaired.lost;
        if repaired.lost != 0 {
            // The tree may still count what was lost.
            self.hurry_scrub(shard, turn.now);
        }
        Ok(repaired)
    }

    /// Takes of a repair what was not heard of here, and no more. Whoever brought it is told what is
    /// held. What was heard of, and nothing here speaks of, is not put back either, but this disk has lost it,
    /// or what had superseded it: the shard is suspect then, and hears what the others say.
    fn take_news<D: Disk>(
        &mut self,
        shard: ShardId,
        address: &Address,
        object: Object,
        turn: &mut Turn<'_, D>,
    ) -> Result<Repaired, StoreError> {
        let kept = self.kept(shard);
        let forgotten = object.context().intersection(kept.replica.forgotten());
        let is_news = !kept.replica.clock().is_superset(object.context());
        let merged = kept.change(turn.disk, |replica, disk| match is_news {
            true => replica.merge(disk, address, object),
            false => replica.witness(disk, address, &object).map(|()| Change::Unchanged),
        });
        if matches!(merged, Err(StoreError::Corrupt(_))) {
            self.hurry_scrub(shard, turn.now);
        }
        Ok(Repaired { change: merged?, lost: 0, is_ahead: true, forgotten })
    }

    /// Says that a write is in, once it is as durable as is asked for.
    pub(crate) fn acknowledge<D: Disk>(
        &mut self,
        request: RequestId,
        to: NodeId,
        sync: bool,
        turn: &mut Turn<'_, D>,
    ) {
        if request == RequestId::NOBODY {
            return;
        }
        let (verdict, after) = match sync {
            true if is(Mutant::AckBeforeCommit) => (Verdict::Durable, After::Now),
            true => (Verdict::Durable, After::Synced),
            false => (Verdict::Buffered, After::Committed),
        };
        turn.send(to, Message::Merged(Merged { request, verdict }), after);
    }

    pub(crate) fn fetch<D: Disk>(&mut self, from: NodeId, fetch: &Fetch, turn: &mut Turn<'_, D>) {
        self.exchange.served += 1;
        let found = self.look_up(fetch, turn);
        self.look_for_old(fetch, &found, turn);
        let (durable, after) = match fetch.sync {
            true if is(Mutant::RecallNotSynced) => (true, After::Now),
            true => (true, After::Synced),
            false => (false, After::Now),
        };
        let staleness = self.staleness_told(&fetch.address, turn.now);
        let known = fetch.seen.as_ref().map(|seen| Box::new(self.known_of(seen, fetch, &found)));
        let shard = self.shard_here(fetch.address.table, fetch.address.key.partition());
        let forgets = shard.is_some_and(|shard| self.forgets(shard));
        let request = fetch.request;
        let fetched = Fetched { request, found, durable, staleness, known, forgets };
        turn.send(from, Message::Fetched(fetched), after);
    }

    /// A record that is readable and not shown is older than what is forgotten. Its shard is read
    /// again at once, by which others are told that it differs.
    fn look_for_old<D: Disk>(&mut self, fetch: &Fetch, found: &Found, turn: &Turn<'_, D>) {
        let Fetch { address, .. } = fetch;
        let shard = self.shard_here(address.table, address.key.partition());
        if let (Found::Failed, Some(shard)) = (found, shard)
            && turn.disk.object(shard, address).is_ok()
        {
            self.hurry_scrub(shard, turn.now);
        }
    }

    fn look_up<D: Disk>(&self, fetch: &Fetch, turn: &Turn<'_, D>) -> Found {
        let address = &fetch.address;
        let held = match self.shard_here(address.table, address.key.partition()) {
            Some(shard) => self.shown(shard, &*turn.disk).object(address),
            None => match self.hinted(address, turn.disk) {
                Some(hinted) => hinted,
                None => return Found::Failed,
            },
        };
        match (held, fetch.want) {
            (Err(_), _) => Found::Failed,
            (Ok(object), Want::Full) => Found::Full(object),
            (Ok(object), Want::Digest) => Found::Digest(digest(&object)),
        }
    }

    pub(crate) fn scan<D: Disk>(&mut self, from: NodeId, scan: &Scan, turn: &mut Turn<'_, D>) {
        let keyspace = self.contracts.keyspace_of(scan.table).map(|keyspace| keyspace.id);
        let shard = keyspace.map(|keyspace| ShardId { keyspace, index: scan.shard });
        let here = shard.filter(|shard| self.keeps(*shard));
        let shown = here.map(|shard| self.shown(shard, &*turn.disk));
        let page = shown.and_then(|shown| shown.scan(scan.table, &scan.span, scan.need).ok());
        // A list is whole or none.
        let page = page.filter(|page| page.unreadable.is_empty());
        let page = page.map(|page| (page.objects, page.more));
        let staleness = here.and_then(|shard| self.known_staleness(shard, turn.now));
        let forgets = here.is_some_and(|shard| self.forgets(shard));
        let scanned = Scanned { request: scan.request, page, staleness, forgets };
        turn.send(from, Message::Scanned(scanned), After::Now);
    }

    /// How old what is read of a key here can be. A guest does not know.
    fn staleness_told(&self, address: &Address, now: Now) -> Option<Duration> {
        let shard = self.shard_here(address.table, address.key.partition())?;
        self.known_staleness(shard, now)
    }

    /// As a message says it, in whole milliseconds. What guests alone have acknowledged no
    /// replica has heard of, so where there are guests nothing is known.
    fn known_staleness(&self, shard: ShardId, now: Now) -> Option<Duration> {
        if self.contracts.is_sloppy(shard) && !is(Mutant::SloppyIsFresh) {
            return None;
        }
        Some(in_millis(self.staleness(shard, now)?))
    }

    /// The shard of a key, if this node knows the table and keeps the shard.
    fn shard_here(&self, table: TableId, partition: &[u8]) -> Option<ShardId> {
        let keyspace = self.contracts.keyspace_of(table)?;
        let shard = placement::shard_of(keyspace, partition);
        self.keeps(shard).then_some(shard)
    }
}
