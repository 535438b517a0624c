//! Copying a shard page by page, where it is written faster than it can be compared.
//!
//! A comparison finds what differs by asking twice: what is in a range, and under which keys. A leaf
//! that is written all the time is another one when it is asked about again, and after some attempts
//! it is left out. Two replicas can live with that, since the next comparison is near. A new disk cannot: it
//! takes no part until everything is copied, and does not hear of what is written meanwhile. So where a
//! comparison has left something out, the other replica is read from its first key to its last.
//! What it has when a page is read is at least what it had when the copy began.

use model::{Key, NodeId, Now, TableId};
use replica::{PageNeed, Span};

use crate::exchange::throttle;
use crate::trees::compare::{Comparison, PATIENCE};
use crate::{After, Disk, Message, Node, RequestId, Scan, Scanned, Turn};

/// How much one page has: some milliseconds of the other node.
const PAGE: PageNeed = PageNeed { objects_max: 1_024, bytes_max: 256 << 10 };
const PAGE_BUSY: PageNeed = PageNeed { objects_max: 64, bytes_max: 16 << 10 };

/// What is left of a shard.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The tables that are not read to the end, the next one last.
    tables: Vec<TableId>,
    /// The last key that was read of it.
    after: Option<Key>,
}

impl Pages {
    /// All of these tables.
    pub(crate) fn new(mut tables: Vec<TableId>) -> Self {
        tables.reverse();
        Self { tables, after: None }
    }
}

impl Node {
    /// Asks for the next page, under a name of its own: an answer that comes twice is of no other.
    pub(crate) fn ask_page<D: Disk>(&mut self, mut copy: Comparison, turn: &mut Turn<'_, D>) {
        let (shard, with) = (copy.shard, copy.with);
        let table = copy.pages.as_ref().and_then(|pages| pages.tables.last().copied());
        let Some(table) = table else { return self.copied(shard, with, turn) };
        let request = self.new_request();
        let after = copy.pages.as_ref().and_then(|pages| pages.after.clone());
        let need = if self.exchange.is_busy_with(with) { PAGE_BUSY } else { PAGE };
        let (span, left) = (Span { partition: None, after }, std::time::Duration::ZERO);
        let scan = Scan { request, table, shard: shard.index, span, need, left };
        turn.send(with, Message::Scan(scan), After::Now);
        copy.until = self.patience(turn.now);
        self.trees.comparisons.insert(request, copy);
    }

    fn patience(&self, now: Now) -> Now {
        now + self.config.limits.exchange_interval * PATIENCE
    }

    /// Takes in a page, if it is of a copy. Returns it if it is not.
    pub(crate) fn take_page<D: Disk>(
        &mut self,
        from: NodeId,
        scanned: Scanned,
        turn: &mut Turn<'_, D>,
    ) -> Option<Scanned> {
        let is_awaited =
            |copy: &Comparison| copy.with == from && copy.pages.is_some() && copy.resumes.is_none();
        if !self.trees.comparisons.get(&scanned.request).is_some_and(is_awaited) {
            return Some(scanned);
        }
        let mut copy = self.trees.comparisons.remove(&scanned.request)?;
        let table = copy.pages.as_ref().and_then(|pages| pages.tables.last().copied());
        let page = scanned.page.zip(table);
        let Some(((objects, more), table)) = page else {
            self.break_off(copy, turn.now);
            return None;
        };
        let last = objects.last().map(|(key, _)| key.clone());
        let shard = copy.shard;
        for (key, object) in objects {
            copy.weight += throttle::weight(&object);
            let address = model::Address { table, key };
            // A copy that lacks something is none.
            if self.mend(shard, &address, object, Some(from), turn).is_err() {
                self.break_off(copy, turn.now);
                return None;
            }
        }
        if let Some(pages) = &mut copy.pages {
            if !more {
                pages.tables.pop();
            }
            pages.after = last.filter(|_| more);
        }
        self.pause(&mut copy, turn.now);
        let request: RequestId = self.new_request();
        self.trees.comparisons.insert(request, copy);
        None
    }
}
