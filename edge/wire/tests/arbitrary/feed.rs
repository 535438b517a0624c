//! What has changed, as it is asked and told.

use model::{Changed, TableId, Watch, Watched};
use node::{Changes, Follow, Followed, Message, Stand, Told};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use replica::PageNeed;

use super::parts::{dot_sets, keys, names, positions};
use super::{any_objects, lefts, requests_ids, times};

prop_compose! {
    pub(super) fn watches()(
        (keyspace, table) in (names(), names()),
        since in positions(),
        limit: usize,
        (wait, timeout) in (times(), times()),
    ) -> Watch {
        Watch { keyspace, table, since, limit, wait, timeout }
    }
}

prop_compose! {
    pub(super) fn watched()(
        changes in vec((keys(), any_objects()), 0..4),
        position in positions(),
        rewound: u64,
        silent: u16,
    ) -> Watched {
        let changed = |(key, object)| Changed { key, object };
        let changes = changes.into_iter().map(changed).collect();
        Watched { changes, position, rewound, silent }
    }
}

pub(super) fn follows() -> impl Strategy<Value = Message> {
    let stand = prop_oneof![
        Just(Stand::Now),
        dot_sets().prop_map(Stand::At),
        (dot_sets(), option::of(keys())).prop_map(|(told, after)| Stand::Reading(told, after)),
    ];
    let entries = || vec((keys(), any_objects()), 0..3);
    let told = prop_oneof![
        Just(Told::Same),
        Just(Told::Gone),
        Just(Told::Failed),
        dot_sets().prop_map(Told::Behind),
        (entries(), dot_sets(), dot_sets(), any::<bool>()).prop_map(
            |(entries, clock, gaps, more)| Told::Changed(Changes { entries, clock, gaps, more })
        ),
        (entries(), option::of(keys())).prop_map(|(entries, after)| Told::Read { entries, after }),
    ];
    let needs = any::<(usize, usize)>();
    let asked = (requests_ids(), any::<u32>(), vec((any::<u16>(), stand), 0..4), needs, lefts());
    prop_oneof![
        asked.prop_map(|(request, table, shards, (objects_max, bytes_max), wait)| {
            let (table, need) = (TableId::new(table), PageNeed { objects_max, bytes_max });
            Message::Follow(Follow { request, table, shards, need, wait })
        }),
        (requests_ids(), vec((any::<u16>(), told), 0..4))
            .prop_map(|(request, shards)| Message::Followed(Followed { request, shards })),
    ]
}
