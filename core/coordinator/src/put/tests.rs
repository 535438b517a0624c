use PutEvent::{Deadline, Failed, Merged, Slow};

use super::*;
use crate::guests::guests_of;
use crate::script::{check, votes};

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);
const N3: NodeId = NodeId::new(3);
const N4: NodeId = NodeId::new(4);
const N5: NodeId = NodeId::new(5);

fn merged(node: NodeId) -> PutEvent {
    Merged { node, durable: true }
}

fn run(need: WriteNeed, events: &[PutEvent]) -> Vec<String> {
    run_with(&[], need, events)
}

fn run_with(guests: &[NodeId], need: WriteNeed, events: &[PutEvent]) -> Vec<String> {
    let mut out = Vec::new();
    let replicas = [N1, N2, N3];
    let mut put = Put::start(&replicas, guests_of(&replicas, guests), need, &mut out);
    let mut lines = vec![format!("start:{}", show(&mut out))];
    for event in events {
        put.step(*event, &mut out);
        let event = match event {
            Merged { node, durable: true } => format!("merged {node}"),
            Merged { node, durable: false } => format!("buffered {node}"),
            Failed(node) => format!("failed {node}"),
            Slow => "slow".into(),
            Deadline => "deadline".into(),
        };
        lines.push(format!("{event}:{}", show(&mut out)));
    }
    lines
}

fn show(out: &mut Vec<PutEffect>) -> String {
    let nodes = |acks: &[Ack]| {
        acks.iter().map(|ack| format!(" {}{}", ack.node, place(ack))).collect::<String>()
    };
    let line = |effect: PutEffect| match effect {
        PutEffect::Merge(node) => format!(" merge {node}"),
        PutEffect::Stand { guest, replica } => format!(" stand {guest} for {replica}"),
        PutEffect::Met(acks) => format!(" met by{}", nodes(&acks)),
        PutEffect::Unmet(acks) => format!(" unmet, only{}", nodes(&acks)),
    };
    out.drain(..).map(line).collect()
}

fn place(ack: &Ack) -> String {
    ack.stands_for.map_or(String::new(), |replica| format!("({replica})"))
}

fn w(w: u16) -> WriteNeed {
    WriteNeed { acks: votes(&[(N1, 1), (N2, 1), (N3, 1)], w), ..WriteNeed::default() }
}

#[test]
fn put_goes_to_all_replicas_and_answers_once_at_w() {
    check(
        &run(w(2), &[merged(N3), merged(N1), merged(N2)]),
        "
        start: merge n1 merge n2 merge n3
        merged n3:
        merged n1: met by n1 n3
        merged n2:
        ",
    );
}

#[test]
fn put_counts_no_replica_twice_and_no_stranger() {
    let stranger = merged(NodeId::new(9));
    check(
        &run(w(2), &[merged(N1), merged(N1), stranger, merged(N2)]),
        "
        start: merge n1 merge n2 merge n3
        merged n1:
        merged n1:
        merged n9:
        merged n2: met by n1 n2
        ",
    );
}

#[test]
fn put_gives_up_as_soon_as_too_few_are_left() {
    check(
        &run(w(2), &[merged(N1), Failed(N2), Failed(N3)]),
        "
        start: merge n1 merge n2 merge n3
        merged n1:
        failed n2:
        failed n3: unmet, only n1
        ",
    );
}

#[test]
fn put_tells_at_the_deadline_who_has_it() {
    check(
        &run(w(3), &[merged(N2), Deadline, merged(N1)]),
        "
        start: merge n1 merge n2 merge n3
        merged n2:
        deadline: unmet, only n2
        merged n1:
        ",
    );
}

#[test]
fn put_waits_for_disks_beyond_the_acknowledgements() {
    let need = WriteNeed { disks: w(2).acks, ..w(2) };
    let buffered = |node| Merged { node, durable: false };
    check(
        &run(need.clone(), &[buffered(N1), merged(N2), merged(N3)]),
        "
        start: merge n1 merge n2 merge n3
        buffered n1:
        merged n2:
        merged n3: met by n1 n2 n3
        ",
    );
    check(
        &run(need, &[buffered(N1), buffered(N2)]),
        "
        start: merge n1 merge n2 merge n3
        buffered n1:
        buffered n2: unmet, only n1 n2
        ",
    );
}
#[test]
fn put_waits_for_votes_and_gives_up_without_the_one_that_has_them() {
    let acks = votes(&[(N1, 3), (N2, 1), (N3, 1)], 3);
    let need = WriteNeed { acks, ..WriteNeed::default() };
    check(
        &run(need.clone(), &[merged(N2), merged(N1)]),
        "
        start: merge n1 merge n2 merge n3
        merged n2:
        merged n1: met by n1 n2
        ",
    );
    check(
        &run(need, &[merged(N2), Failed(N1)]),
        "
        start: merge n1 merge n2 merge n3
        merged n2:
        failed n1: unmet, only n2
        ",
    );
}

#[test]
fn a_guest_counts_for_the_replica_it_stands_in_for() {
    check(
        &run_with(&[N4, N5], w(2), &[Failed(N2), merged(N4), merged(N1)]),
        "
        start: merge n1 merge n2 merge n3
        failed n2: stand n4 for n2
        merged n4:
        merged n1: met by n1 n4(n2)
        ",
    );
}

#[test]
fn a_guest_that_fails_is_replaced_and_without_another_the_replica_is_given_up() {
    check(
        &run_with(&[N4, N5], w(2), &[Failed(N2), Failed(N4), Failed(N3), Failed(N5), merged(N1)]),
        "
        start: merge n1 merge n2 merge n3
        failed n2: stand n4 for n2
        failed n4: stand n5 for n2
        failed n3:
        failed n5: unmet, only
        merged n1:
        ",
    );
}

#[test]
fn a_replica_that_is_late_counts_itself_and_its_guest_adds_nothing() {
    check(
        &run_with(&[N4, N5], w(2), &[merged(N1), Slow, Slow, Failed(N5), Failed(N3)]),
        "
        start: merge n1 merge n2 merge n3
        merged n1:
        slow: stand n4 for n2 stand n5 for n3
        slow:
        failed n5:
        failed n3:
        ",
    );
    check(
        &run_with(&[N4, N5], w(3), &[Slow, merged(N2), merged(N4), merged(N5), merged(N1)]),
        "
        start: merge n1 merge n2 merge n3
        slow: stand n4 for n1 stand n5 for n2
        merged n2:
        merged n4:
        merged n5:
        merged n1:
        ",
    );
}

#[test]
fn a_guest_that_says_nothing_is_joined_by_another_and_they_are_one_vote() {
    const N6: NodeId = NodeId::new(6);
    check(
        &run_with(
            &[N4, N5, N6],
            w(3),
            &[Failed(N2), merged(N1), Slow, Slow, merged(N6), merged(N4), merged(N5)],
        ),
        "
        start: merge n1 merge n2 merge n3
        failed n2: stand n4 for n2
        merged n1:
        slow: stand n5 for n3 stand n6 for n2
        slow:
        merged n6:
        merged n4:
        merged n5: met by n1 n5(n3) n6(n2)
        ",
    );
}

#[test]
fn a_guest_does_not_count_where_replicas_are_asked_for() {
    let need = WriteNeed { primaries: w(2).acks, ..w(2) };
    check(
        &run_with(&[N4, N5], need, &[Failed(N2), merged(N4), merged(N1), Failed(N3)]),
        "
        start: merge n1 merge n2 merge n3
        failed n2: stand n4 for n2
        merged n4:
        merged n1:
        failed n3: stand n5 for n3 unmet, only n1 n4(n2)
        ",
    );
}

#[test]
fn a_guest_whose_disk_has_it_counts_for_dw() {
    let need = WriteNeed { disks: w(2).acks, ..w(2) };
    check(
        &run_with(&[N4], need, &[Failed(N2), Failed(N3), merged(N1), merged(N4)]),
        "
        start: merge n1 merge n2 merge n3
        failed n2: stand n4 for n2
        failed n3:
        merged n1:
        merged n4: met by n1 n4(n2)
        ",
    );
}
