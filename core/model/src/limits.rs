//! Bounds that every node of a cluster keeps alike.

use std::time::Duration;

/// Bounds on what a client may send. Configured per node, alike on all nodes of a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most bytes of one value.
    pub value_bytes_max: usize,
    /// The most values that one key may hold concurrently. A blind write beyond is
    /// refused: nothing is dropped to make room.
    pub siblings_max: usize,
    /// The most bytes that the concurrent values of one key may have together, if there
    /// are several. The object has to fit into one message between nodes, also when several
    /// replicas have filled it at the same time.
    pub object_bytes_max: usize,
    /// The most requests that one node coordinates at once. More are refused at once.
    pub requests_max: usize,
    /// The most keys, tombstones included, that one replica looks at for one page of a list.
    pub page_objects_max: usize,
    /// How often replicas tell each other what their clocks come to, about.
    pub exchange_interval: Duration,
    /// How many bytes a replica that lacks something is sent at once, about. At most an eighth of it
    /// while it has clients to serve.
    pub exchange_bytes_max: usize,
    /// How many bytes a second a replica that was away is brought up to date with while it or who
    /// sends has clients to serve, about: by all replicas together, and by each guest beside them.
    /// Small objects count as 4 KiB.
    pub catch_up_rate: u64,
    /// How many writes of one shard a node remembers the places of, so that replicas which lack
    /// them can be sent them. Beyond it the oldest are forgotten, and who lacks them is marked.
    pub log_entries_max: usize,
    /// For how long the places of writes are remembered after every replica has them, so that those
    /// who watch a table can be told of them. Zero remembers them for nobody.
    pub changes_retention: Duration,
    /// How many runs of superseded dots, beside those that retries may ask for, the context of an
    /// object may have before those go that all replicas know to be superseded.
    pub context_runs_max: usize,
    /// How many runs the context of an object may have of dots that one life of a node has minted,
    /// before that gives the key dots that no other key has. More than the others, so that this is for
    /// those that cannot go.
    pub own_runs_max: usize,
    /// Within which time everything that is stored is read again, to find what a disk has lost.
    pub scrub_interval: Duration,
    /// After which time without a proof that it is equal a shard is compared while it is written.
    pub repair_interval: Duration,
    /// How old a token may be, by the clock of the node that is asked. An older one is refused,
    /// because nobody may remember any longer whether it was used.
    pub retry_window: Duration,
    /// How far a token may be ahead of that clock.
    pub token_ahead_max: Duration,
    /// The most bytes that one node keeps for replicas that are away. A write that would
    /// exceed them is taken to another guest: what was taken in is never dropped.
    pub hint_bytes_max: u64,
}

impl Default for Limits {
    /// 8 MiB values, because larger ones delay their neighbours on a connection;
    /// 100 siblings, where Riak warns that an application has stopped resolving; 16 MiB
    /// together, so that what three replicas accepted blindly still fits into 64 MiB;
    /// 10,000 requests, which at 8 KiB each is 80 MiB; 1,000 keys for a page, which a disk
    /// reads in one go; clocks every second, which costs ten bytes for each shard, and 4 MiB
    /// at once, which takes a network some hundredths of a second; 1 MiB a second beside clients,
    /// which are 256 small objects, and about doubles the slowest answers of nodes that share two
    /// processors; 100,000 writes of a shard, which
    /// are about 10 MB on disk; ten minutes for watchers, in which a program is restarted; 16 superseded runs, which are some
    /// 60 bytes, and make one more write for each 16; a day for a scrub, which of 100 GB reads 1.2 MB a second; an hour
    /// without a proof, after which a hot shard is compared; an hour for retries, in which a client restarts and a network
    /// is mended; five minutes between clocks, which anybody's time service keeps; 1 GiB of
    /// hints, a small part of a disk, and hours of writes at a laptop's pace.
    fn default() -> Self {
        Self {
            value_bytes_max: 8 << 20,
            siblings_max: 100,
            object_bytes_max: 16 << 20,
            requests_max: 10_000,
            page_objects_max: 1_000,
            exchange_interval: Duration::from_secs(1),
            exchange_bytes_max: 4 << 20,
            catch_up_rate: 1 << 20,
            log_entries_max: 100_000,
            changes_retention: Duration::from_secs(600),
            context_runs_max: 16,
            own_runs_max: 32,
            scrub_interval: Duration::from_secs(24 * 3_600),
            repair_interval: Duration::from_secs(3_600),
            retry_window: Duration::from_secs(3_600),
            token_ahead_max: Duration::from_secs(300),
            hint_bytes_max: 1 << 30,
        }
    }
}
