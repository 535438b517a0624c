//! Prints what this storage does on this machine: `measure DIR [KEYS]`.
//!
//! Numbers of one run on a shared machine: for comparing two versions side by side.
#![expect(clippy::unwrap_used, reason = "a tool for us, which may stop anywhere")]

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Instant;

use bytes::Bytes;
use causality::{Dot, DotSet, Incarnation, Run};
use model::{
    Address, ClusterId, Durability, Key, KeyspaceId, NodeId, Object, ShardId, TableId, Value,
};
use replica::{Change, PageNeed, Span, Store as _};
use storage::{Options, Storage};

const SHARDS: u64 = 64;
const VALUE_BYTES: usize = 256;
const A: Incarnation = Incarnation::new(0xa);

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap();
    let keys: u64 = args.next().map_or(1_000_000, |keys| keys.parse().unwrap());
    let dir = Path::new(&dir);
    let mut storage = open(dir);
    println!("idle: {} MiB", memory());
    load(&mut storage, keys);
    reads(&storage, keys);
    for group in [1, 8, 64] {
        small_groups(&mut storage, keys, group);
    }
    println!("after writes: {} MiB", memory());
    drop(storage);
    println!("after a crash:");
    let storage = open(dir);
    println!("reopened: {} MiB", memory());
    reads(&storage, keys);
    timed("close", 1, || storage.close().unwrap());
    println!("after close:");
    let storage = open(dir);
    println!("reopened: {} MiB", memory());
    timed("first read", 1, || assert!(read(&storage, 7).is_some()));
    scan(&storage);
}

fn open(dir: &Path) -> Storage {
    let options = Options::new(dir, ClusterId::new(1), NodeId::new(1), 1);
    timed("open", 1, || Storage::open(&options).unwrap().0)
}

fn timed<T>(name: &str, count: u64, work: impl FnOnce() -> T) -> T {
    let (start, cpu) = (Instant::now(), cpu_us());
    let result = work();
    let (time, cpu) = (start.elapsed(), cpu_us() - cpu);
    let rate = count as f64 / time.as_secs_f64();
    let each = time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{name:>40}: {time:>10.2?} {rate:>10.0}/s {each:>9.2} us, cpu {:>6.2} us each",
        cpu / count as f64
    );
    result
}

/// The key `number`, scattered over the shards.
fn place(number: u64) -> (ShardId, Address) {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let key = Bytes::from(format!("key-{scattered:016x}"));
    let index = u16::try_from(number % SHARDS).unwrap();
    let shard = ShardId { keyspace: KeyspaceId::new(1), index };
    (shard, Address { table: TableId::new(2), key: Key::new(key, Bytes::new()).unwrap() })
}

fn put(storage: &mut Storage, number: u64, seq: u64) {
    let (shard, address) = place(number);
    let mut body = vec![0x55; VALUE_BYTES / 2];
    let mut state = number.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ seq;
    while body.len() < VALUE_BYTES {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        body.extend((state >> 32).to_le_bytes().iter().take(4));
    }
    let value = Value { content_type: Bytes::from_static(b"text/plain"), body: body.into() };
    let object = Object::written(Dot::new(A, seq), DotSet::new(), value);
    let clock = vec![(A, vec![Run { incarnation: A, first: 1, last: seq }])];
    let news = if std::env::var_os("NO_LOG").is_some() {
        DotSet::new()
    } else {
        [Dot::new(A, seq)].into_iter().collect()
    };
    storage.commit(Change { shard, address, object, clock, news, sum: None });
}

fn read(storage: &Storage, number: u64) -> Option<Object> {
    let (shard, address) = place(number);
    storage.object(shard, &address).unwrap()
}

/// Reads, stages, and flushes whenever the group before is done: as a node does.
fn load(storage: &mut Storage, keys: u64) {
    timed("load, read and write, synced, pipelined", keys, || {
        let (tell, told) = channel();
        for number in 0..keys {
            assert!(read(storage, number).is_none());
            put(storage, number, number + 1);
            if storage.is_flushing() && told.try_recv().is_ok() {
                storage.flushed();
            }
            if !storage.is_flushing() && 64 <= storage.staged() {
                let tell = tell.clone();
                storage.flush(Durability::Synced, Box::new(move |done| tell.send(done).unwrap()));
            }
            if 1_024 <= storage.staged() {
                told.recv().unwrap().unwrap();
                storage.flushed();
            }
        }
        if storage.is_flushing() {
            told.recv().unwrap().unwrap();
            storage.flushed();
        }
        wait(storage, Durability::Synced);
    });
    println!("loaded: {} MiB", memory());
}

fn wait(storage: &mut Storage, durability: Durability) {
    let (tell, told) = channel();
    storage.flush(durability, Box::new(move |done| tell.send(done).unwrap()));
    told.recv().unwrap().unwrap();
    storage.flushed();
}

fn reads(storage: &Storage, keys: u64) {
    let count: u64 = 200_000;
    let some = |index: u64| index.wrapping_mul(0x5851_f42d_4c95_7f2d) % keys;
    timed("read, hit, random", count, || {
        (0..count).for_each(|i| assert!(read(storage, some(i)).is_some()))
    });
    let near = |index: u64| some(index % 5_000);
    timed("read, hit, 5000 keys, once", 5_000, || {
        (0..5_000).for_each(|i| assert!(read(storage, near(i)).is_some()))
    });
    timed("read, hit, 5000 keys, again", count, || {
        (0..count).for_each(|i| assert!(read(storage, near(i)).is_some()))
    });
    timed("read, miss", count, || {
        (0..count).for_each(|i| assert!(read(storage, keys + i).is_none()))
    });
    println!("after reads: {} MiB", memory());
}

fn small_groups(storage: &mut Storage, keys: u64, group: u64) {
    let count: u64 = 20_000;
    let write = |storage: &mut Storage, finish: &dyn Fn(&mut Storage)| {
        for index in 0..count {
            put(storage, index.wrapping_mul(0x5851_f42d_4c95_7f2d) % keys, keys + index);
            if index % group == 0 {
                finish(storage);
            }
        }
    };
    timed(&format!("groups of {group}, synced"), count, || {
        write(storage, &|storage| wait(storage, Durability::Synced))
    });
    timed(&format!("groups of {group}, buffered, thread"), count, || {
        write(storage, &|storage| wait(storage, Durability::Buffered))
    });
    timed(&format!("groups of {group}, buffered, here"), count, || {
        write(storage, &|storage| storage.flush_now().unwrap())
    });
}

fn scan(storage: &Storage) {
    let shard = ShardId { keyspace: KeyspaceId::new(1), index: 3 };
    let need = PageNeed { objects_max: 1_000, bytes_max: usize::MAX };
    let mut span = Span { partition: None, after: None };
    let (start, mut count) = (Instant::now(), 0);
    loop {
        let page = storage.scan(shard, TableId::new(2), &span, need).unwrap();
        count += page.objects.len();
        span.after = page.objects.last().map(|(key, _)| key.clone());
        if !page.more {
            break;
        }
    }
    println!("scan of one shard: {count} objects in {:.2?}", start.elapsed());
}

/// Resident memory, in MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// CPU time of the process so far, all threads.
fn cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<i64> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // Fields 14 and 15 of the line, in hundredths of a second; the state is no number.
    fields.iter().skip(10).take(2).sum::<i64>() as f64 * 10_000.0
}
