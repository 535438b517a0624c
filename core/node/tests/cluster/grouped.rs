//! Many shards, and one question.

use crate::harness::*;

/// Two replicas of eight shards, of which the second was away for 200 keys, and is back.
fn missed() -> Cluster {
    let mut cluster = Cluster::with_table(2, 2);
    cluster.wait(3_000);
    cluster.stop(2);
    for number in 0..200 {
        cluster.write_alone(&format!("k{number}"), "v");
    }
    // Clients are gone: nothing is held back for them.
    cluster.wait(3_000);
    assert_eq!(objects(&cluster, 2).len(), 0);
    cluster
}

impl Cluster {
    /// Only the first node has to have it.
    fn write_alone(&mut self, key: &str, text: &str) {
        let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
        assert!(matches!(self.ask(1, put(key, text, &none(), one)), Reply::Written(_)));
    }

    /// Sends what was held on its way, as a program of before would have said it if `is_old`.
    fn let_go(&mut self, is_old: bool) -> Vec<Message> {
        let mut sent = Vec::new();
        for (to, mut input) in std::mem::take(&mut self.held) {
            if let Input::Received { message, .. } = &mut input {
                if let Message::Clocks(clocks) = message {
                    clocks.hears_others &= !is_old;
                }
                sent.push(message.clone());
            }
            self.inputs.push_back((to, input));
        }
        self.settle();
        sent
    }
}

fn objects(cluster: &Cluster, node: u16) -> &BTreeMap<(ShardId, TableId, Key), Object> {
    &cluster.nodes.get(&NodeId::new(node)).unwrap().1.objects
}

/// Brings the second up to date. Returns for each question how many shards it was about, and for
/// each answer of how many.
fn catch_up(cluster: &mut Cluster, is_old: bool) -> (Vec<usize>, Vec<usize>) {
    cluster.holds =
        |_, _, message| matches!(message, Message::Clocks(_) | Message::Lack(_) | Message::Sent(_));
    cluster.come_back(2);
    let mut sent = Vec::new();
    for _ in 0..30 {
        cluster.wait(100);
        sent.extend(cluster.let_go(is_old));
    }
    assert_eq!(objects(cluster, 1), objects(cluster, 2));
    let asked = sent.iter().filter_map(|message| match message {
        Message::Lack(lack) => Some(1 + lack.others.len()),
        _ => None,
    });
    let answered = sent.iter().filter_map(|message| match message {
        Message::Sent(sent) => Some(1 + sent.others.len()),
        _ => None,
    });
    (asked.collect(), answered.collect())
}

#[test]
fn what_is_missing_in_many_shards_is_asked_for_and_comes_in_one_message() {
    let (asked, answered) = catch_up(&mut missed(), false);
    assert_eq!((asked, answered), (vec![8], vec![8]));
}

/// A program of before would answer for the first one only.
#[test]
fn who_does_not_understand_it_is_asked_for_each_shard() {
    let (asked, answered) = catch_up(&mut missed(), true);
    assert_eq!((asked, answered), (vec![1; 8], vec![1; 8]));
}

/// Where a shard goes on is said for each, and what is asked again is asked together.
#[test]
fn more_than_is_sent_at_once_comes_piece_by_piece_of_all_shards() {
    let mut cluster = missed();
    for number in 0..2_000 {
        cluster.write_alone(&format!("more{number}"), "v");
    }
    cluster.wait(3_000);
    let (asked, answered) = catch_up(&mut cluster, false);
    assert!(asked.len() > 1 && asked.len() < 8, "{asked:?}");
    assert_eq!(asked, answered);
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again() {
    let mut cluster = missed();
    cluster.holds = |_, _, message| matches!(message, Message::Sent(_));
    cluster.come_back(2);
    cluster.wait(3_000);
    let lost = std::mem::take(&mut cluster.held);
    assert!(!lost.is_empty() && objects(&cluster, 2).is_empty());
    cluster.holds = |_, _, _| false;
    cluster.wait(3_000);
    assert_eq!(objects(&cluster, 1), objects(&cluster, 2));
    // What comes late, and twice, finds nobody waiting, and changes nothing.
    cluster.inputs.extend(lost.clone());
    cluster.inputs.extend(lost);
    cluster.settle();
    assert_eq!(objects(&cluster, 1), objects(&cluster, 2));
}
