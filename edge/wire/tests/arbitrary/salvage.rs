//! What is said about a disk that does not come back.

use model::{DiskId, Salvage, Salvaged};
use node::{Message, Recognise, Recognised, Recognition};
use proptest::option;
use proptest::prelude::*;

use super::{addresses, any_objects, dot_sets, keys, names, nodes, receipts, requests_ids, times};

pub(super) fn salvages() -> impl Strategy<Value = Salvage> {
    let place = (names(), names(), keys(), any::<u16>());
    let disk = (nodes(), any::<u128>().prop_map(DiskId::new));
    (place, disk, any_objects(), times()).prop_map(
        |((keyspace, table, key, shard), (node, disk), found, timeout)| Salvage {
            keyspace,
            table,
            key,
            shard,
            node,
            disk,
            found,
            timeout,
        },
    )
}

pub(super) fn salvaged() -> impl Strategy<Value = Salvaged> {
    (dot_sets(), dot_sets(), dot_sets(), option::of(receipts())).prop_map(
        |(unheard, twins, recovered, receipt)| Salvaged { unheard, twins, recovered, receipt },
    )
}

pub(super) fn recognitions() -> impl Strategy<Value = Message> {
    let recognise =
        (requests_ids(), addresses(), dot_sets()).prop_map(|(request, address, dots)| {
            Message::Recognise(Recognise { request, address, dots })
        });
    let found = (dot_sets(), any_objects(), any::<bool>())
        .prop_map(|(unheard, held, forgets)| Recognition { unheard, held, forgets });
    let recognised = (requests_ids(), option::of(found))
        .prop_map(|(request, found)| Message::Recognised(Recognised { request, found }));
    prop_oneof![recognise, recognised]
}
