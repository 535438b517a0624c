//! Clusters with one thing wrong, and what is said of them.

use client::NodeState;

use super::super::finding::Severity;
use super::*;

/// A node of three that is well and hears these.
fn node(number: u16, hears: [bool; 3]) -> Said {
    let nodes = (1..).zip(hears).map(|(node, alive)| NodeState {
        node,
        alive,
        region: None,
        zone: None,
        standing: "up".to_owned(),
        lag: None,
        disk: Some(format!("d{node}")),
        joining: None,
    });
    let status = Status {
        node: number,
        incarnation: String::new(),
        uptime_seconds: 9.0,
        version: "1".to_owned(),
        nodes: nodes.collect(),
        catalog_version: 4,
        keyspaces: Vec::new(),
        tables: Vec::new(),
        requests: 0,
        read_repairs: 0,
        hints: Vec::new(),
        log_dropped: 0,
        disk: None,
        forgetting: None,
        suspect: Vec::new(),
    };
    let mut said =
        Said { status, before: Scrape::default(), now: Scrape::default(), ahead: (0.0, 0.001) };
    metrics(&mut said, "merganser_disk_free_bytes 9e10\n");
    said
}

/// Has the node say this at the second look.
fn metrics(said: &mut Said, text: &str) {
    let own = format!("merganser_node{{version=\"1\",layout=\"a\"}} 1\n{text}");
    said.now = Scrape::parse(&own);
}

fn seen(said: Vec<Said>) -> Vec<Seen> {
    let one = |said: Said| Seen {
        url: format!("http://n{}", said.status.node),
        answer: Answer::Said(Box::new(said)),
    };
    said.into_iter().map(one).collect()
}

fn all() -> Vec<Said> {
    (1..=3).map(|number| node(number, [true; 3])).collect()
}

fn causes(seen: &[Seen]) -> Vec<&'static str> {
    let findings = diagnose(seen);
    for finding in &findings {
        assert!(!finding.evidence.is_empty() && !finding.do_this.is_empty(), "{finding:?}");
    }
    findings.iter().map(|finding| finding.cause).collect()
}

#[test]
fn nothing_is_wrong_with_nodes_that_are_well() {
    assert_eq!(causes(&seen(all())), [""; 0]);
}

#[test]
fn a_node_that_is_gone_is_down_and_one_that_says_nothing_hangs() {
    let mut seen = seen(vec![node(1, [true, true, false]), node(2, [true, true, false])]);
    assert_eq!(causes(&seen), ["node_down"], "the others say so");
    let answer = Answer::Silent("no answer in time".to_owned());
    seen.push(Seen { url: "http://n3".to_owned(), answer });
    assert_eq!(causes(&seen), ["node_hangs"], "said once");
    let answer = Answer::Refused("connection refused".to_owned());
    seen[2].answer = answer;
    assert_eq!(causes(&seen), ["node_down"]);
    let finding = diagnose(&seen).remove(0);
    assert_eq!(finding.evidence, "connection refused; n1, n2 do not hear n3");
    seen.remove(1);
    let Answer::Said(said) = &mut seen[0].answer else { panic!("it answers") };
    said.status.nodes[1].alive = false;
    let whats: Vec<String> = diagnose(&seen).into_iter().map(|finding| finding.what).collect();
    assert_eq!(
        whats,
        ["nobody listens at http://n3", "n2 is away", "n3 is away"],
        "one of the two was asked, and nobody knows which"
    );
}

fn declined(code: &str) -> Answer {
    Answer::Declined { code: code.to_owned(), why: format!("{code}: as it says") }
}

#[test]
fn a_node_that_is_away_is_not_taken_for_another_that_hangs_and_is_heard_still() {
    let mut seen = seen(vec![node(1, [true, true, false])]);
    let answer = Answer::Silent("no answer in time".to_owned());
    seen.push(Seen { url: "http://n2".to_owned(), answer });
    assert_eq!(causes(&seen), ["node_hangs", "node_down"]);
    assert_eq!(diagnose(&seen)[1].what, "n3 is away", "it was not asked");
    // All were asked, and one of them has too many connections.
    let answer = Answer::Refused("connection refused".to_owned());
    seen.push(Seen { url: "http://n3".to_owned(), answer });
    seen[1].answer = declined("overloaded");
    assert_eq!(causes(&seen), ["node_refuses", "node_down"]);
    assert_eq!(diagnose(&seen)[1].evidence, "connection refused; n1 do not hear n3");
}

#[test]
fn a_node_that_refuses_to_say_how_it_is_does_not_hang() {
    let mut seen = seen(vec![node(1, [true; 3]), node(2, [true; 3])]);
    seen.push(Seen { url: "http://n3".to_owned(), answer: declined("overloaded") });
    assert_eq!(causes(&seen), ["node_refuses"]);
    assert!(diagnose(&seen)[0].do_this.contains("connections_max"));
    for (code, remedy) in [("not_found", "port"), ("internal", "log")] {
        seen[2].answer = declined(code);
        let do_this = diagnose(&seen).remove(0).do_this;
        assert!(do_this.contains(remedy) && !do_this.contains("connections"), "{do_this}");
    }
}

/// A node of a cluster that has a table of all its three nodes with this guardrail.
fn node_with_table(number: u16, hears: [bool; 3], weakest: Option<&str>) -> Said {
    use serde_json::json;
    let mut said = node(number, hears);
    for node in &mut said.status.nodes {
        (node.region, node.zone) = (Some("eu".to_owned()), Some("a".to_owned()));
    }
    let keyspace = json!({"name": "k", "id": 1, "shards": 4, "replicas": {"eu": 3}, "n": 3});
    let table = json!({"name": "t", "id": 2, "keyspace": "k", "policy": "siblings",
        "durability": "synced", "read": "QUORUM", "write": "QUORUM", "weakest_write": weakest});
    said.status.keyspaces = vec![serde_json::from_value(keyspace).unwrap()];
    said.status.tables = vec![serde_json::from_value(table).unwrap()];
    let lacks = "merganser_shards_lacking{keyspace=\"k\",table=\"t\",operation=\"write\"} 4";
    metrics(&mut said, lacks);
    said
}

#[test]
fn level_one_is_named_as_a_way_out_only_where_it_is_one() {
    let remedy = |hears: [bool; 3], weakest: Option<&str>| {
        let seen = seen(vec![node_with_table(1, hears, weakest)]);
        let findings = diagnose(&seen);
        let lacking = findings.into_iter().find(|finding| finding.cause == "shards_lacking");
        lacking.unwrap().do_this
    };
    let alone = [true, false, false];
    assert!(remedy(alone, None).contains("writes with --level ONE are answered"));
    assert!(!remedy(alone, Some("QUORUM")).contains("ONE"), "the table forbids it");
    assert!(!remedy([false; 3], None).contains("ONE"), "nobody is alive");
    let untold = seen(vec![{
        let mut said = node_with_table(1, alone, None);
        said.status.tables.clear();
        said
    }]);
    assert!(diagnose(&untold).iter().all(|finding| !finding.do_this.contains("ONE")));
}

#[test]
fn a_link_that_works_one_way_is_told_from_one_that_is_cut() {
    let one_way = vec![node(1, [true; 3]), node(2, [false, true, true]), node(3, [true; 3])];
    assert_eq!(causes(&seen(one_way)), ["one_way_link"]);
    let cut = vec![node(1, [true, false, true]), node(2, [false, true, true]), node(3, [true; 3])];
    assert_eq!(causes(&seen(cut)), ["cut_link"]);
    let partly = vec![node(1, [true, true, false]), node(2, [true; 3])];
    assert_eq!(causes(&seen(partly)), ["partly_cut_off"]);
}

#[test]
fn each_symptom_of_one_node_has_its_own_cause() {
    for (text, cause) in [
        ("merganser_disk_wait_seconds 6", "disk_hangs"),
        (
            "merganser_sync_seconds_bucket{le=\"0.05\"} 90\nmerganser_sync_seconds_bucket{le=\"0.5\"} 100",
            "slow_disk",
        ),
        ("merganser_disk_free_bytes 1e9", "disk_full"),
        ("merganser_disk_free_bytes 1e8", "disk_full"),
        ("merganser_overload_refusals_total 3", "overload"),
        ("merganser_overloaded 1", "overload"),
        ("merganser_peer_messages_dropped_total 3", "messages_dropped"),
        (
            "merganser_shards_lacking{keyspace=\"k\",table=\"t\",operation=\"write\"} 3",
            "shards_lacking",
        ),
        ("merganser_shards_fragile{keyspace=\"k\",table=\"t\",operation=\"read\"} 3", "fragile"),
        ("merganser_node{version=\"2\",layout=\"a\"} 1", "versions_differ"),
        ("merganser_node{version=\"1\",layout=\"b\"} 1", "layouts_differ"),
    ] {
        let mut all = all();
        metrics(&mut all[1], text);
        assert_eq!(causes(&seen(all)), [cause], "{text}");
    }
}

#[test]
fn nodes_that_take_idempotency_keys_for_different_times_are_named() {
    let with = |windows: [&str; 3]| {
        let mut all = all();
        for (said, window) in all.iter_mut().zip(windows) {
            metrics(said, &format!("merganser_retry_window_seconds {window}"));
        }
        seen(all)
    };
    assert_eq!(causes(&with(["3600.0"; 3])), [""; 0]);
    let differ = with(["3600.0", "1800.0", "3600.0"]);
    assert_eq!(causes(&differ), ["retry_windows_differ"]);
    let evidence = diagnose(&differ).remove(0).evidence;
    assert_eq!(evidence, "retry_window is 1800 s: n2; 3600 s: n1 n3");
    let mut older = with(["3600.0"; 3]);
    let Answer::Said(said) = &mut older[1].answer else { panic!("it answers") };
    metrics(said, "");
    assert_eq!(causes(&older), [""; 0], "one of an older version does not say");
}

#[test]
fn a_few_slow_syncs_of_a_node_that_was_just_started_say_nothing() {
    let mut all = all();
    metrics(&mut all[0], "merganser_sync_seconds_bucket{le=\"0.5\"} 10");
    assert_eq!(causes(&seen(all)), [""; 0]);
}

#[test]
fn a_straggler_is_compared_with_the_others_as_others_see_it() {
    let replied = |node: u16, millis: f64| {
        let sum = 100.0 * millis / 1_000.0;
        format!(
            "merganser_replica_seconds_sum{{replica=\"n{node}\",operation=\"read\"}} {sum}\n\
             merganser_replica_seconds_count{{replica=\"n{node}\",operation=\"read\"}} 100\n"
        )
    };
    let with = |slow: f64| {
        let mut all = all();
        for said in &mut all {
            // What n3 says of itself hides that it is slow.
            let own = if said.status.node == 3 { 1.0 } else { slow };
            let text = replied(1, 2.0) + &replied(2, 2.5) + &replied(3, own);
            metrics(said, &text);
        }
        causes(&seen(all))
    };
    assert_eq!(with(20.0), ["straggler"]);
    assert_eq!(with(5.0), [""; 0]);
}

#[test]
fn clocks_that_are_apart_are_named_unless_the_answer_took_as_long() {
    let mut all = all();
    all[2].ahead = (3.0, 0.1);
    assert_eq!(causes(&seen(all.clone())), ["clock_skew"]);
    all[2].ahead = (3.0, 2.9);
    assert_eq!(causes(&seen(all)), [""; 0]);
}

#[test]
fn replicas_that_are_far_apart_are_named_and_those_that_are_just_behind_are_not() {
    let with = |since, needs_repair, gaps| {
        let mut all = all();
        let since_seconds = Some(since);
        let lag = client::Lag { behind: 4, ahead: 0, gaps, needs_repair, since_seconds };
        all[0].status.nodes[1].lag = Some(lag);
        causes(&seen(all))
    };
    assert_eq!(with(2.0, 0, 0), [""; 0]);
    assert_eq!(with(90.0, 0, 0), ["lag"]);
    assert_eq!(with(2.0, 1, 0), ["needs_repair"]);
    assert_eq!(with(2.0, 0, 1), ["gaps"]);
}

#[test]
fn old_hints_name_who_is_away_or_does_not_take_them_and_a_full_guest_is_critical() {
    let keeps = |said: &mut Said, node: u16, oldest_seconds: u64| {
        said.status.hints = vec![client::Hints { node, count: 3, bytes: 99, oldest_seconds }];
    };
    let mut all = all();
    keeps(&mut all[0], 2, 59);
    assert_eq!(causes(&seen(all.clone())), [""; 0]);
    keeps(&mut all[0], 2, 60);
    assert_eq!(causes(&seen(all.clone())), ["hints_not_taken"]);
    let mut away = vec![node(1, [true, false, true])];
    keeps(&mut away[0], 2, 60);
    assert!(causes(&seen(away)).contains(&"hints_waiting"));
    all[0].status.hints.clear();
    metrics(&mut all[0], "merganser_disk_free_bytes 9e10\nmerganser_hints_refused_total 2");
    assert_eq!(causes(&seen(all)), ["hints_full"]);
}

#[test]
fn a_disk_that_has_lost_records_is_named() {
    let mut all = all();
    metrics(&mut all[1], "merganser_lost_writes_restored_total 3");
    assert_eq!(causes(&seen(all)), ["records_lost"]);
    let mut all = self::all();
    metrics(&mut all[1], "merganser_lost_writes_restored_total 0");
    assert!(causes(&seen(all)).is_empty());
}

#[test]
fn a_node_that_was_started_from_an_old_copy_is_named() {
    let mut all = all();
    metrics(&mut all[2], "merganser_old_copies_total 0");
    assert!(causes(&seen(all.clone())).is_empty());
    metrics(&mut all[2], "merganser_old_copies_total 2");
    assert_eq!(causes(&seen(all)), ["old_copy"]);
}

#[test]
fn what_was_not_proven_for_a_day_is_named_with_what_proves_it() {
    let mut all = all();
    metrics(&mut all[1], "merganser_unproven_seconds 86000");
    assert_eq!(causes(&seen(all.clone())), [""; 0]);
    metrics(&mut all[1], "merganser_unproven_seconds 90000");
    let findings = diagnose(&seen(all));
    assert_eq!(findings.iter().map(|finding| finding.cause).collect::<Vec<_>>(), ["unproven"]);
    assert!(findings[0].do_this.contains("merganser repair"), "{}", findings[0].do_this);
    assert!(findings[0].evidence.contains("25 hours"), "{}", findings[0].evidence);
}

#[test]
fn the_worst_comes_first() {
    let mut all = all();
    metrics(&mut all[0], "merganser_disk_free_bytes 1e9");
    metrics(&mut all[1], "merganser_disk_wait_seconds 6");
    assert_eq!(causes(&seen(all)), ["disk_hangs", "disk_full"]);
}

#[test]
fn a_node_with_another_disk_is_told_what_to_do() {
    let on = |state: &str| {
        let mut said = all();
        said[1].status.disk = Some(client::DiskState {
            disk: "d7".to_owned(),
            state: state.to_owned(),
            shards: 8,
            shards_whole: 3,
        });
        seen(said)
    };
    assert_eq!(causes(&on("enrolled")), causes(&seen(all())));
    assert_eq!(causes(&on("joining")), ["disk_joining"]);
    assert_eq!(causes(&on("retired")), ["disk_retired"]);
    let mut said = all();
    said[1].status.disk = Some(client::DiskState {
        disk: "d7".to_owned(),
        state: "joining".to_owned(),
        shards: 8,
        shards_whole: 3,
    });
    said[1].status.nodes[2].joining = Some("d8".to_owned());
    let finding = diagnose(&seen(said)).remove(0);
    assert!(finding.evidence.contains("3 of 8 shards, and cannot copy from n3"), "{finding:?}");
}

#[test]
fn a_disk_that_has_lost_something_is_named_with_whom_it_waits_for() {
    let suspect = |shard, waits_for| client::Suspect {
        keyspace: "orbits".to_owned(),
        shard,
        since_seconds: 12.4,
        waits_for,
    };
    let mut said = all();
    said[1].status.suspect = vec![suspect(4, vec![1, 3]), suspect(7, vec![3])];
    let findings = diagnose(&seen(said.clone()));
    assert_eq!(causes(&seen(said.clone())), ["shards_suspect"]);
    assert!(findings[0].what.contains("n2"), "{findings:?}");
    let expected = "has 2 suspect shards, such as orbits/4, for 12 s";
    assert!(findings[0].evidence.ends_with(expected), "{findings:?}");
    assert!(findings[0].do_this.starts_with("nothing"), "{findings:?}");
    said[1].status.nodes[2].alive = false;
    let findings = diagnose(&seen(said.clone()));
    let finding = findings.iter().find(|one| one.cause == "shards_suspect").unwrap();
    assert!(finding.do_this.starts_with("bring n3 back"), "{finding:?}");
    said[1].status.suspect = vec![suspect(4, vec![])];
    let findings = diagnose(&seen(said));
    let finding = findings.iter().find(|one| one.cause == "shards_suspect").unwrap();
    assert!(finding.do_this.contains("merganser repair"), "{finding:?}");
}

#[test]
fn a_replica_for_which_deleted_data_is_kept_is_named_once_with_what_to_do() {
    let blocked = |said: &mut Said, by: u16, since_seconds: f64| {
        let blockers = vec![client::Blocker { by, since_seconds }];
        let told = client::Forgetting {
            tombstones_waiting: 40 + u64::from(said.status.node),
            tombstones_blocked: blockers,
            ..client::Forgetting::default()
        };
        said.status.forgetting = Some(told);
    };
    let mut said = all();
    said[0].status.forgetting = Some(client::Forgetting::default());
    blocked(&mut said[1], 3, 590.0);
    assert_eq!(causes(&seen(said.clone())), [""; 0], "it may be catching up");
    blocked(&mut said[0], 3, 7_200.0);
    blocked(&mut said[1], 3, 7_300.0);
    let findings = diagnose(&seen(said.clone()));
    assert_eq!(causes(&seen(said.clone())), ["tombstones_blocked"]);
    assert_eq!(findings[0].severity, Severity::Warning);
    assert!(findings[0].what.contains("n3"), "{findings:?}");
    assert_eq!(
        findings[0].evidence,
        "n1, n2 wait for it since 7300 s, with up to 42 tombstones that they know of"
    );
    assert!(findings[0].do_this.contains("its log"), "{findings:?}");
    said[0].status.nodes[2].alive = false;
    said[1].status.nodes[2].alive = false;
    said.remove(2);
    let findings = diagnose(&seen(said.clone()));
    let finding = findings.iter().find(|one| one.cause == "tombstones_blocked").unwrap();
    assert!(finding.do_this.contains("merganser evict n3"), "{finding:?}");
    said[0].status.nodes[2].joining = Some("d33".to_owned());
    let findings = diagnose(&seen(said));
    let finding = findings.iter().find(|one| one.cause == "tombstones_blocked").unwrap();
    assert!(finding.do_this.contains("made whole"), "{finding:?}");
}
