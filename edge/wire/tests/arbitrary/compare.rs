//! What replicas say of their trees, whatever it is.

use antientropy::{
    Answer, Answers, Ask, Digest, KeyRange, Listing, Parts, Questions, Width, Within,
};
use node::{Bring, Compare, Compared, Examine, Examined, Leaves, Message, Place, Spared};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{addresses, any_objects, requests_ids, shards};

fn places() -> impl Strategy<Value = Place> {
    addresses().prop_map(Place)
}

prop_compose! {
    fn parts()((level, cuts) in any::<(u8, u64)>(), sums in vec(any::<u64>(), 0..5)) -> Parts {
        Parts { level, cuts, sums }
    }
}

/// Fingerprints, with a width that they have room in.
fn prints() -> impl Strategy<Value = (Width, Vec<u64>)> {
    prop_oneof![
        vec(any::<u16>().prop_map(u64::from), 0..5).prop_map(|prints| (Width::Short, prints)),
        vec(any::<u64>(), 0..5).prop_map(|prints| (Width::Long, prints)),
    ]
}

prop_compose! {
    fn listings()(to in option::of(places()), sum in any::<u64>(), (_, fingerprints) in prints())
        -> Listing<Place>
    {
        Listing { to, sum, fingerprints }
    }
}

fn asks() -> impl Strategy<Value = (KeyRange<Place>, Ask)> {
    let ask = prop_oneof![
        parts().prop_map(Ask::Compare),
        any::<(bool, Option<u64>)>()
            .prop_map(|(long, sum)| Ask::List(if long { Width::Long } else { Width::Short }, sum)),
        prints().prop_map(|(width, prints)| Ask::Name(width, prints)),
    ];
    (option::of(places()), option::of(places()), ask)
        .prop_map(|(from, to, ask)| (KeyRange { from, to }, ask))
}

fn answers() -> impl Strategy<Value = Answer<Place>> {
    let within = prop_oneof![
        parts().prop_map(Within::Parts),
        listings().prop_map(Within::Leaf),
        (places(), any::<(u64, u64)>()).prop_map(|(key, (sum, digest))| Within::Lacked {
            sum,
            key,
            digest: Digest(digest),
        }),
    ];
    let items = vec((places(), any::<u64>().prop_map(Digest)), 0..4);
    prop_oneof![
        vec((any::<u16>(), within), 0..4).prop_map(Answer::Compared),
        (any::<u8>(), vec(places(), 0..4), vec(any::<u64>(), 0..4))
            .prop_map(|(level, at, sums)| Answer::Cut { level, at, sums }),
        listings().prop_map(Answer::Listed),
        (any::<u64>(), items).prop_map(|(sum, items)| Answer::Named { sum, items }),
    ]
}

pub(crate) fn comparisons() -> impl Strategy<Value = Message> {
    let questions = (any::<(u64, u64, bool)>(), vec(asks(), 0..4)).prop_map(
        |((salt, round, hears_lacked), asks)| Questions { salt, round, hears_lacked, asks },
    );
    let told = (any::<u64>(), vec(answers(), 0..4))
        .prop_map(|(round, answers)| Answers { round, answers });
    prop_oneof![
        (requests_ids(), shards(), questions).prop_map(|(request, shard, questions)| {
            Message::Compare(Compare { request, shard, questions })
        }),
        (requests_ids(), option::of(told))
            .prop_map(|(request, answers)| Message::Compared(Compared { request, answers })),
        (requests_ids(), shards(), vec((addresses(), any_objects()), 0..4), any::<bool>())
            .prop_map(|(request, shard, wanted, is_told)| {
                let (addresses, objects): (_, Vec<_>) = wanted.into_iter().unzip();
                let bones = objects.into_iter().filter(|_| is_told).collect();
                Message::Bring(Bring { request, shard, addresses, bones })
            }),
        (requests_ids(), vec(any::<u32>(), 0..4))
            .prop_map(|(request, numbers)| Message::Spared(Spared { request, numbers })),
        (requests_ids(), shards(), option::of(addresses()), option::of(addresses())).prop_map(
            |(request, shard, from, to)| {
                let range = KeyRange { from: from.map(Place), to: to.map(Place) };
                Message::Examine(Examine { request, shard, range })
            }
        ),
        (requests_ids(), option::of((option::of(addresses()), any::<(u64, u64)>()))).prop_map(
            |(request, leaves)| {
                let leaves = leaves.map(|(next, (keys, bytes))| Leaves {
                    next: next.map(Place),
                    keys,
                    bytes,
                });
                Message::Examined(Examined { request, leaves })
            }
        ),
    ]
}
