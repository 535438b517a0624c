//! Reads, by scripts of events.

use GetEvent::{
    CaughtUp, Deadline, Digested, Failed, Fetched, Hedge, Known, NotRepaired, Repaired, Slow,
};
use lattice::Max;

use super::*;
use crate::guests::guests_of;
use crate::script::{check, votes};

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);
const N3: NodeId = NodeId::new(3);

fn run(need: u16, events: &[GetEvent<Max<u64>>]) -> Vec<String> {
    run_for(votes(&[(N1, 1), (N2, 1), (N3, 1)], need), &[], events)
}

fn run_all(events: &[GetEvent<Max<u64>>]) -> Vec<String> {
    let (mut out, digest) = (Vec::new(), |max: &Max<u64>| Digest(max.0));
    let get = Get::ask_all(&[N1, N2], vec![N3], digest, &mut out);
    run_on(get, out, events)
}

fn run_for(answers: Need, guests: &[NodeId], events: &[GetEvent<Max<u64>>]) -> Vec<String> {
    let mut out = Vec::new();
    let (replicas, need) = ([N1, N2, N3], ReadNeed { answers, ..ReadNeed::default() });
    let (guests, digest) = (guests_of(&replicas, guests), |max: &Max<u64>| Digest(max.0));
    let get = Get::start(&replicas, guests, need, digest, &mut out);
    run_on(get, out, events)
}

/// A monotonic read at two of three.
fn run_monotonic(events: &[GetEvent<Max<u64>>]) -> Vec<String> {
    let (mut out, digest) = (Vec::new(), |max: &Max<u64>| Digest(max.0));
    let (replicas, two) = ([N1, N2, N3], votes(&[(N1, 1), (N2, 1), (N3, 1)], 2));
    let need = ReadNeed { answers: two.clone(), ..ReadNeed::default() };
    let get = Get::start(&replicas, guests_of(&replicas, &[]), need, digest, &mut out);
    let get = get.settled_at(Need::default().and_meets([two]), &replicas);
    run_on(get, out, events)
}

fn known(have: &[NodeId], away: &[NodeId]) -> GetEvent<Max<u64>> {
    Known { have: have.to_vec(), away: away.to_vec() }
}

fn run_on(
    mut get: Get<Max<u64>>,
    mut out: Vec<GetEffect<Max<u64>>>,
    events: &[GetEvent<Max<u64>>],
) -> Vec<String> {
    let mut lines = vec![format!("start:{}", show(&mut out))];
    for event in events {
        get.step(event.clone(), &mut out);
        let event = match event {
            Fetched(node, max) => format!("fetched {node} {}", max.0),
            Digested(node, digest) => format!("digested {node} {}", digest.0),
            Failed(node) => format!("failed {node}"),
            CaughtUp => "caught up".into(),
            Known { have, away } => format!("known {have:?} away {away:?}"),
            Repaired(node) => format!("repaired {node}"),
            NotRepaired(node) => format!("not repaired {node}"),
            Hedge => "hedge".into(),
            Slow => "slow".into(),
            Deadline => "deadline".into(),
        };
        let done = if get.is_done() { " done" } else { "" };
        lines.push(format!("{event}:{}{done}", show(&mut out)));
    }
    lines
}

fn show(out: &mut Vec<GetEffect<Max<u64>>>) -> String {
    let place = |ack: &Ack| match ack.stands_for {
        Some(replica) => format!(" {}({replica})", ack.node),
        None => format!(" {}", ack.node),
    };
    let nodes = |acks: &[Ack]| acks.iter().map(place).collect::<String>();
    let line = |effect: GetEffect<Max<u64>>| match effect {
        GetEffect::Fetch(node, Want::Full) => format!(" fetch {node}"),
        GetEffect::Fetch(node, Want::Digest) => format!(" digest {node}"),
        GetEffect::Met(max, by) => format!(" answer {} by{}", max.0, nodes(&by)),
        GetEffect::Settle(max) => format!(" settle {}", max.0),
        GetEffect::Unsettled(by) => format!(" unsettled, only{}", nodes(&by)),
        GetEffect::Unmet(by) => format!(" unmet, only{}", nodes(&by)),
        GetEffect::Merge(node, max) => format!(" merge {node} {}", max.0),
    };
    out.drain(..).map(line).collect()
}

#[test]
fn get_answers_from_one_object_and_a_digest_that_agrees() {
    check(
        &run(2, &[Digested(N2, Digest(7)), Fetched(N1, Max(7))]),
        "
        start: fetch n1 digest n2
        digested n2 7:
        fetched n1 7: answer 7 by n1 n2 done
        ",
    );
}

#[test]
fn get_fetches_what_differs_answers_the_merge_and_repairs_the_one_behind() {
    check(
        &run(2, &[Fetched(N1, Max(7)), Digested(N2, Digest(9)), Fetched(N2, Max(9))]),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        digested n2 9: fetch n2
        fetched n2 9: answer 9 by n1 n2 merge n1 9 done
        ",
    );
}

#[test]
fn get_asks_a_spare_when_a_replica_fails() {
    check(
        &run(2, &[Fetched(N1, Max(7)), Failed(N2), Fetched(N3, Max(7))]),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        failed n2: fetch n3
        fetched n3 7: answer 7 by n1 n3 done
        ",
    );
}

#[test]
fn get_that_takes_longer_than_usual_asks_one_more_whoever_is_late() {
    check(
        &run(2, &[Digested(N2, Digest(7)), Hedge, Hedge, Fetched(N3, Max(7))]),
        "
        start: fetch n1 digest n2
        digested n2 7:
        hedge: fetch n3
        hedge:
        fetched n3 7: answer 7 by n2 n3
        ",
    );
    check(
        &run(2, &[Fetched(N1, Max(7)), Hedge, Fetched(N3, Max(7)), Hedge]),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        hedge: fetch n3
        fetched n3 7: answer 7 by n1 n3
        hedge:
        ",
    );
}

#[test]
fn get_that_is_slow_asks_everybody_and_still_repairs_late_answers() {
    check(
        &run(
            2,
            &[
                Digested(N2, Digest(7)),
                Slow,
                Fetched(N2, Max(7)),
                Fetched(N3, Max(8)),
                Fetched(N1, Max(9)),
            ],
        ),
        "
        start: fetch n1 digest n2
        digested n2 7:
        slow: fetch n3 fetch n2
        fetched n2 7:
        fetched n3 8: answer 8 by n2 n3
        fetched n1 9: merge n2 9 merge n3 9 done
        ",
    );
}

#[test]
fn get_gives_up_when_too_few_replicas_are_able() {
    check(
        &run(2, &[Fetched(N1, Max(7)), Failed(N2), Failed(N3)]),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        failed n2: fetch n3
        failed n3: unmet, only n1 done
        ",
    );
}

#[test]
fn get_counts_no_replica_twice() {
    check(
        &run(2, &[Fetched(N1, Max(7)), Fetched(N1, Max(7)), Fetched(N3, Max(7)), Deadline]),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        fetched n1 7:
        fetched n3 7:
        deadline: unmet, only n1 done
        ",
    );
}

#[test]
fn get_of_one_asks_one() {
    check(
        &run(1, &[Fetched(N1, Max(0))]),
        "
        start: fetch n1
        fetched n1 0: answer 0 by n1 done
        ",
    );
}

#[test]
fn get_of_all_answers_when_all_are_heard_and_repairs_replicas_only() {
    check(
        &run_all(&[Fetched(N1, Max(7)), Hedge, Fetched(N3, Max(8)), Slow, Fetched(N2, Max(9))]),
        "
        start: fetch n1 fetch n2 fetch n3
        fetched n1 7:
        hedge:
        fetched n3 8:
        slow:
        fetched n2 9: answer 9 by n1 n2 merge n1 9 done
        ",
    );
}

#[test]
fn get_of_all_makes_do_with_those_who_answer_in_time() {
    check(
        &run_all(&[Fetched(N2, Max(7)), Failed(N1), Deadline]),
        "
        start: fetch n1 fetch n2 fetch n3
        fetched n2 7:
        failed n1:
        deadline: answer 7 by n2 done
        ",
    );
    check(
        &run_all(&[Failed(N1), Failed(N2), Failed(N3)]),
        "
        start: fetch n1 fetch n2 fetch n3
        failed n1:
        failed n2:
        failed n3: unmet, only done
        ",
    );
}

#[test]
fn get_asks_those_whose_votes_it_lacks_and_passes_over_the_others() {
    let far_first = votes(&[(N2, 1), (N3, 1)], 1);
    check(
        &run_for(far_first.clone(), &[], &[Failed(N2), Fetched(N3, Max(1))]),
        "
        start: fetch n2
        failed n2: fetch n3
        fetched n3 1: answer 1 by n3 done
        ",
    );
    check(
        &run_for(far_first, &[], &[Failed(N2), Failed(N3)]),
        "
        start: fetch n2
        failed n2: fetch n3
        failed n3: unmet, only done
        ",
    );
}

#[test]
fn a_guest_is_asked_when_too_few_replicas_are_left_and_is_not_repaired() {
    let need = votes(&[(N1, 1), (N2, 1), (N3, 1)], 2);
    let (n4, n5) = (NodeId::new(4), NodeId::new(5));
    check(
        &run_for(
            need,
            &[n4, n5],
            &[Failed(N3), Fetched(N1, Max(7)), Failed(N2), Failed(n4), Fetched(n5, Max(0))],
        ),
        "
        start: fetch n1 digest n2
        failed n3:
        fetched n1 7:
        failed n2: fetch n4
        failed n4: fetch n5
        fetched n5 0: answer 7 by n1 n5(n2) done
        ",
    );
}

#[test]
fn what_a_guest_keeps_is_in_the_answer_and_repairs_the_replicas() {
    let need = votes(&[(N1, 1), (N2, 1), (N3, 1)], 2);
    let n4 = NodeId::new(4);
    check(
        &run_for(need, &[n4], &[Failed(N2), Failed(N3), Fetched(n4, Max(9)), Fetched(N1, Max(7))]),
        "
        start: fetch n1 digest n2
        failed n2: fetch n3
        failed n3: fetch n4
        fetched n4 9:
        fetched n1 7: answer 9 by n1 n4(n2) merge n1 9 done
        ",
    );
}

#[test]
fn a_monotonic_read_answers_at_once_where_replicas_agree() {
    check(
        &run_monotonic(&[Fetched(N1, Max(7)), Digested(N2, Digest(7))]),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        digested n2 7: answer 7 by n1 n2 done
        ",
    );
}

#[test]
fn a_monotonic_read_brings_what_it_found_to_enough_replicas_before_it_answers() {
    check(
        &run_monotonic(&[
            Fetched(N1, Max(7)),
            Digested(N2, Digest(5)),
            Fetched(N2, Max(5)),
            known(&[], &[]),
            Repaired(N2),
        ]),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        digested n2 5: fetch n2
        fetched n2 5: settle 7
        known [] away []: merge n2 7
        repaired n2: answer 7 by n1 n2 done
        ",
    );
}

#[test]
fn a_monotonic_read_sends_nothing_where_clocks_say_that_others_have_it() {
    check(
        &run_monotonic(&[Fetched(N1, Max(7)), Fetched(N2, Max(5)), known(&[N3], &[])]),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        fetched n2 5: settle 7
        known [n3] away []: answer 7 by n1 n2 merge n2 7 done
        ",
    );
}

#[test]
fn a_monotonic_read_asks_another_when_one_does_not_take_it_and_all_when_it_takes_long() {
    let begin = [Fetched(N1, Max(7)), Fetched(N2, Max(5))];
    let rest = [known(&[], &[]), NotRepaired(N2), Repaired(N3)];
    check(
        &run_monotonic(&[&begin[..], &rest].concat()),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        fetched n2 5: settle 7
        known [] away []: merge n2 7
        not repaired n2: merge n3 7
        repaired n3: answer 7 by n1 n2 merge n2 7 done
        ",
    );
    let rest = [known(&[], &[]), Slow, Repaired(N3)];
    check(
        &run_monotonic(&[&begin[..], &rest].concat()),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        fetched n2 5: settle 7
        known [] away []: merge n2 7
        slow: merge n3 7
        repaired n3: answer 7 by n1 n2 done
        ",
    );
}

#[test]
fn a_monotonic_read_that_cannot_bring_it_to_enough_says_so() {
    let begin = [Fetched(N1, Max(7)), Fetched(N2, Max(5))];
    check(
        &run_monotonic(&[&begin[..], &[known(&[], &[N3]), Failed(N2)]].concat()),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        fetched n2 5: settle 7
        known [] away [n3]: merge n2 7
        failed n2: unsettled, only n1 n2 merge n2 7 done
        ",
    );
    check(
        &run_monotonic(&[&begin[..], &[known(&[], &[]), Deadline]].concat()),
        "
        start: fetch n1 digest n2
        fetched n1 7:
        fetched n2 5: settle 7
        known [] away []: merge n2 7
        deadline: unsettled, only n1 n2 done
        ",
    );
}

#[test]
fn a_read_of_a_session_asks_everybody_until_nothing_is_missing() {
    let (mut out, digest) = (Vec::new(), |max: &Max<u64>| Digest(max.0));
    let (replicas, one) = ([N1, N2, N3], votes(&[(N1, 1), (N2, 1), (N3, 1)], 1));
    let need = ReadNeed { answers: one, ..ReadNeed::default() };
    let get = Get::start(&replicas, guests_of(&replicas, &[]), need, digest, &mut out);
    check(
        &run_on(
            get.of_session(),
            out,
            &[Fetched(N1, Max(5)), Fetched(N2, Max(7)), CaughtUp, Fetched(N3, Max(7))],
        ),
        "
        start: fetch n1
        fetched n1 5: fetch n2 fetch n3
        fetched n2 7:
        caught up: answer 7 by n1 n2
        fetched n3 7: merge n1 7 done
        ",
    );
}
