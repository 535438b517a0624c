//! The scenarios of bad networks, with a part of them secretly left out: they have to notice.
//!
//! Needs root and a built `merganser` beside this test's own directory; says so otherwise.

use std::path::PathBuf;

use torture::outcome::Stop;
use torture::scenarios::{Plan, Sabotage, run};

/// The program under test, of the same build or of a release build.
fn binary() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let builds = own.ancestors().nth(3)?;
    let places = ["release/merganser", "debug/merganser"].map(|place| builds.join(place));
    places.into_iter().find(|place| place.is_file())
}

/// Demands that a scenario fails, and says this.
fn is_noticed(scenario: &str, sabotage: Sabotage, said: &str) {
    let Some(binary) = binary() else {
        return eprintln!("SKIPPED(merganser is not built)");
    };
    let plan = Plan { binary, seed: 1, rounds: Some(1), long: false, sabotage: Some(sabotage) };
    match run(scenario, &plan).outcome {
        Err(Stop::Skipped(why)) => eprintln!("SKIPPED({why})"),
        Err(Stop::Failed(why)) => {
            if let Some((_, kept)) = why.rsplit_once("; see ") {
                // Kept for those who want to know what went wrong. Here all is as it should be.
                let _ = std::fs::remove_dir_all(kept);
            }
            assert!(why.contains(said), "{why}");
        }
        Ok(figures) => panic!("{scenario} was blind: {figures:?}"),
    }
}

#[test]
fn a_split_that_was_none_is_noticed() {
    is_noticed("net-split", Sabotage::Fault, "to be alive");
}

#[test]
fn a_split_that_is_not_healed_is_noticed() {
    is_noticed("net-split", Sabotage::Heal, "healed: after");
}

#[test]
fn a_bad_network_that_was_good_is_noticed() {
    is_noticed("net-lossy", Sabotage::Fault, "too good");
}

#[test]
fn an_acknowledged_write_that_is_gone_is_noticed() {
    is_noticed("net-lossy", Sabotage::Write, "LOST never-written");
}
