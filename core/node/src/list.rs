//! Ordered reads: the keys under one partition key, or all keys of a table.
//!
//! A table is read shard by shard, and a shard page by page, until the client has as many
//! keys as it asked for. Tombstones are read over, which can take many pages for few
//! keys; a client whose time runs out gets what was found, and where to go on.

use std::collections::BTreeSet;
use std::time::Duration;

use coordinator::{List, ListEffect, ListEvent, Page};
use model::{
    Address, Failure, Key, Keyspace, Listed, Listing, Object, Range, ReadNeed, ReadOptions, Reply,
    ShardId,
};
use replica::{PageNeed, Span};

use crate::contracts::Site;
use crate::doubt::{Doubts, Of, doubt};
use crate::flight::{Client, Flight, Work};
use crate::levels::acks_of;
use crate::message::time_left;
use crate::{After, Disk, Message, Node, NodeId, RequestId, Scan, Scanned, Turn};

/// The most bytes that one replica sends at once. A page has to fit into a message and
/// must not keep others waiting on the connection.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The fewest keys that one replica looks at for one page, if the limit allows it: a short
/// page may be all tombstones.
const PAGE_OBJECTS_MIN: usize = 16;

/// An ordered read, until its client is answered.
#[derive(Debug)]
pub(crate) struct Lister {
    /// The page in flight.
    list: Option<List<Key, Object>>,
    keyspace: Keyspace,
    site: Site,
    span: Span,
    options: ReadOptions,
    /// Whom a page of the shard waits for.
    need: ReadNeed,
    limit: usize,
    /// The most keys that a replica looks at for one page.
    page_max: usize,
    found: Vec<Listing>,
    bytes: usize,
    /// How old the page in flight can be, by who has answered.
    told: Vec<(NodeId, Option<Duration>)>,
    /// How old what was found can be. Nothing if that is not known of a page.
    staleness: Option<Duration>,
    /// Those who said that they have forgotten something in the shard of the page.
    forgetful: BTreeSet<NodeId>,
    doubts: Doubts,
}

impl Node {
    /// Begins with the first page.
    pub(crate) fn list<D: Disk>(
        &mut self,
        client: Client,
        asked: model::List,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let (keyspace, table) = self.in_force().table(&asked.keyspace, &asked.table)?;
        let keyspace = keyspace.clone();
        let (shard, span) = match asked.range {
            Range::Partition { partition, after } => {
                let shard = placement::shard_of(&keyspace, &partition);
                let after = match after {
                    Some(sort) => Some(Key::new(partition.clone(), sort).map_err(refused)?),
                    None => None,
                };
                (shard, Span { partition: Some(partition), after })
            }
            Range::Table { shard, after } => {
                (ShardId { keyspace: keyspace.id, index: shard }, Span { partition: None, after })
            }
        };
        let site = self.site(&keyspace, table, shard);
        let options = asked.options;
        let need = self.list_need(&site, options, turn.now)?;
        let deadline = turn.now + asked.timeout;
        let limit = asked.limit.max(1);
        let found = Vec::new();
        let page_max = self.config.limits.page_objects_max;
        let lister = Lister {
            list: None,
            keyspace,
            site,
            span,
            options,
            need,
            limit,
            page_max,
            found,
            bytes: 0,
            told: Vec::new(),
            staleness: Some(Duration::ZERO),
            forgetful: BTreeSet::new(),
            doubts: Doubts::new(),
        };
        let work = Work::List(lister);
        let flight = Flight { client, begun: turn.now, deadline, timer: deadline, work };
        self.next_page(flight, turn);
        Ok(())
    }

    /// Asks for the page that begins where the lister stands. It gets a request of its
    /// own, so that late answers to the one before cannot be taken for answers to it.
    fn next_page<D: Disk>(&mut self, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let id = self.new_request();
        flight.begun = turn.now;
        let Work::List(lister) = &mut flight.work else { return };
        let order = self.in_order(&lister.site, turn.now);
        lister.told.clear();
        lister.forgetful.clear();
        let mut effects = Vec::new();
        lister.list = Some(List::start(&order, lister.need.primaries.clone(), &mut effects));
        let left = time_left(flight.deadline, turn.now);
        for effect in effects {
            if let ListEffect::Scan(to) = effect {
                turn.send(to, lister.scan(id, left), After::Now);
            }
        }
        self.keep(id, turn.now, flight);
    }

    pub(crate) fn scanned<D: Disk>(
        &mut self,
        from: NodeId,
        scanned: Scanned,
        turn: &mut Turn<'_, D>,
    ) {
        let Some(Flight { work: Work::List(_), .. }) = self.flights.get(&scanned.request) else {
            return;
        };
        let Some(mut flight) = self.take(scanned.request) else { return };
        if let Work::List(lister) = &mut flight.work {
            lister.told.push((from, scanned.staleness));
            if scanned.forgets {
                lister.forgetful.insert(from);
            }
        }
        self.count_list(from, turn.now.since(flight.begun));
        let event = match scanned.page {
            Some((objects, more)) => ListEvent::Scanned(from, Page { objects, more }),
            None => ListEvent::Failed(from),
        };
        self.list_event(scanned.request, flight, event, turn);
    }

    pub(crate) fn list_event<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        event: ListEvent<Key, Object>,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::List(lister) = &mut flight.work else { return };
        let mut effects = Vec::new();
        if let Some(list) = &mut lister.list {
            list.step(event, &mut effects);
        }
        let left = time_left(flight.deadline, turn.now);
        for effect in effects {
            match effect {
                ListEffect::Scan(to) => turn.send(to, lister.scan(id, left), After::Now),
                ListEffect::Merge(to, key, object) => {
                    let address = Address { table: lister.site.table.id, key };
                    if lister.forgetful.contains(&to) {
                        let at = (to, lister.site.shard);
                        doubt(&mut lister.doubts, at, &address, &object);
                    }
                    self.repair(id, (to, false), &lister.site, address, object, turn);
                }
                ListEffect::Met(page, nodes) => return self.page(flight, page, &nodes, turn),
                ListEffect::Unmet(nodes) => return self.list_ends_early(flight, &nodes, turn),
            }
        }
        self.keep_until(id, flight);
    }

    /// Takes in one page, and answers or goes on.
    fn page<D: Disk>(
        &mut self,
        mut flight: Flight,
        page: Page<Key, Object>,
        nodes: &[NodeId],
        turn: &mut Turn<'_, D>,
    ) {
        let Work::List(lister) = &mut flight.work else { return };
        let staleness = self.page_staleness(lister, nodes);
        lister.staleness = lister.staleness.zip(staleness).map(|(a, b)| a.max(b));
        let next = lister.take(page);
        let is_full = lister.limit <= lister.found.len() || PAGE_BYTES_MAX <= lister.bytes;
        match next {
            Some(range) if !is_full && turn.now < flight.deadline => {
                lister.move_to(range);
                let (shard, table) = (lister.site.shard, lister.site.table.clone());
                lister.site = self.site(&lister.keyspace, &table, shard);
                match lister.site.electorate().read(lister.options, &self.here) {
                    Ok(need) => lister.need.primaries = need.whole(),
                    Err(refusal) => return self.fail(flight.client, refusal.into(), turn),
                }
                self.next_page(flight, turn);
            }
            next => {
                let mut receipt = lister.site.read_receipt(acks_of(nodes), &lister.need);
                receipt.staleness = lister.staleness;
                let listings = std::mem::take(&mut lister.found);
                let reply = Reply::Listed(Listed { listings, next, receipt });
                self.answer_list(flight, reply, turn);
            }
        }
    }

    /// How old a page can be that these have answered: as for a single key.
    fn page_staleness(&self, lister: &Lister, nodes: &[NodeId]) -> Option<Duration> {
        let told = lister.told.iter().filter(|(node, _)| nodes.contains(node));
        let told = told.filter_map(|(_, staleness)| *staleness);
        self.best_staleness(&lister.site, |node| nodes.contains(&node), told)
    }

    /// Too few replicas answered. What was found before is an answer all the same, as
    /// long as the client learns where to go on.
    fn list_ends_early<D: Disk>(
        &mut self,
        mut flight: Flight,
        nodes: &[NodeId],
        turn: &mut Turn<'_, D>,
    ) {
        let Work::List(lister) = &mut flight.work else { return };
        if lister.found.is_empty() {
            let failure = lister.site.read_failure(acks_of(nodes), &lister.need);
            return self.fail(flight.client, failure, turn);
        }
        let mut receipt = lister.site.read_receipt(acks_of(nodes), &lister.need);
        receipt.staleness = lister.staleness;
        let next = Some(lister.here());
        let listings = std::mem::take(&mut lister.found);
        let reply = Reply::Listed(Listed { listings, next, receipt });
        self.answer_list(flight, reply, turn);
    }

    fn answer_list<D: Disk>(&mut self, flight: Flight, reply: Reply, turn: &mut Turn<'_, D>) {
        let Flight { client, begun, deadline, work: Work::List(lister), .. } = flight else {
            return;
        };
        let failure = lister.site.read_failure(Vec::new(), &lister.need);
        let (to, fallback) = ((client, begun, deadline), Reply::Failed(failure));
        self.answer_undoubted(to, (reply, fallback), lister.doubts, Of::Keys, turn);
    }
}

fn refused(malformed: model::Malformed) -> Failure {
    Failure::Refused(malformed.into())
}

impl Lister {
    fn scan(&self, request: RequestId, left: Duration) -> Message {
        let objects_max = (self.limit - self.found.len()).max(PAGE_OBJECTS_MIN).min(self.page_max);
        Message::Scan(Scan {
            request,
            table: self.site.table.id,
            shard: self.site.shard.index,
            span: self.span.clone(),
            need: PageNeed { objects_max, bytes_max: PAGE_BYTES_MAX },
            left,
        })
    }

    /// Keeps what has a value, up to the limit, and tells where the next page begins.
    fn take(&mut self, page: Page<Key, Object>) -> Option<Range> {
        let mut last = None;
        for (key, object) in page.objects {
            if self.limit <= self.found.len() {
                return last.map(|key| self.after(key));
            }
            last = Some(key.clone());
            if !object.values().is_empty() {
                self.bytes += object.values().values().map(|value| value.body.len()).sum::<usize>();
                self.found.push(Listing { key, object });
            }
        }
        if page.more {
            return last.map(|key| self.after(key));
        }
        let next = self.site.shard.index + 1;
        let is_last = self.span.partition.is_some() || self.keyspace.shards <= next;
        (!is_last).then_some(Range::Table { shard: next, after: None })
    }

    fn after(&self, key: Key) -> Range {
        match &self.span.partition {
            Some(partition) => {
                Range::Partition { partition: partition.clone(), after: Some(key.sort().clone()) }
            }
            None => Range::Table { shard: self.site.shard.index, after: Some(key) },
        }
    }

    /// Where the page in flight begins.
    fn here(&self) -> Range {
        match (&self.span.partition, &self.span.after) {
            (Some(partition), after) => Range::Partition {
                partition: partition.clone(),
                after: after.as_ref().map(|key| key.sort().clone()),
            },
            (None, after) => Range::Table { shard: self.site.shard.index, after: after.clone() },
        }
    }

    fn move_to(&mut self, range: Range) {
        match range {
            Range::Partition { partition, after } => {
                self.span.after = after.and_then(|sort| Key::new(partition, sort).ok());
            }
            Range::Table { shard, after } => {
                self.site.shard.index = shard;
                self.span.after = after;
            }
        }
    }
}
