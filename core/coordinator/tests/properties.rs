//! The state machines under events in any order, with repetition and from strangers.

use std::collections::{BTreeMap, BTreeSet};

use coordinator::{
    Digest, Get, GetEffect, GetEvent, Guests, Put, PutEffect, PutEvent, Want, guests_of,
};
use coordinator::{List, ListEffect, ListEvent, Page};
use lattice::Max;
use model::{Ack, Name, Need, NodeId, ReadNeed, Voter, WriteNeed};
use proptest::prelude::*;

fn replicas(n: u16) -> Vec<NodeId> {
    (1..=n).map(NodeId::new).collect()
}

/// So many of n replicas.
fn some(n: u16, at_least: u8) -> Need {
    let here = Name::new("here").expect("a name");
    let voter = |node| Voter { node, region: here.clone(), zone: here.clone(), votes: 1 };
    let voters: Vec<Voter> = replicas(n).into_iter().map(voter).collect();
    Need::default().and_votes(&voters, at_least.into())
}

/// Up to twenty events, some of them of nodes that are no replicas.
fn events() -> impl Strategy<Value = Vec<(u8, NodeId, u8)>> {
    let event = (0..16_u8, (1..=6_u16).prop_map(NodeId::new), 0..8_u8);
    proptest::collection::vec(event, 0..20)
}

fn put_event((kind, node, _): (u8, NodeId, u8)) -> PutEvent {
    match kind {
        0 => PutEvent::Deadline,
        1..=4 => PutEvent::Failed(node),
        5..=8 => PutEvent::Merged { node, durable: false },
        _ => PutEvent::Merged { node, durable: true },
    }
}

/// What each replica said first, up to the deadline: a vote is not taken back.
fn votes(events: &[PutEvent], n: u16) -> BTreeMap<NodeId, Option<bool>> {
    let mut first = BTreeMap::new();
    for event in events {
        let (node, vote) = match *event {
            PutEvent::Deadline => break,
            PutEvent::Slow => continue,
            PutEvent::Failed(node) => (node, None),
            PutEvent::Merged { node, durable } => (node, Some(durable)),
        };
        if node.number() <= n {
            first.entry(node).or_insert(vote);
        }
    }
    first
}

fn digest(max: &Max<u8>) -> Digest {
    Digest(u64::from(max.0))
}

fn get_event((kind, node, held): (u8, NodeId, u8)) -> GetEvent<Max<u8>> {
    match kind {
        0 => GetEvent::Deadline,
        1 if held % 2 == 0 => GetEvent::Hedge,
        1 => GetEvent::Slow,
        2..=4 => GetEvent::Failed(node),
        5..=9 => GetEvent::Digested(node, digest(&Max(held))),
        _ => GetEvent::Fetched(node, Max(held)),
    }
}

proptest! {
    #[test]
    fn a_put_answers_once_and_only_what_its_replicas_said(
        n in 1..=5_u16, w in 1..=5_u8, dw in 0..=5_u8, events in events(),
    ) {
        prop_assume!(u16::from(w) <= n && dw <= w);
        let events: Vec<PutEvent> = events.into_iter().map(put_event).collect();
        let mut out = Vec::new();
        let need = WriteNeed { acks: some(n, w), disks: some(n, dw), ..WriteNeed::default() };
        let mut put = Put::start(&replicas(n), Guests::default(), need, &mut out);
        prop_assert_eq!(out.len(), usize::from(n));
        let mut answers = 0;
        for (at, event) in events.iter().enumerate() {
            out.clear();
            let was_done = put.is_done();
            put.step(*event, &mut out);
            prop_assert!(!was_done || out.is_empty(), "an effect after the answer");
            if was_done {
                continue;
            }
            let votes = votes(&events[..=at], n);
            let said: Vec<Ack> = votes.iter()
                .filter_map(|(&node, vote)| vote.map(|durable| Ack::of_replica(node, durable)))
                .collect();
            let disks = said.iter().filter(|ack| ack.durable).count();
            let is_met = usize::from(w) <= said.len() && usize::from(dw) <= disks;
            for effect in &out {
                answers += 1;
                match effect {
                    PutEffect::Met(acks) => prop_assert!(is_met && *acks == said),
                    PutEffect::Unmet(acks) => prop_assert!(!is_met && *acks == said),
                    PutEffect::Merge(_) => prop_assert!(false, "sent twice"),
                    PutEffect::Stand { .. } => prop_assert!(false, "there are no guests"),
                }
            }
            prop_assert!(put.is_done() || !is_met, "met, and not answered");
            let is_over = *event == PutEvent::Deadline || votes.len() == usize::from(n);
            prop_assert!(put.is_done() || !is_over, "over, and not answered");
            prop_assert_eq!(put.is_done(), answers == 1);
        }
    }

    #[test]
    fn guests_cast_each_vote_once_and_only_in_the_place_of_one_replica(
        n in 1..=3_u16, w in 1..=3_u8, pw in 0..=3_u8, events in events(),
    ) {
        prop_assume!(u16::from(w) <= n && u16::from(pw) <= n);
        let (mut out, all) = (Vec::new(), replicas(6));
        let (replicas, others) = all.split_at(n.into());
        let need = WriteNeed { acks: some(n, w), primaries: some(n, pw), ..WriteNeed::default() };
        let mut put = Put::start(replicas, guests_of(replicas, others), need, &mut out);
        let (mut stands, mut said) = (BTreeMap::new(), BTreeSet::new());
        for (kind, node, more) in events {
            let event = if kind == 0 && 0 < more {
                PutEvent::Slow
            } else {
                put_event((kind, node, more))
            };
            if let PutEvent::Merged { node, .. } = event
                && (replicas.contains(&node) || stands.contains_key(&node))
            {
                said.insert(node);
            }
            out.clear();
            put.step(event, &mut out);
            for effect in &out {
                match effect {
                    PutEffect::Stand { guest, replica } => {
                        prop_assert!(others.contains(guest) && replicas.contains(replica));
                        prop_assert_eq!(stands.insert(*guest, *replica), None, "two places");
                    }
                    PutEffect::Met(acks) => {
                        let voters: BTreeSet<NodeId> = acks.iter().map(Ack::voter).collect();
                        let primaries = acks.iter().filter(|ack| ack.is_primary()).count();
                        prop_assert!(usize::from(w) <= voters.len());
                        prop_assert!(usize::from(pw) <= primaries);
                        for ack in acks {
                            prop_assert!(said.contains(&ack.node));
                            prop_assert_eq!(ack.stands_for, stands.get(&ack.node).copied());
                        }
                    }
                    PutEffect::Unmet(_) | PutEffect::Merge(_) => {}
                }
            }
        }
    }

    #[test]
    fn a_get_answers_once_the_merge_of_what_enough_replicas_hold_and_then_repairs(
        n in 1..=5_u16, r in 1..=5_u8, events in events(),
    ) {
        prop_assume!(u16::from(r) <= n);
        let mut out = Vec::new();
        let need = ReadNeed { answers: some(n, r), ..ReadNeed::default() };
        let mut get = Get::start(&replicas(n), Guests::default(), need, digest, &mut out);
        let mut asked: BTreeSet<NodeId> = BTreeSet::new();
        let mut heard: BTreeMap<NodeId, BTreeSet<u64>> = BTreeMap::new();
        let (mut answers, mut is_ended) = (0, false);
        for event in [None].into_iter().chain(events.into_iter().map(Some)) {
            let was_done = get.is_done();
            if let Some(event) = event.map(get_event) {
                match &event {
                    GetEvent::Fetched(node, max) if asked.contains(node) => {
                        heard.entry(*node).or_default().insert(digest(max).0);
                    }
                    GetEvent::Digested(node, digest) if asked.contains(node) => {
                        heard.entry(*node).or_default().insert(digest.0);
                    }
                    GetEvent::Deadline => is_ended = true,
                    GetEvent::Fetched(..) | GetEvent::Digested(..) => {}
                    GetEvent::Failed(_) | GetEvent::Hedge | GetEvent::Slow => {}
                    GetEvent::CaughtUp | GetEvent::Known { .. } | GetEvent::Repaired(_) | GetEvent::NotRepaired(_) => {}
                }
                get.step(event, &mut out);
            }
            prop_assert!(!was_done || out.is_empty(), "an effect after the end");
            for effect in out.drain(..) {
                match effect {
                    GetEffect::Fetch(node, want) => {
                        prop_assert!(node.number() <= n && !is_ended);
                        prop_assert!(asked.insert(node) || want == Want::Full, "asked twice");
                    }
                    GetEffect::Met(max, acks) => {
                        answers += 1;
                        let nodes: Vec<NodeId> = acks.iter().map(|ack| ack.node).collect();
                        prop_assert!(usize::from(r) <= nodes.len());
                        prop_assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), nodes.len());
                        for node in nodes {
                            let least = heard.get(&node).and_then(|held| held.first()).copied();
                            prop_assert!(least.unwrap() <= digest(&max).0, "{} left out", node);
                        }
                    }
                    GetEffect::Unmet(nodes) => {
                        answers += 1;
                        prop_assert!(nodes.len() < usize::from(r));
                    }
                    GetEffect::Settle(_) | GetEffect::Unsettled(_) => {
                        prop_assert!(false, "it is not monotonic");
                    }
                    GetEffect::Merge(node, max) => {
                        prop_assert!(get.is_answered() && get.is_done());
                        prop_assert!(heard[&node].first().unwrap() < &digest(&max).0);
                    }
                }
            }
            prop_assert!(answers <= 1);
            prop_assert_eq!(get.is_answered(), answers == 1);
            prop_assert!(!is_ended || get.is_done());
        }
    }

    #[test]
    fn a_page_is_answered_once_and_by_enough_replicas(
        n in 1..=5_u16, r in 1..=5_u8, events in events(),
    ) {
        prop_assume!(u16::from(r) <= n);
        let mut out = Vec::new();
        let mut list = List::start(&replicas(n), some(n, r), &mut out);
        let mut scanned: BTreeMap<NodeId, BTreeSet<u8>> = BTreeMap::new();
        let mut answers = 0;
        for (kind, node, held) in events {
            out.clear();
            let was_done = list.is_done();
            list.step(match kind {
                0 => ListEvent::Deadline,
                1 => ListEvent::Slow,
                2..=5 => ListEvent::Failed(node),
                _ => {
                    scanned.entry(node).or_default().insert(held);
                    ListEvent::Scanned(node, Page { objects: vec![(0, Max(held))], more: false })
                }
            }, &mut out);
            prop_assert!(!was_done || out.is_empty(), "an effect after the answer");
            for effect in &out {
                match effect {
                    ListEffect::Met(page, nodes) => {
                        answers += 1;
                        prop_assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), nodes.len());
                        prop_assert!(usize::from(r) <= nodes.len());
                        for node in nodes {
                            let least = *scanned[node].first().unwrap();
                            prop_assert!(least <= page.objects[0].1.0, "{} left out", node);
                        }
                    }
                    ListEffect::Unmet(nodes) => {
                        answers += 1;
                        prop_assert!(nodes.len() < usize::from(r));
                    }
                    ListEffect::Scan(node) => prop_assert!(node.number() <= n),
                    ListEffect::Merge(..) => {}
                }
            }
            prop_assert_eq!(list.is_done(), answers == 1);
        }
    }
}
