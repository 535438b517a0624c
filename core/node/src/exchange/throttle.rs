//! How fast replicas are brought up to date while there are clients to serve.
//!
//! An hour of writes that a replica has missed can be sent in seconds, and for these seconds
//! clients would wait: each object is a read at one node, a sync and a write at the other, and both
//! have one thread for everything. So what is brought up to date takes a bounded part of it,
//! in bytes for a second, and small objects count for what they cost and not for what they weigh.

use std::time::Duration;

use model::Object;

/// What an object counts for at least. Reading and storing a small one takes as long as
/// copying about so much.
pub(crate) const OBJECT_COST_MIN: u64 = 4 << 10;

/// What it counts for.
pub(crate) fn weight(object: &Object) -> u64 {
    cost(bytes(object) as u64)
}

/// What an object of so many bytes counts for.
pub(crate) fn cost(bytes: u64) -> u64 {
    OBJECT_COST_MIN.max(bytes)
}

/// How many bytes it has on its way, about.
pub(crate) fn bytes(object: &Object) -> usize {
    let values = object.values().values();
    let bytes: usize = values.map(|value| value.content_type.len() + value.body.len()).sum();
    bytes + size_of_val(object.context().runs())
}

/// How long so many bytes take at a rate. None is no rate: it counts as one.
pub(crate) fn time(bytes: u64, per_second: u64) -> Duration {
    let micros = bytes.saturating_mul(1_000_000) / per_second.max(1);
    Duration::from_micros(micros)
}
