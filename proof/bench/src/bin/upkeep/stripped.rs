//! A disk that some parts of what it is given do not reach.

use causality::{DotSet, Run};
use model::{Address, NodeId, ShardId, TableId};
use node::{Disk, Hint, HintPlace};
use replica::{Change, Entry, Page, PageNeed, Reaping, Span, Store, StoreError, Sum};
use storage::Storage;

/// Which parts of the upkeep there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) name: &'static str,
    /// Whether replicas tell each other their clocks, and prune their logs.
    pub(crate) exchange: bool,
    /// Whether clocks are stored.
    clocks: bool,
    /// Whether there are lines of logs.
    log: bool,
    /// Whether trees are told of changes.
    pub(crate) trees: bool,
    /// Whether the sum of a shard is stored.
    sums: bool,
}

impl Parts {
    const ALL: Self =
        Self { name: "all", exchange: true, clocks: true, log: true, trees: true, sums: true };

    /// From everything to nothing.
    pub(crate) const WAYS: [Self; 5] = [
        Self::ALL,
        Self::TOLD_NOBODY,
        Self { name: "and no clocks, no sums", clocks: false, sums: false, ..Self::TOLD_NOBODY },
        Self { name: "and no log", clocks: false, sums: false, log: false, ..Self::TOLD_NOBODY },
        Self {
            name: "and no trees: nothing",
            exchange: false,
            clocks: false,
            log: false,
            trees: false,
            sums: false,
        },
    ];

    /// Trees that are told nothing differ, and would be compared. So they go after the exchange.
    const TOLD_NOBODY: Self = Self { name: "no exchange", exchange: false, ..Self::ALL };
}

/// The disk of a node, without some parts.
pub(crate) struct Stripped {
    pub(crate) disk: Storage,
    pub(crate) parts: Parts,
}

impl Store for Stripped {
    fn object(
        &self,
        shard: ShardId,
        address: &Address,
    ) -> Result<Option<model::Object>, StoreError> {
        self.disk.object(shard, address)
    }

    fn scan(
        &self,
        shard: ShardId,
        table: TableId,
        span: &Span,
        need: PageNeed,
    ) -> Result<Page, StoreError> {
        self.disk.scan(shard, table, span, need)
    }

    fn log(
        &self,
        shard: ShardId,
        within: Run,
        entries_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.disk.log(shard, within, entries_max)
    }

    fn commit(&mut self, mut change: Change) {
        if !self.parts.clocks {
            change.clock.clear();
        }
        if !self.parts.log {
            change.news = DotSet::new();
        }
        if !self.parts.sums {
            change.sum = None;
        }
        self.disk.commit(change);
    }

    fn forget(&mut self, shard: ShardId, runs: &[Run]) {
        if self.parts.log {
            self.disk.forget(shard, runs);
        }
    }

    fn reap(&mut self, reaping: Reaping) {
        self.disk.reap(reaping);
    }
}

impl Disk for Stripped {
    fn keep_acceptor(&mut self, acceptor: &catalog::Acceptor) {
        self.disk.keep_acceptor(acceptor);
    }

    fn mark(&mut self, shard: ShardId, node: NodeId, lacks: bool) {
        self.disk.mark(shard, node, lacks);
    }

    fn is_busy(&self) -> bool {
        self.disk.is_busy()
    }

    fn keep_sum(&mut self, shard: ShardId, sum: Sum) {
        if self.parts.sums {
            self.disk.keep_sum(shard, sum);
        }
    }

    fn hint(&self, place: &HintPlace) -> Result<Option<Hint>, StoreError> {
        self.disk.hint(place)
    }

    fn hints(
        &self,
        target: NodeId,
        after: Option<&Address>,
        need: PageNeed,
    ) -> Result<Vec<(Address, Hint)>, StoreError> {
        self.disk.hints(target, after, need)
    }

    fn keep_hint(&mut self, place: &HintPlace, hint: Option<&Hint>) {
        self.disk.keep_hint(place, hint);
    }
}
