use causality::Incarnation;
use model::Value;

use super::*;
use crate::oracle::Outcome;

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);

fn dot(seq: u64) -> Dot {
    Dot::new(Incarnation::new(0xa), seq)
}

/// A write that both nodes acknowledged, the first of them from its disk.
fn acknowledged() -> Write {
    let ack = Ack::of_replica;
    Write {
        spot: 0,
        at: N1,
        value: None,
        context: DotSet::new(),
        marks: Default::default(),
        token: None,
        repeated: false,
        family: None,
        begun: 10,
        ended: 20,
        outcome: Outcome::Acked,
        dot: Some(dot(2)),
        acks: vec![ack(N1, true), ack(N2, false)],
    }
}

fn keepers(losses: &Losses, begun: u64) -> Vec<NodeId> {
    losses.keepers(&acknowledged(), begun).collect()
}

fn has(object: &DotSet) -> Has {
    Has { object: object.clone(), clock: object.clone() }
}

#[test]
fn power_takes_what_was_not_synced_and_leaves_the_rest() {
    let mut losses = Losses::default();
    losses.unsynced_lost(N2, 0, &[dot(1)].into_iter().collect());
    assert_eq!(keepers(&losses, 40), [N1, N2], "that was another write");
    let both = [dot(1), dot(2)].into_iter().collect();
    losses.unsynced_lost(N1, 0, &both);
    losses.unsynced_lost(N2, 0, &both);
    assert_eq!(keepers(&losses, 40), [N1], "what was durable must not be lost with it");
}

#[test]
fn what_a_disk_has_again_is_lost_no_more() {
    let mut losses = Losses::default();
    let both = [dot(1), dot(2)].into_iter().collect();
    losses.unsynced_lost(N2, 0, &both);
    losses.regain(N2, 0, &both, 50);
    assert_eq!(keepers(&losses, 49), [N1], "the read may have come before");
    assert_eq!(keepers(&losses, 51), [N1, N2]);
}

#[test]
fn what_came_back_was_not_there_for_those_who_had_asked_before() {
    let mut losses = Losses::default();
    let (both, none) = ([dot(1), dot(2)].into_iter().collect(), DotSet::new());
    losses.replaced(N1, 0, &both, &has(&none), 30);
    assert!(losses.has_lost(N1, 0, dot(2)));
    losses.replaced(N1, 0, &none, &has(&both), 50);
    assert!(!losses.has_lost(N1, 0, dot(2)));
    assert_eq!(keepers(&losses, 49), [N2]);
    assert_eq!(keepers(&losses, 51), [N1, N2]);
}

#[test]
fn what_a_later_write_brought_to_a_new_disk_was_not_there_before_it_either() {
    let mut losses = Losses::default();
    let (both, none) = ([dot(1), dot(2)].into_iter().collect(), DotSet::new());
    losses.replaced(N1, 0, &both, &has(&none), 30);
    losses.replaced(N1, 0, &both, &has(&both), 50);
    assert_eq!(keepers(&losses, 49), [N2]);
    assert_eq!(keepers(&losses, 51), [N1, N2]);
}

#[test]
fn what_a_guest_has_lost_is_no_loss_of_another_guest_and_none_any_more_once_it_is_back() {
    let mut losses = Losses::default();
    let both = [dot(1), dot(2)].into_iter().collect();
    losses.hint_lost((N1, N2), 0, &both);
    assert!(losses.has_lost_hint((N1, N2), 0, dot(2)));
    assert!(!losses.has_lost_hint((N2, N1), 0, dot(2)), "that is another guest");
    assert!(!losses.has_lost_hint((N1, N2), 1, dot(2)), "that is another key");
    assert!(!losses.has_lost(N2, 0, dot(2)), "its replica has lost nothing");
    losses.hint_regained((N1, N2), 0, &[dot(2)].into_iter().collect());
    assert!(losses.has_lost_hint((N1, N2), 0, dot(1)));
    assert!(!losses.has_lost_hint((N1, N2), 0, dot(2)));
}

#[test]
fn a_lost_record_takes_one_copy_and_leaves_the_knowledge_of_it() {
    let (mut losses, write) = (Losses::default(), acknowledged());
    let value = Value { content_type: "".into(), body: "milk".into() };
    let object = Object::written(dot(2), [dot(1)].into_iter().collect(), value);
    losses.record_lost(N1, 0, &object, None, 30);
    assert_eq!(keepers(&losses, 40), [N2]);
    assert_eq!(losses.witnesses(&write, dot(1), 40).collect::<Vec<_>>(), [N1, N2]);
    assert!(losses.was_superseded(N1, 0, dot(1)));
    assert!(!losses.was_superseded(N1, 0, dot(2)), "it was held");
    assert!(!losses.has_lost(N1, 1, dot(2)), "under another key nothing is lost");
}

#[test]
fn a_record_that_turned_old_excuses_the_values_that_it_brings_back_and_no_others() {
    let (mut losses, write) = (Losses::default(), acknowledged());
    let value = || Value { content_type: "".into(), body: "milk".into() };
    let older = Object::written(dot(1), DotSet::new(), value());
    let object = Object::written(dot(2), [dot(1)].into_iter().collect(), value());
    losses.record_lost(N1, 0, &object, Some(&older), 30);
    let witnesses = |value| losses.witnesses(&write, value, 40).collect::<Vec<_>>();
    assert_eq!(witnesses(dot(1)), [N2]);
    assert_eq!(witnesses(dot(9)), [N1, N2]);
}
