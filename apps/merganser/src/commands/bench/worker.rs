//! One client of the bench: draws keys, puts and gets, and remembers its contexts.
//!
//! Every key belongs to one client, the one whose number is the key's index modulo the
//! number of clients. Only it writes the key, each time with the context of its last write,
//! so each write replaces the one before and no siblings pile up. Any client reads any key.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Content, Context, Error, Key, ReadOptions, Table, WriteOptions};
use rand::RngExt;
use rand::seq::SliceRandom;

use super::distribution::Draw;
use super::figures::{Figures, Kind};
use super::pace::Pace;

/// How long a client rests after a failure: a node that refuses connections would otherwise
/// be asked as fast as the machine can.
const REST: Duration = Duration::from_millis(10);

/// How often a key is tried in the loading phase.
const LOAD_TRIES_MAX: u32 = 5;

/// Random bytes from which the values are cut. Values that differ and do not compress.
const POOL_BYTES: usize = 4 << 20;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Table,
    pub(crate) read: ReadOptions,
    pub(crate) write: WriteOptions,
    pub(crate) draw: Draw,
    pub(crate) keys: u64,
    pub(crate) clients: u64,
    pub(crate) value_bytes: usize,
    pub(crate) reads_percent: u32,
    /// Whether the first write of a key goes without a read before.
    pub(crate) is_blind: bool,
    pool: Bytes,
    /// What is measured in the phase under way.
    pub(crate) figures: RefCell<Figures>,
    /// What began before is warm-up. Nothing until the warm-up is over.
    pub(crate) measure_from: Cell<Option<Instant>>,
    /// Where the operations of the phase come from.
    pub(crate) turns: RefCell<Turns>,
}

/// When the next operation may begin.
#[derive(Debug)]
pub(crate) enum Turns {
    /// At once, until so many are left or this moment has come.
    Closed { left: u64, end: Option<Instant> },
    /// When it is due.
    Open(std::rc::Rc<Pace>),
}

/// The settings of a bench, of which [`Shared`] is made.
pub(crate) struct Settings {
    pub(crate) table: Table,
    pub(crate) read: ReadOptions,
    pub(crate) write: WriteOptions,
    pub(crate) draw: Draw,
    pub(crate) keys: u64,
    pub(crate) clients: u64,
    pub(crate) value_bytes: usize,
    pub(crate) reads_percent: u32,
    pub(crate) is_blind: bool,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut pool = vec![0; POOL_BYTES.max(settings.value_bytes * 2)];
        rand::fill(pool.as_mut_slice());
        let Settings {
            table,
            read,
            write,
            draw,
            keys,
            clients,
            value_bytes,
            reads_percent,
            is_blind,
        } = settings;
        Self {
            table,
            read,
            write,
            draw,
            keys,
            clients,
            value_bytes,
            reads_percent,
            is_blind,
            pool: pool.into(),
            figures: RefCell::new(Figures::new()),
            measure_from: Cell::new(None),
            turns: RefCell::new(Turns::Closed { left: 0, end: None }),
        }
    }

    /// Waits for the next turn, and tells from when its latency counts.
    async fn next(&self) -> Option<Instant> {
        let pace = match &mut *self.turns.borrow_mut() {
            Turns::Closed { left: 0, .. } => return None,
            Turns::Closed { left, end } => {
                let now = Instant::now();
                *left -= 1;
                return end.is_none_or(|end| now < end).then_some(now);
            }
            Turns::Open(pace) => pace.clone(),
        };
        pace.next().await
    }

    /// Changes the figures, unless `begun` was in the warm-up.
    fn note(&self, begun: Instant, change: impl FnOnce(&mut Figures)) {
        if self.measure_from.get().is_some_and(|from| from <= begun) {
            change(&mut self.figures.borrow_mut());
        }
    }

    fn value(&self) -> Content {
        let start = rand::random_range(0..=self.pool.len() - self.value_bytes);
        Content::bytes(self.pool.slice(start..start + self.value_bytes))
    }
}

/// The name of a key in the table.
fn key(index: u64) -> Key {
    Key::new(format!("key-{index:010}"))
}

/// One client.
#[derive(Debug)]
pub(crate) struct Worker {
    number: u64,
    /// The context of each key of its own, by index divided by the number of clients.
    contexts: Vec<Option<Context>>,
    /// The keys that hold something nobody here has read: the next put reads first.
    unread: Vec<bool>,
}

impl Worker {
    /// Client `number` of those that share.
    pub(crate) fn new(number: u64, shared: &Shared) -> Self {
        let own = (shared.keys - number).div_ceil(shared.clients);
        let own = usize::try_from(own).expect("the keys fit into memory");
        Self { number, contexts: vec![None; own], unread: vec![!shared.is_blind; own] }
    }

    /// Puts every key of its own once, in random order.
    pub(crate) async fn load(mut self, shared: &Shared) -> Self {
        let mut slots: Vec<u32> = (0..self.contexts.len() as u32).collect();
        slots.shuffle(&mut rand::rng());
        for slot in slots {
            for _ in 0..LOAD_TRIES_MAX {
                if self.put(slot as usize, Instant::now(), shared).await {
                    break;
                }
                tokio::time::sleep(REST).await;
            }
        }
        self
    }

    /// Takes turns until there are none.
    pub(crate) async fn run(mut self, shared: &Shared) -> Self {
        while let Some(begun) = shared.next().await {
            let index = shared.draw.draw(&mut rand::rng());
            let is_read = rand::rng().random_range(0..100) < shared.reads_percent;
            let succeeded = if is_read {
                get(index, begun, shared).await
            } else {
                // The nearest key of its own.
                let slot = usize::try_from(index / shared.clients).unwrap_or(usize::MAX);
                self.put(slot.min(self.contexts.len() - 1), begun, shared).await
            };
            if !succeeded {
                tokio::time::sleep(REST).await;
            }
        }
        self
    }

    async fn put(&mut self, slot: usize, mut begun: Instant, shared: &Shared) -> bool {
        let (Some(context), Some(unread)) =
            (self.contexts.get_mut(slot), self.unread.get_mut(slot))
        else {
            return true;
        };
        let key = key(slot as u64 * shared.clients + self.number);
        if *unread {
            let before = Instant::now();
            match shared.table.get(&key, &ReadOptions::default()).await {
                Ok(answer) => *context = answer.context,
                Err(err) => {
                    shared.note(begun, |figures| figures.failed(err.code()));
                    return false;
                }
            }
            *unread = false;
            shared.note(begun, |figures| figures.context_reads += 1);
            begun += before.elapsed();
        }
        let written =
            shared.table.put(&key, &shared.value(), context.as_ref(), &shared.write).await;
        match written {
            Ok(written) => {
                shared.note(begun, |figures| figures.record(Kind::Put, begun.elapsed()));
                *context = written.context;
                true
            }
            Err(err) => {
                shared.note(begun, |figures| figures.failed(err.code()));
                // It may be there: the context at hand does not cover it.
                *unread |= matches!(err, Error::Unknown { .. });
                false
            }
        }
    }
}

async fn get(index: u64, begun: Instant, shared: &Shared) -> bool {
    match shared.table.get(&key(index), &shared.read).await {
        Ok(answer) => {
            shared.note(begun, |figures| {
                figures.record(Kind::Get, begun.elapsed());
                match answer.values.len() {
                    0 => figures.found_nothing += 1,
                    1 => {}
                    _ => figures.found_several += 1,
                }
            });
            true
        }
        Err(err) => {
            shared.note(begun, |figures| figures.failed(err.code()));
            false
        }
    }
}
