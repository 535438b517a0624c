use super::*;

fn pair(shard: u16, state: &str, differences: u64) -> RepairPair {
    let (keyspace, state) = ("ks".to_owned(), state.to_owned());
    RepairPair { keyspace, shard, with: 2, state, differences, ..RepairPair::default() }
}

fn job(pairs: Vec<RepairPair>) -> Repair {
    let text = |text: &str| text.to_owned();
    let (id, mode, state) = (text("1"), text("full"), text("running"));
    Repair { id, mode, state, seconds: 1.0, proved: false, pairs }
}

fn found(mode: RepairMode) -> Found {
    Found::new(mode, Vec::new())
}

#[test]
fn it_is_well_only_if_every_pair_is() {
    for (mode, state, differences, is_well) in [
        (RepairMode::Full, "proved", 3, true),
        (RepairMode::Full, "passed", 0, true),
        (RepairMode::Full, "comparing", 0, false),
        (RepairMode::Full, "failed", 0, false),
        (RepairMode::Preview, "compared", 0, true),
        (RepairMode::Preview, "compared", 1, false),
    ] {
        let mut found = found(mode);
        found.hear(1, job(vec![pair(0, "proved", 0), pair(1, state, differences)]));
        assert_eq!(found.verdict().is_ok(), is_well, "{state} {differences}");
        assert_eq!(found.json()["proved"], is_well, "{state} {differences}");
    }
    let mut uncovered = Found::new(RepairMode::Full, vec![(3, 4)]);
    uncovered.hear(1, job(vec![pair(0, "proved", 0)]));
    assert!(uncovered.verdict().is_err(), "nobody has compared n3 and n4");
    let mut cancelled = found(RepairMode::Full);
    cancelled.is_cancelled = true;
    assert!(cancelled.verdict().unwrap_err().to_string().contains("cancelled"));
}

#[test]
fn what_was_found_before_a_node_was_started_anew_is_added_and_stays_proved() {
    let mut found = found(RepairMode::Full);
    found.begin();
    found.hear(1, job(vec![pair(0, "proved", 5), pair(1, "comparing", 2)]));
    found.begin();
    for state in ["reading", "proved"] {
        found.hear(1, job(vec![pair(0, "waiting", 0), pair(1, state, 1)]));
    }
    let told: Vec<_> = found.pairs().map(|(_, pair)| (&*pair.state, pair.differences)).collect();
    assert_eq!(told, [("proved", 5), ("proved", 3)]);
    assert!(found.verdict().is_ok());
}

#[test]
fn a_node_that_is_given_up_leaves_its_open_pairs_unproved() {
    let mut some = found(RepairMode::Full);
    some.hear(1, job(vec![pair(0, "proved", 0), pair(1, "waiting", 0)]));
    some.give_up(1, &[2], "n1 does not answer");
    let states: Vec<_> = some.pairs().map(|(_, pair)| pair.state.as_str()).collect();
    assert_eq!(states, ["proved", "failed"]);
    assert!(some.verdict().unwrap_err().to_string().contains("1 of 2 pairs"));
    let mut none = found(RepairMode::Full);
    none.give_up(1, &[2, 3], "n1 does not answer");
    assert!(none.verdict().is_err(), "it has told of no pair, and may have some");
}
