use causality::{Dot, DotSet, Incarnation, Run};
use model::{Key, KeyspaceId, TableId, Value};
use replica::{Page, PageNeed, Span, Store};

use node::Disk;

use super::*;

const SHARD: ShardId = ShardId { keyspace: KeyspaceId::new(1), index: 0 };
const ME: Incarnation = Incarnation::new(7);

fn place(sort: &str) -> Place {
    let key = Key::new("p".into(), sort.to_string().into()).unwrap();
    (SHARD, Address { table: TableId::new(1), key })
}

fn write(disk: &mut SimDisk, sort: &str, seq: u64) {
    let value = Value { content_type: "".into(), body: "v".into() };
    let object = Object::written(Dot::new(ME, seq), DotSet::new(), value);
    let run = Run { incarnation: ME, first: 1, last: seq };
    let address = place(sort).1;
    let news = [Dot::new(ME, seq)].into_iter().collect();
    let clock = vec![(ME, vec![run])];
    disk.commit(Change { shard: SHARD, address, object, clock, news, sum: None });
}

/// A disk with one write that is synced, one committed, one in flight and one staged.
fn disk() -> SimDisk {
    let mut disk = SimDisk::default();
    write(&mut disk, "synced", 1);
    disk.begin();
    disk.finish_commit();
    write(&mut disk, "committed", 2);
    disk.begin();
    disk.finish_sync();
    disk.finish_commit();
    write(&mut disk, "flying", 3);
    assert_eq!(disk.begin(), [Work::Commit, Work::LazySync]);
    write(&mut disk, "staged", 4);
    disk
}

fn left(crash: Crash) -> Vec<String> {
    left_by(&[crash], false)
}

/// What is left of that disk after crashes, where a process starts between them or not.
fn left_by(crashes: &[Crash], starts: bool) -> Vec<String> {
    let mut disk = disk();
    for (index, crash) in crashes.iter().enumerate() {
        if starts && 0 < index {
            disk.open();
        }
        disk.crash(*crash);
    }
    let left: Vec<_> = disk
        .view
        .objects
        .keys()
        .map(|(_, address)| String::from_utf8(address.key.sort().to_vec()).unwrap())
        .collect();
    let clock = disk.view.clocks().remove(&SHARD).unwrap();
    assert_eq!(clock.len(), left.len() as u64, "the clock says exactly what is there");
    left
}

#[test]
fn a_crash_loses_what_had_not_come_far_enough() {
    assert_eq!(left(Crash::Kill { flying: true }), ["committed", "flying", "synced"]);
    assert_eq!(left(Crash::Kill { flying: false }), ["committed", "synced"]);
    assert_eq!(left(Crash::Power { lost: 0 }), ["committed", "synced"]);
    assert_eq!(left(Crash::Power { lost: 9 }), ["synced"]);
}

#[test]
fn what_a_killed_process_leaves_is_synced_by_the_next_one_and_not_before() {
    let kill = Crash::Kill { flying: true };
    let power = Crash::Power { lost: 1 };
    assert_eq!(left_by(&[kill, power], false), ["committed", "synced"], "nobody has synced it");
    assert_eq!(left_by(&[kill, kill, power], false), ["committed", "synced"]);
    assert_eq!(left_by(&[kill, power], true), ["committed", "flying", "synced"]);
    let failed = Crash::SyncFailed { lost: 0 };
    assert_eq!(left_by(&[failed, Crash::Power { lost: 9 }], false), ["synced"]);
}

#[test]
fn a_crash_tells_what_had_been_handed_over_and_is_gone() {
    let gone = |crash| {
        let mut disk = disk();
        let gone = disk.crash(crash);
        gone.into_iter().map(|(place, dots)| (place, dots.len())).collect::<Vec<_>>()
    };
    assert_eq!(gone(Crash::Power { lost: 9 }), [(place("committed"), 1)]);
    assert_eq!(gone(Crash::Kill { flying: false }), [], "it was in flight, or not even that");
}

#[test]
fn promises_wait_for_the_group_they_speak_of() {
    let mut disk = SimDisk::default();
    let probe = || Message::Probe { catalog_version: 0, deaf: false, disk: None };
    let to = NodeId::new(1);
    assert!(disk.hold(After::Synced, to, probe()).is_some(), "nothing is staged");
    write(&mut disk, "a", 1);
    disk.begin();
    write(&mut disk, "b", 2);
    assert!(disk.hold(After::Now, to, probe()).is_some());
    assert!(disk.hold(After::Committed, to, probe()).is_none());
    assert!(disk.hold(After::Synced, to, probe()).is_none());
    disk.finish_commit();
    assert!(disk.release().is_empty(), "only the group of a is committed");
    disk.begin();
    disk.finish_sync();
    disk.finish_commit();
    assert_eq!(disk.release().len(), 1);
    disk.begin();
    disk.finish_sync();
    assert_eq!(disk.release().len(), 1);
}

#[test]
fn a_scan_goes_on_where_the_last_page_ended() {
    let mut disk = disk();
    let mut span = Span { partition: Some("p".into()), after: None };
    let mut seen = Vec::new();
    loop {
        let need = PageNeed { objects_max: 3, bytes_max: 1000 };
        let page = disk.scan(SHARD, TableId::new(1), &span, need).unwrap();
        seen.extend(page.objects.iter().map(|(key, _)| key.sort().clone()));
        span.after = page.objects.last().map(|(key, _)| key.clone());
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, ["committed", "flying", "staged", "synced"]);
    write(&mut disk, "z", 5);
    let other = Span { partition: Some("q".into()), after: None };
    let need = PageNeed { objects_max: 3, bytes_max: 1000 };
    assert_eq!(disk.scan(SHARD, TableId::new(1), &other, need), Ok(Page::default()));
}

#[test]
fn a_record_that_is_lost_stays_lost_and_leaves_the_clock() {
    let mut disk = disk();
    assert_eq!(disk.settled_places(), [place("synced")], "the others are on their way");
    assert!(disk.lose(&place("synced")).is_some());
    assert_eq!(disk.object(SHARD, &place("synced").1), Ok(None));
    disk.crash(Crash::Power { lost: 9 });
    assert_eq!(disk.object(SHARD, &place("synced").1), Ok(None));
    assert_eq!(disk.view.clocks().remove(&SHARD).unwrap().len(), 1);
}

fn hint(disk: &mut SimDisk, seqs: &[u64]) -> HintPlace {
    let value = Value { content_type: "".into(), body: "v".into() };
    let read = seqs.iter().skip(1).map(|seq| Dot::new(ME, *seq)).collect();
    let object = Object::written(Dot::new(ME, seqs[0]), read, value);
    let place = HintPlace { target: NodeId::new(2), address: place("k").1 };
    disk.keep_hint(&place, Some(&Hint { since_millis: 1, object }));
    disk.begin();
    disk.finish_commit();
    disk.begin();
    disk.finish_sync();
    place
}

#[test]
fn a_hint_that_cannot_be_read_is_passed_over_with_others_and_an_error_alone_until_it_is_gone() {
    let mut disk = SimDisk::default();
    let place = hint(&mut disk, &[1]);
    let need = PageNeed { objects_max: 9, bytes_max: 999 };
    assert_eq!(disk.hints(place.target, None, need).unwrap().len(), 1);
    assert_eq!(disk.settled_hints(), std::slice::from_ref(&place));
    disk.damage_hint(&place);
    disk.crash(Crash::Kill { flying: true });
    assert!(disk.hint(&place).is_err());
    assert!(disk.hints(place.target, None, need).unwrap().is_empty());
    assert!(disk.owed().is_empty(), "a start does not count it");
    assert!(disk.settled_hints().is_empty());
    assert!(disk.lose_hint(&place).is_some());
    assert_eq!(disk.hint(&place).unwrap(), None);
}

#[test]
fn a_hint_turns_into_what_it_was_before_it_was_written_last() {
    let mut disk = SimDisk::default();
    let place = hint(&mut disk, &[1]);
    assert_eq!(disk.previous_hint(&place), None);
    hint(&mut disk, &[2, 1]);
    let older = disk.previous_hint(&place).cloned().unwrap();
    disk.roll_hint_back(&place, &older);
    assert!(disk.has_hint(&place, Dot::new(ME, 1)));
    assert!(!disk.has_hint(&place, Dot::new(ME, 2)));
}
