//! Real processes: a record that is taken from a disk behind the back of its node is missed by the node.

#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::path::Path;

use common::{Cluster, eventually};
use model::{Address, ClusterId, NodeId, ShardId};
use replica::{PageNeed, Reaping, Span, Store as _};
use serde_json::Value;
use storage::{Options, Storage};

/// Opens a data directory as its node does.
fn open(dir: &Path, node: u16) -> (Storage, storage::Recovered) {
    let format = std::fs::read_to_string(dir.join("FORMAT")).unwrap();
    let field = |name: &str| {
        let line = format.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().to_owned()
    };
    let cluster = ClusterId::new(field("cluster").parse().unwrap());
    let layout = u64::from_str_radix(&field("layout"), 16).unwrap();
    Storage::open(&Options::new(dir, cluster, NodeId::new(node), layout)).unwrap()
}

/// Takes a record from a disk, and nothing else: neither its clock nor its sum hears of it.
fn take_away(dir: &Path, node: u16, partition: &str) {
    let (mut storage, recovered) = open(dir, node);
    let catalog = recovered.acceptor.learned;
    let (keyspace, table) = catalog
        .table(&model::Name::new("demo").unwrap(), &model::Name::new("notes").unwrap())
        .unwrap();
    let all = PageNeed { objects_max: usize::MAX, bytes_max: usize::MAX };
    let span = Span { partition: None, after: None };
    let mut found = None;
    for index in 0..keyspace.shards {
        let shard = ShardId { keyspace: keyspace.id, index };
        let page = storage.scan(shard, table.id, &span, all).unwrap();
        let is_it = |(key, _): &(model::Key, _)| key.partition() == partition.as_bytes();
        found = found.or(page.objects.into_iter().find(is_it).map(|found| (shard, found)));
    }
    let (shard, (key, object)) = found.unwrap();
    let tombstones = vec![(Address { table: table.id, key }, object)];
    let (chunks, clock) = (Vec::new(), Vec::new());
    let trimmed = Vec::new();
    storage.reap(Reaping { shard, tombstones, trimmed, chunks, clock, sum: None });
    storage.close().unwrap();
}

fn metric(cluster: &Cluster, node: u16, name: &str) -> f64 {
    let text = cluster.get(node, "/metrics").text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

fn suspects(cluster: &Cluster, node: u16) -> usize {
    let status = cluster.get(node, "/v1/status").text();
    let status: Value = serde_json::from_str(&status).unwrap();
    status.get("suspect").unwrap().as_array().unwrap().len()
}

#[test]
fn a_record_that_was_taken_from_a_disk_is_missed_by_its_node_and_brought_back() {
    let mut cluster = Cluster::start_with_table(3);
    for number in 0..40 {
        let path = format!("/v1/kv/demo/notes/k{number}?w=ALL");
        assert_eq!(cluster.put(1, &path, "kept").status, 204);
    }
    cluster.kill(3);
    cluster.wait_for("n3 ended");
    take_away(&cluster.node_dir(3).join("data"), 3, "k7");
    cluster.restart(3);
    cluster.wait_for_alive(1, 3);
    eventually("n3 has missed it", || metric(&cluster, 3, "merganser_suspicions_total") == 1.0);
    eventually("n3 is whole again", || suspects(&cluster, 3) == 0);
    assert_eq!(metric(&cluster, 3, "merganser_shards_suspect"), 0.0);
    let read = cluster.get(3, "/v1/kv/demo/notes/k7?r=ONE");
    assert_eq!((read.status, read.text().as_str()), (200, "kept"));
    assert!(cluster.log(3).contains("the disk has lost something"), "{}", cluster.log(3));
    for other in [1, 2] {
        assert_eq!(metric(&cluster, other, "merganser_suspicions_total"), 0.0);
    }
    // A start that finds everything suspects nothing.
    cluster.kill(3);
    cluster.restart(3);
    cluster.wait_for_alive(1, 3);
    eventually("n3 has read what it holds", || {
        suspects(&cluster, 3) == 0 && metric(&cluster, 3, "merganser_suspicions_total") == 0.0
    });
}
