//! Generated repairs.

use model::{
    Extent, Obstacle, PairState, Proof, Repair, RepairFigures, RepairJob, RepairMode, RepairPair,
    RepairState, RepairStatus, StartRepair, Stretch,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::{keys, names, nodes, shards, times};

fn starts() -> impl Strategy<Value = StartRepair> {
    let modes = prop_oneof![
        Just(RepairMode::Full),
        times().prop_map(|age| RepairMode::Incremental { age }),
        Just(RepairMode::Preview),
    ];
    let stretches = (names(), option::of(keys()), option::of(keys()))
        .prop_map(|(table, from, to)| Stretch { table, from, to });
    let extents = (names(), btree_set(any::<u16>(), 0..4), option::of(stretches))
        .prop_map(|(keyspace, shards, table)| Extent { keyspace, shards, table });
    let ids = option::of(any::<u64>());
    (ids, modes, option::of(extents), btree_set(nodes(), 0..4), times())
        .prop_map(|(id, mode, of, with, patience)| StartRepair { id, mode, of, with, patience })
}

pub(crate) fn repairs() -> impl Strategy<Value = Repair> {
    prop_oneof![
        starts().prop_map(|start| Repair::Start(Box::new(start))),
        Just(Repair::Show),
        option::of(any::<u64>()).prop_map(Repair::Cancel),
    ]
}

fn states() -> impl Strategy<Value = PairState> {
    let obstacles = || {
        prop_oneof![
            Just(Obstacle::Away),
            Just(Obstacle::Silent),
            Just(Obstacle::Unread),
            Just(Obstacle::Disk),
            any::<u64>().prop_map(|keys| Obstacle::Differing { keys }),
            Just(Obstacle::Changing),
            Just(Obstacle::Cancelled),
            Just(Obstacle::Joining),
        ]
    };
    prop_oneof![
        Just(PairState::Waiting),
        Just(PairState::Reading),
        Just(PairState::Comparing),
        obstacles().prop_map(PairState::Blocked),
        Just(PairState::Proved),
        Just(PairState::Passed),
        Just(PairState::Compared),
        obstacles().prop_map(PairState::Failed),
    ]
}

fn pairs() -> impl Strategy<Value = RepairPair> {
    let figures = any::<[u64; 8]>().prop_map(|numbers| {
        let [keys, read, ranges_left, passes, differences, brought, sent, bytes] = numbers;
        RepairFigures { keys, read, ranges_left, passes, differences, brought, sent, bytes }
    });
    let told = vec((names(), keys()), 0..3);
    (names(), shards(), nodes(), states(), figures, told).prop_map(
        |(keyspace, shard, with, state, figures, keys)| RepairPair {
            keyspace,
            shard,
            with,
            state,
            figures,
            keys,
        },
    )
}

pub(crate) fn repair_statuses() -> impl Strategy<Value = RepairStatus> {
    let proofs = (names(), shards(), nodes(), option::of(times()), any::<bool>()).prop_map(
        |(keyspace, shard, with, ago, is_overdue)| Proof { keyspace, shard, with, ago, is_overdue },
    );
    let states = prop_oneof![
        Just(RepairState::Running),
        Just(RepairState::Ended),
        Just(RepairState::Cancelled)
    ];
    let jobs = (any::<u64>(), starts(), states, times(), vec(pairs(), 0..4))
        .prop_map(|(id, asked, state, took, pairs)| RepairJob { id, asked, state, took, pairs });
    (nodes(), option::of(jobs), vec(proofs, 0..4)).prop_map(|(node, job, proofs)| RepairStatus {
        node,
        job,
        proofs,
    })
}
