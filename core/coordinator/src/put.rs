//! One write on its way to its replicas.

use lattice::Change;
use model::{Ack, NodeId, WriteNeed};
use mutant::{Mutant, is};

/// What happened to a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PutEvent {
    /// A replica has merged it, and says whether it is on disk there.
    Merged {
        /// Which.
        node: NodeId,
        /// Whether it is on disk there.
        durable: bool,
    },
    /// A replica could not merge it, or cannot be reached any more.
    Failed(NodeId),
    /// The client waits no longer.
    Deadline,
}

/// What a write wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PutEffect {
    /// Send it to this replica.
    Merge(NodeId),
    /// Answer: enough replicas have it.
    Met(Vec<Ack>),
    /// Answer: too few replicas said that they have it. These did; nothing was undone.
    Unmet(Vec<Ack>),
}

/// One write, until its client is answered.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Put {
    need: WriteNeed,
    /// Replicas that may still answer, by node.
    waiting: Vec<NodeId>,
    /// Replicas that have it, by node.
    acks: Vec<Ack>,
    is_done: bool,
}

impl Put {
    /// Sends a write to all its replicas.
    pub fn start(replicas: &[NodeId], need: WriteNeed, out: &mut Vec<PutEffect>) -> Self {
        out.extend(replicas.iter().map(|node| PutEffect::Merge(*node)));
        let mut waiting = replicas.to_vec();
        waiting.sort_unstable();
        Self { need, waiting, acks: Vec::with_capacity(replicas.len()), is_done: false }
    }

    /// Whom it waits for.
    pub fn need(&self) -> &WriteNeed {
        &self.need
    }

    /// Whether the client has been answered, and nothing remains to be done.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes in what happened.
    pub fn step(&mut self, event: PutEvent, out: &mut Vec<PutEffect>) {
        if self.is_done {
            return;
        }
        match event {
            PutEvent::Merged { node, durable } => self.merged(node, durable),
            PutEvent::Failed(node) if is(Mutant::FailureCounts) => self.merged(node, true),
            PutEvent::Failed(node) => {
                let _ = self.hear(node);
            }
            PutEvent::Deadline => self.waiting.clear(),
        }
        self.answer(out);
    }

    /// A replica that was not asked, or has answered, has no second vote.
    fn merged(&mut self, node: NodeId, durable: bool) {
        let durable = durable || is(Mutant::BufferedCountsAsDurable);
        if self.hear(node) == Change::Grew {
            self.add(Ack { node, durable });
        } else if is(Mutant::DoubledAckCounts)
            && let Some(other) = self.waiting.first().copied()
        {
            let _ = self.hear(other);
            self.add(Ack { node: other, durable });
        }
    }

    /// Waits no longer for a replica.
    fn hear(&mut self, node: NodeId) -> Change {
        let Ok(index) = self.waiting.binary_search(&node) else { return Change::Unchanged };
        self.waiting.remove(index);
        Change::Grew
    }

    fn add(&mut self, ack: Ack) {
        let index = self.acks.partition_point(|other| other.node < ack.node);
        self.acks.insert(index, ack);
    }

    fn answer(&mut self, out: &mut Vec<PutEffect>) {
        if self.is_met() {
            out.push(PutEffect::Met(self.acks.clone()));
            self.is_done = true;
        } else if !self.can_be_met() {
            out.push(PutEffect::Unmet(self.acks.clone()));
            self.is_done = true;
        }
    }

    fn is_met(&self) -> bool {
        let acked = self.need.acks.is_met(|node| self.has(node))
            || (is(Mutant::PutAnswersEarly) && self.lacks_one());
        acked && self.need.disks.is_met(|node| self.has_on_disk(node))
    }

    fn has(&self, node: NodeId) -> bool {
        self.acks.iter().any(|ack| ack.node == node)
    }

    fn has_on_disk(&self, node: NodeId) -> bool {
        self.acks.iter().any(|ack| ack.node == node && ack.durable)
    }

    /// Whether the acknowledgement of one more replica would be enough.
    fn lacks_one(&self) -> bool {
        let with = |one: NodeId| self.need.acks.is_met(|node| node == one || self.has(node));
        self.waiting.iter().any(|one| with(*one))
    }

    fn can_be_met(&self) -> bool {
        let may_ack = |node: NodeId| self.waiting.contains(&node) || self.has(node);
        let may_sync = |node: NodeId| self.waiting.contains(&node) || self.has_on_disk(node);
        self.need.acks.is_met(may_ack) && self.need.disks.is_met(may_sync)
    }
}

#[cfg(test)]
mod tests {
    use PutEvent::{Deadline, Failed, Merged};

    use model::Need;

    use super::*;
    use crate::script::{check, votes};

    const N1: NodeId = NodeId::new(1);
    const N2: NodeId = NodeId::new(2);
    const N3: NodeId = NodeId::new(3);

    fn merged(node: NodeId) -> PutEvent {
        Merged { node, durable: true }
    }

    fn run(need: WriteNeed, events: &[PutEvent]) -> Vec<String> {
        let mut out = Vec::new();
        let mut put = Put::start(&[N1, N2, N3], need, &mut out);
        let mut lines = vec![format!("start:{}", show(&mut out))];
        for event in events {
            put.step(*event, &mut out);
            let event = match event {
                Merged { node, durable: true } => format!("merged {node}"),
                Merged { node, durable: false } => format!("buffered {node}"),
                Failed(node) => format!("failed {node}"),
                Deadline => "deadline".into(),
            };
            lines.push(format!("{event}:{}", show(&mut out)));
        }
        lines
    }

    fn show(out: &mut Vec<PutEffect>) -> String {
        let nodes =
            |acks: &[Ack]| acks.iter().map(|ack| format!(" {}", ack.node)).collect::<String>();
        let line = |effect: PutEffect| match effect {
            PutEffect::Merge(node) => format!(" merge {node}"),
            PutEffect::Met(acks) => format!(" met by{}", nodes(&acks)),
            PutEffect::Unmet(acks) => format!(" unmet, only{}", nodes(&acks)),
        };
        out.drain(..).map(line).collect()
    }

    fn w(w: u16) -> WriteNeed {
        WriteNeed { acks: votes(&[(N1, 1), (N2, 1), (N3, 1)], w), disks: Need::default() }
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
        let need = WriteNeed { acks, disks: Need::default() };
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
}
