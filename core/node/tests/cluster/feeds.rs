//! Watching a table.

use super::harness::*;
use model::{Position, Watch, Watched};

/// Four nodes, and a table of eight shards with three replicas each.
fn watched_cluster(retention: Duration) -> Cluster {
    let mut cluster = Cluster::new(4);
    let limits = Limits { changes_retention: retention, ..limits() };
    (1..=4).for_each(|id| cluster.limit(id, limits));
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    cluster.ask(1, Request::Declare(table(Durability::Synced)));
    cluster
}

const LONG: Duration = Duration::from_secs(600);

fn watch(since: &Position, limit: usize, wait: Duration) -> Request {
    let (since, timeout) = (since.clone(), wait + Duration::from_secs(5));
    Request::Watch(Watch { keyspace: name("ks"), table: name("t"), since, limit, wait, timeout })
}

fn page(cluster: &mut Cluster, at: u16, since: &Position, limit: usize) -> Watched {
    match cluster.ask(at, watch(since, limit, Duration::ZERO)) {
        Reply::Watched(watched) => watched,
        other => panic!("{other:?}"),
    }
}

/// A program that watches: what it was told last of each key, and all that it was told.
#[derive(Default)]
struct Watcher {
    position: Position,
    last: BTreeMap<Key, Object>,
    told: Vec<(String, Vec<String>)>,
}

impl Watcher {
    fn from(position: Position) -> Self {
        Self { position, ..Self::default() }
    }

    /// Takes pages at a node until nothing more comes.
    fn follow(&mut self, cluster: &mut Cluster, at: u16, limit: usize) {
        loop {
            let watched = page(cluster, at, &self.position, limit);
            self.position = watched.position;
            let is_reading = self.position.reading.is_some();
            if watched.changes.is_empty() && watched.rewound == 0 && !is_reading {
                return;
            }
            for changed in watched.changes {
                let key = String::from_utf8_lossy(changed.key.partition()).into_owned();
                self.told.push((key, texts(&changed.object)));
                self.last.insert(changed.key, changed.object);
            }
        }
    }

    fn keys(&self) -> Vec<&str> {
        self.told.iter().map(|(key, _)| key.as_str()).collect()
    }

    /// Whether it knows what the replicas hold.
    fn knows_all(&self, cluster: &mut Cluster) {
        for (key, object) in &self.last {
            let partition = String::from_utf8_lossy(key.partition()).into_owned();
            assert_eq!(*object, cluster.get(1, &partition, Level::All).object, "{partition}");
        }
    }
}

fn write(cluster: &mut Cluster, at: u16, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| drop(cluster.put(at, &format!("k{number}"), "v", &none())));
}

#[test]
fn changes_of_all_shards_are_told_once_wherever_they_are_asked_for() {
    let mut cluster = watched_cluster(LONG);
    write(&mut cluster, 1, 0..10);
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 4, 100);
    assert!(watcher.told.is_empty(), "what was there before is no change");
    write(&mut cluster, 2, 5..40);
    watcher.follow(&mut cluster, 4, 3);
    let mut keys = watcher.keys();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), watcher.told.len()), (35, 35));
    watcher.follow(&mut cluster, 1, 100);
    assert_eq!(watcher.told.len(), 35, "another node tells nothing twice");
    watcher.knows_all(&mut cluster);
}

#[test]
fn a_key_that_changes_often_is_told_as_it_is_and_a_deleted_one_as_deleted() {
    let mut cluster = watched_cluster(LONG);
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 1, 100);
    let mut context = none();
    for number in 0..20 {
        context = cluster.put(1, "k", &number.to_string(), &context).context;
    }
    watcher.follow(&mut cluster, 2, 1);
    assert_eq!(watcher.told, [("k".to_owned(), vec!["19".to_owned()])]);
    let delete = mutate(key("k", ""), Mutation::Delete, &context, WriteOptions::default());
    assert!(matches!(cluster.ask(1, delete), Reply::Written(_)));
    watcher.follow(&mut cluster, 3, 1);
    assert_eq!(watcher.told.last(), Some(&("k".to_owned(), vec![])));
    watcher.knows_all(&mut cluster);
}

#[test]
fn an_old_position_is_gone_on_from_as_long_as_the_lines_are_there() {
    let mut cluster = watched_cluster(Duration::from_secs(60));
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 1, 100);
    let old = watcher.position.clone();
    write(&mut cluster, 1, 0..20);
    cluster.wait(30_000);
    let mut again = Watcher::from(old.clone());
    again.follow(&mut cluster, 3, 100);
    assert_eq!(again.told.len(), 20, "settled, and remembered");
    cluster.wait(50_000);
    let reply = cluster.ask(3, watch(&old, 100, Duration::ZERO));
    let expired = Reply::Failed(Failure::Refused(Refusal::CursorExpired { shard: 0 }));
    let is_expired = |reply: &Reply| {
        matches!(reply, Reply::Failed(Failure::Refused(Refusal::CursorExpired { .. })))
    };
    assert!(is_expired(&expired) && is_expired(&reply), "{reply:?}");
    // Who has been told goes on, and so does who begins now.
    again.follow(&mut cluster, 3, 100);
    write(&mut cluster, 1, 20..22);
    again.follow(&mut cluster, 2, 100);
    assert_eq!(again.told.len(), 22);
    let lines = |cluster: &Cluster, at| cluster.nodes[&NodeId::new(at)].1.log.len();
    assert!((1..=4).map(|at| lines(&cluster, at)).sum::<usize>() <= 6, "the rest is forgotten");
}

#[test]
fn nothing_is_remembered_for_watchers_where_the_retention_is_none() {
    let mut cluster = watched_cluster(Duration::ZERO);
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 1, 100);
    write(&mut cluster, 1, 0..5);
    cluster.wait(5_000);
    let reply = cluster.ask(1, watch(&watcher.position, 100, Duration::ZERO));
    let Reply::Failed(Failure::Refused(Refusal::CursorExpired { .. })) = reply else {
        panic!("{reply:?}")
    };
}

#[test]
fn everything_that_there_is_comes_before_what_changes() {
    let mut cluster = watched_cluster(Duration::from_secs(10));
    write(&mut cluster, 1, 0..40);
    let context = cluster.get(1, "k7", Level::All).object.context().clone();
    let delete = mutate(key("k7", ""), Mutation::Delete, &context, WriteOptions::default());
    assert!(matches!(cluster.ask(1, delete), Reply::Written(_)));
    cluster.wait(30_000);
    let mut watcher = Watcher::from(Position::beginning());
    let begun = page(&mut cluster, 1, &watcher.position, 100);
    assert!(begun.changes.is_empty() && begun.position.followed.len() == 8, "only a position");
    // While it is read, some that were read change, and some that were not.
    for (at, number) in (1..=4).cycle().zip(0..12) {
        let watched = page(&mut cluster, at, &watcher.position, 3);
        watcher.position = watched.position;
        for changed in watched.changes {
            watcher.told.push((String::new(), texts(&changed.object)));
            watcher.last.insert(changed.key, changed.object);
        }
        let name = format!("k{}", number * 3);
        let context = cluster.get(1, &name, Level::All).object.context().clone();
        cluster.put(2, &name, "changed", &context);
    }
    watcher.follow(&mut cluster, 3, 5);
    assert_eq!(watcher.position.reading, None);
    assert_eq!(watcher.last.len(), 39, "what is deleted is not there");
    watcher.knows_all(&mut cluster);
}

/// Who knows more than his position says hears of what was deleted since, also where it was not read
/// again.
#[test]
fn a_program_that_reads_again_from_an_older_position_is_told_what_was_deleted() {
    let mut cluster = watched_cluster(LONG);
    write(&mut cluster, 1, 0..20);
    let begun = page(&mut cluster, 1, &Position::beginning(), 100).position;
    let mut watcher = Watcher::from(begun.clone());
    watcher.follow(&mut cluster, 1, 100);
    assert_eq!(watcher.last.len(), 20);
    let context = cluster.get(1, "k7", Level::All).object.context().clone();
    let delete = mutate(key("k7", ""), Mutation::Delete, &context, WriteOptions::default());
    assert!(matches!(cluster.ask(1, delete), Reply::Written(_)));
    watcher.position = begun;
    watcher.follow(&mut cluster, 3, 2);
    watcher.knows_all(&mut cluster);
}

#[test]
fn nobody_begins_to_watch_while_a_shard_does_not_answer() {
    let mut cluster = watched_cluster(LONG);
    (1..=3).for_each(|node| cluster.stop(node));
    for position in [Position::default(), Position::beginning()] {
        let reply = cluster.ask(4, watch(&position, 100, Duration::ZERO));
        assert!(matches!(reply, Reply::Failed(Failure::NotAttempted { .. })), "{reply:?}");
    }
}

#[test]
fn a_watcher_that_waits_is_told_as_soon_as_something_changes() {
    let mut cluster = watched_cluster(LONG);
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 4, 100);
    let wait = Duration::from_secs(20);
    let ticket = cluster.begin(4, watch(&watcher.position, 100, wait));
    cluster.wait(7_000);
    assert!(!cluster.answers.contains_key(&ticket));
    cluster.put(1, "k", "v", &none());
    cluster.wait(200);
    let Some(Reply::Watched(watched)) = cluster.answers.remove(&ticket) else { panic!() };
    assert_eq!(watched.changes.len(), 1);
    // And if nothing does, it is told so.
    let ticket = cluster.begin(4, watch(&watched.position, 100, wait));
    cluster.wait(19_000);
    assert!(!cluster.answers.contains_key(&ticket));
    cluster.wait(2_000);
    let Some(Reply::Watched(idle)) = cluster.answers.remove(&ticket) else { panic!() };
    assert_eq!((idle.changes.len(), idle.silent), (0, 0));
    assert_eq!(idle.position, watched.position);
}

#[test]
fn when_a_replica_dies_another_goes_on_and_nothing_is_missed() {
    let mut cluster = watched_cluster(LONG);
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 4, 100);
    let ticket = cluster.begin(4, watch(&watcher.position, 100, Duration::from_secs(20)));
    cluster.stop(1);
    write(&mut cluster, 2, 0..30);
    cluster.wait(1_000);
    let Some(Reply::Watched(watched)) = cluster.answers.remove(&ticket) else { panic!() };
    assert!(!watched.changes.is_empty());
    watcher.follow(&mut cluster, 4, 100);
    assert_eq!(watcher.told.len(), 30);
    assert_eq!(page(&mut cluster, 4, &watcher.position, 9).silent, 0);
}

#[test]
fn shards_of_which_nobody_answers_are_counted_and_stand_still() {
    let mut cluster = watched_cluster(LONG);
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 4, 100);
    (1..=3).for_each(|node| cluster.stop(node));
    let watched = page(&mut cluster, 4, &watcher.position, 100);
    assert!(0 < watched.silent && watched.silent < 8, "{}", watched.silent);
    assert_eq!(watched.position, watcher.position);
}

/// One shard at three nodes. The first has written and told what the others have not heard of.
fn told_by_the_dead() -> (Cluster, Watcher, Written) {
    let mut cluster = Cluster::with_limits(3, Limits { changes_retention: LONG, ..limits() });
    let first = cluster.put(1, "k", "first", &none());
    cluster.wait(2_000);
    let mut watcher = Watcher::from(Position::beginning());
    cluster.holds = |from, to, message| {
        from != to && from == NodeId::new(1) && matches!(message, Message::Merge(_))
    };
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    let Reply::Written(second) = cluster.ask(1, put("k", "second", &first.context, one)) else {
        panic!()
    };
    watcher.follow(&mut cluster, 1, 100);
    assert_eq!(watcher.told, [("k".to_owned(), vec!["second".to_owned()])]);
    cluster.stop(1);
    (cluster, watcher, second)
}

#[test]
fn a_position_is_taken_back_when_nobody_has_what_was_told_and_the_answer_says_so() {
    let (mut cluster, mut watcher, _) = told_by_the_dead();
    cluster.put(2, "k", "aside", &none());
    let ticket = cluster.begin(2, watch(&watcher.position, 100, Duration::ZERO));
    cluster.wait(1_500);
    assert!(!cluster.answers.contains_key(&ticket), "it may still come");
    cluster.wait(3_500);
    let Some(Reply::Watched(watched)) = cluster.answers.remove(&ticket) else { panic!() };
    assert_eq!(watched.rewound, 1);
    assert_eq!(texts(&watched.changes[0].object), ["first", "aside"], "older than what was told");
    watcher.position = watched.position;
    // When it is there again, it is told again, and the watcher ends with what there is.
    cluster.down.clear();
    cluster.inputs.append(&mut cluster.held.clone());
    cluster.settle();
    cluster.wait(5_000);
    watcher.follow(&mut cluster, 2, 100);
    assert_eq!(watcher.told.last().map(|(_, texts)| texts.len()), Some(2));
    watcher.knows_all(&mut cluster);
}

#[test]
fn a_replica_that_is_behind_waits_for_what_was_told_and_shows_nothing_older() {
    let (mut cluster, watcher, _) = told_by_the_dead();
    cluster.put(2, "k", "aside", &none());
    let ticket = cluster.begin(2, watch(&watcher.position, 100, Duration::ZERO));
    cluster.wait(1_000);
    cluster.inputs.append(&mut cluster.held.clone());
    cluster.settle();
    cluster.wait(200);
    let Some(Reply::Watched(watched)) = cluster.answers.remove(&ticket) else { panic!() };
    assert_eq!(watched.rewound, 0);
    assert_eq!(texts(&watched.changes[0].object), ["second", "aside"]);
}

#[test]
fn what_was_told_with_a_dot_that_is_forgotten_counts_as_told_and_nothing_older_is_shown() {
    let mut cluster = Cluster::with_limits(3, Limits { changes_retention: LONG, ..limits() });
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 1, 100);
    let first = cluster.put(1, "k", "first", &none());
    let options = WriteOptions::default();
    let delete = mutate(key("k", ""), Mutation::Delete, &first.context, options);
    assert!(matches!(cluster.ask(1, delete), Reply::Written(_)));
    cluster.wait(5_000);
    cluster.holds = |from, to, message| from != to && matches!(message, Message::Merge(_));
    let one = WriteOptions { w: Some(Level::One), ..options };
    assert!(matches!(cluster.ask(1, put("k", "second", &none(), one)), Reply::Written(_)));
    // The first line of the log is that of a write which is forgotten.
    let told = page(&mut cluster, 1, &watcher.position, 1);
    assert_eq!(texts(&told.changes[0].object), ["second"]);
    cluster.stop(1);
    let ticket = cluster.begin(2, watch(&told.position, 100, Duration::ZERO));
    cluster.wait(5_000);
    let Some(Reply::Watched(older)) = cluster.answers.remove(&ticket) else { panic!() };
    assert_eq!(older.rewound, 1, "{older:?}");
}

#[test]
fn what_is_forgotten_was_deleted_and_a_lost_record_was_not() {
    let mut cluster = Cluster::with_limits(3, Limits { changes_retention: LONG, ..limits() });
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 1, 100);
    cluster.put(1, "lost", "v", &none());
    let first = cluster.put(1, "deleted", "v", &none());
    let delete =
        mutate(key("deleted", ""), Mutation::Delete, &first.context, WriteOptions::default());
    assert!(matches!(cluster.ask(1, delete), Reply::Written(_)));
    cluster.wait(5_000);
    let (_, disk) = cluster.nodes.get_mut(&NodeId::new(1)).unwrap();
    assert_eq!(disk.objects.len(), 1, "the tombstone is forgotten");
    disk.objects.clear();
    watcher.follow(&mut cluster, 1, 100);
    assert_eq!(watcher.told, [("deleted".to_owned(), vec![])]);
    assert!(watcher.last.values().all(Object::is_bottom));
    cluster.get(1, "lost", Level::All);
    cluster.wait(1_000);
    watcher.follow(&mut cluster, 1, 100);
    assert_eq!(watcher.keys(), ["deleted", "lost"], "it is there again");
    assert_eq!(texts(&watcher.last[&key("lost", "")]), ["v"]);
}

#[test]
fn other_tables_of_the_keyspace_are_passed_over() {
    let mut cluster = watched_cluster(LONG);
    let other = declared("u", Durability::Synced, Level::Quorum, Level::Quorum, Voting::default());
    cluster.ask(1, Request::Declare(other));
    let mut watcher = Watcher::default();
    watcher.follow(&mut cluster, 1, 100);
    for number in 0..700 {
        let Request::Put(asked) = put(&format!("k{number}"), "v", &none(), Default::default())
        else {
            panic!()
        };
        cluster.ask(1, Request::Put(Put { table: name("u"), ..asked }));
    }
    write(&mut cluster, 1, 0..3);
    watcher.follow(&mut cluster, 2, 100);
    let mut keys = watcher.keys();
    keys.sort_unstable();
    assert_eq!(keys, ["k0", "k1", "k2"]);
}

#[test]
fn a_full_log_forgets_what_is_kept_for_watchers_before_what_a_replica_lacks() {
    let limits = Limits { changes_retention: LONG, log_entries_max: 5, ..limits() };
    let mut cluster = Cluster::with_limits(3, limits);
    write(&mut cluster, 1, 0..10);
    cluster.wait(3_000);
    assert_eq!(cluster.nodes[&NodeId::new(1)].1.log.len(), 5);
    cluster.stop(3);
    write(&mut cluster, 1, 10..15);
    cluster.wait(3_000);
    assert_eq!(cluster.nodes[&NodeId::new(1)].1.log.len(), 5);
    assert!(cluster.nodes[&NodeId::new(1)].1.marks.is_empty(), "it lacks no line");
}

#[test]
fn a_replica_whose_record_turned_old_shows_watchers_nothing_that_is_forgotten() {
    for from_the_log in [false, true] {
        let mut cluster = watched_cluster(Duration::from_secs(if from_the_log { 600 } else { 1 }));
        let began = cluster.ask(3, watch(&Position::beginning(), 100, Duration::ZERO));
        let Reply::Watched(began) = began else { panic!("{began:?}") };
        let written = cluster.put(1, "k", "tea", &none());
        cluster.wait(3_000);
        let n3 = NodeId::new(3);
        let old = cluster.nodes[&n3].1.objects.clone();
        let options = WriteOptions::default();
        let delete = mutate(key("k", ""), Mutation::Delete, &written.context, options);
        assert!(matches!(cluster.ask(1, delete), Reply::Written(_)));
        cluster.wait(20_000);
        assert_eq!(cluster.nodes[&n3].0.status(cluster.now).forgetting.dots, 2);
        assert_eq!(cluster.nodes[&n3].1.objects.len(), 0);
        cluster.nodes.get_mut(&n3).unwrap().1.objects.extend(old);
        let mut since = if from_the_log { began.position } else { Position::beginning() };
        let mut told = 0;
        for asked in 0..8 {
            if asked == 4 {
                // Who reads the record meets it, and what it lacks is brought.
                assert!(cluster.get(3, "k", Level::One).object.values().is_empty());
                cluster.wait(20_000);
                assert!(cluster.nodes[&n3].1.objects.is_empty());
            }
            let answer = cluster.ask(3, watch(&since, 100, Duration::ZERO));
            let Reply::Watched(watched) = answer else { panic!("{answer:?}") };
            for change in &watched.changes {
                assert!(change.object.values().is_empty(), "{change:?}");
            }
            told += watched.changes.len();
            since = watched.position;
        }
        assert_eq!(told, usize::from(from_the_log), "the delete is told to who had not seen it");
    }
}
