//! What the two replicas hold, and how it comes to differ.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use causality::{Dot, DotSet, Incarnation, Run};
use model::{
    Address, Key, Level, Mutation, NodeId, Object, Put, Reply, Request, ShardId, Value,
    WriteOptions,
};
use node::{Cause, Message};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use replica::Store as _;

use crate::Problem;
use crate::pair::{ONE, Pair, TWO, name};

/// Who wrote what both held before anything was measured.
const BEFORE: Incarnation = Incarnation::new(0x5bd1_e995_7f4a_7c15);

/// How many writes arrive for each that does not, where they are lost one by one.
const ARRIVING: u64 = 19;

/// Bytes of a value. They count for nothing: objects are told apart.
const VALUE_BYTES: usize = 32;

/// A pair of replicas with so many keys.
pub(crate) struct Shelf {
    pub(crate) pair: Pair,
    keys: u64,
    keyspace: model::Keyspace,
    table: model::TableId,
    /// How many keys there are besides those of the beginning.
    made: u64,
    /// How often something was made to differ.
    times: u64,
}

impl Shelf {
    /// Both hold the same under so many keys, and know it.
    pub(crate) fn filled(keys: u64, shards: u16) -> Result<Self, Problem> {
        let pair = Pair::new(shards)?;
        let (keyspace, table) = pair.table()?;
        let mut shelf = Self { pair, keys, keyspace, table: table.id, made: 0, times: 0 };
        let mut clocks = Clocks::default();
        for number in 0..keys {
            let (shard, address) = shelf.place(number)?;
            let object = Object::written(clocks.mint(shard, BEFORE), DotSet::new(), value(number));
            shelf.pair.disk(ONE)?.plant(shard, &address, &object);
            shelf.pair.disk(TWO)?.plant(shard, &address, &object);
        }
        shelf.tell(&clocks)?;
        Ok(shelf)
    }

    /// Both start again, and their clocks have these dots too.
    fn tell(&mut self, clocks: &Clocks) -> Result<(), Problem> {
        for id in [ONE, TWO] {
            let told = &mut self.pair.disk(id)?.clocks;
            for (shard, dots) in clocks.dots()? {
                let _ = told.entry(shard).or_default().union(&dots);
            }
        }
        self.pair.restart()
    }

    /// Random keys of 16 bytes: the least that keys have in common.
    fn place(&self, number: u64) -> Result<(ShardId, Address), Problem> {
        let mut partition = [0; 16];
        ChaCha8Rng::seed_from_u64(number).fill_bytes(&mut partition);
        let partition = Bytes::copy_from_slice(&partition);
        let shard = placement::shard_of(&self.keyspace, &partition);
        let key = Key::new(partition, Bytes::new()).map_err(|_| "a key that cannot be")?;
        Ok((shard, Address { table: self.table, key }))
    }

    /// The second replica is cut off while the first takes so many writes, each of another key.
    pub(crate) fn cut_off(&mut self, writes: u64) -> Result<(), Problem> {
        self.pair.passes = Box::new(|message| !is_of_replicas(message));
        self.write(writes)
    }

    /// Of many writes, so many do not arrive, at random.
    pub(crate) fn lose_some(&mut self, lost: u64) -> Result<(), Problem> {
        let mut rng = ChaCha8Rng::seed_from_u64(lost);
        let (mut left, mut to_lose) = ((ARRIVING + 1) * lost, lost);
        self.pair.passes = Box::new(move |message| {
            if !matches!(message, Message::Merge(merge) if merge.cause == Cause::Write) {
                return !is_of_replicas(message);
            }
            let is_lost = rng.random_range(0..left.max(1)) < to_lose;
            left = left.saturating_sub(1);
            to_lose -= u64::from(is_lost);
            !is_lost
        });
        self.write((ARRIVING + 1) * lost)
    }

    /// Half of them are of keys that are there, by clients that have read them.
    fn write(&mut self, writes: u64) -> Result<(), Problem> {
        let mut numbers = self.some(writes.div_ceil(2));
        numbers.extend((self.keys + self.made..).take(usize::try_from(writes / 2)?));
        self.made += writes / 2;
        for number in numbers {
            let (shard, address) = self.place(number)?;
            let held = self.pair.disk(ONE)?.object(shard, &address)?.unwrap_or_default();
            let put = self.put(address.key, held.context().clone(), value(number))?;
            let reply = self.pair.ask(put)?;
            if !matches!(reply, Reply::Written(_)) {
                return Err(format!("a write was answered with {reply:?}").into());
            }
        }
        // Clients are gone when the two meet again: nothing is held back for them.
        self.pair.wait(Duration::from_secs(3))
    }

    fn put(&self, key: Key, context: DotSet, value: Value) -> Result<Request, Problem> {
        Ok(Request::Put(Put {
            keyspace: name("keyspace")?,
            table: name("table")?,
            key,
            mutation: Mutation::Store(value),
            context,
            token: None,
            repeated: false,
            marks: Default::default(),
            sessions: None,
            options: WriteOptions { w: Some(Level::One), ..WriteOptions::default() },
            timeout: Duration::from_secs(5),
        }))
    }

    /// So many keys differ, and no log knows: of each one side has lost the record, or the last
    /// change of it, or was never told of it. Both clocks have all that there ever was.
    pub(crate) fn damage(&mut self, differing: u64) -> Result<(), Problem> {
        self.times += 1;
        let who = Incarnation::new(BEFORE.bits() ^ self.times);
        let mut rng = ChaCha8Rng::seed_from_u64(differing + self.times);
        let mut clocks = Clocks::default();
        for number in self.some(differing) {
            let side = if rng.random() { ONE } else { TWO };
            match rng.random_range(0..3_u8) {
                0 => self.lose(number, side)?,
                1 => self.change(number, side, |shard| clocks.mint(shard, who))?,
                _ => {
                    self.made += 1;
                    let number = self.keys + self.made;
                    self.change(number, side, |shard| clocks.mint(shard, who))?;
                }
            }
        }
        self.tell(&clocks)
    }

    fn lose(&mut self, number: u64, side: NodeId) -> Result<(), Problem> {
        let (shard, address) = self.place(number)?;
        self.pair.disk(side)?.lose(shard, &address);
        Ok(())
    }

    /// Only this side has what was written last.
    fn change(
        &mut self,
        number: u64,
        side: NodeId,
        mint: impl FnOnce(ShardId) -> Dot,
    ) -> Result<(), Problem> {
        let (shard, address) = self.place(number)?;
        let disk = self.pair.disk(side)?;
        let held = disk.object(shard, &address)?.unwrap_or_default();
        let object = Object::written(mint(shard), held.context().clone(), value(number));
        disk.plant(shard, &address, &object);
        Ok(())
    }

    /// So many numbers of keys that are there from the beginning.
    fn some(&self, count: u64) -> Vec<u64> {
        let mut rng = ChaCha8Rng::seed_from_u64((self.made + self.times) ^ count);
        let mut some = BTreeSet::new();
        while (some.len() as u64) < count.min(self.keys) {
            some.insert(rng.random_range(0..self.keys));
        }
        some.into_iter().collect()
    }
}

/// Whether a message is about what replicas hold.
fn is_of_replicas(message: &Message) -> bool {
    matches!(
        message,
        Message::Merge(_)
            | Message::Clocks(_)
            | Message::Lack(_)
            | Message::Sent(_)
            | Message::Compare(_)
            | Message::Compared(_)
            | Message::Bring(_)
            | Message::Spared(_)
    )
}

fn value(number: u64) -> Value {
    let body = format!("{number:0VALUE_BYTES$}");
    Value { content_type: Bytes::from_static(b"text/plain"), body: Bytes::from(body) }
}

/// How far each shard has counted.
#[derive(Default)]
struct Clocks(BTreeMap<(ShardId, Incarnation), u64>);

impl Clocks {
    fn mint(&mut self, shard: ShardId, incarnation: Incarnation) -> Dot {
        let seq = self.0.entry((shard, incarnation)).or_default();
        *seq += 1;
        Dot::new(incarnation, *seq)
    }

    fn dots(&self) -> Result<Vec<(ShardId, DotSet)>, Problem> {
        let all = self.0.iter().map(|((shard, incarnation), last)| {
            let run = Run { incarnation: *incarnation, first: 1, last: *last };
            let dots = DotSet::from_runs(vec![run]).map_err(|err| err.to_string())?;
            Ok((*shard, dots))
        });
        all.collect()
    }
}
