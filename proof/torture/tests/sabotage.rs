//! Scenarios with a part of them secretly left out: they have to notice.
//!
//! Each is shown a write that was acknowledged and never made. Some are run without what they
//! are about, so that nothing is ever mistreated. Those that would wait long before they
//! say so are not among them.
//!
//! Needs a `merganser` of the same build directory, and does not take one that is older than
//! its sources. That, and what a machine cannot do, is a line `SKIPPED(reason)`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use torture::binary::newer_source;
use torture::outcome::Stop;
use torture::scenarios::{Plan, Sabotage, names, run};

/// The program under test, of the same build or of a release build, or why there is none.
fn binary() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|err| err.to_string())?;
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let workspace = workspace.ok_or("a test outside of a workspace")?;
    let builds = own.ancestors().nth(3).ok_or("a test outside of a build directory")?;
    let mut reasons = Vec::new();
    for program in ["release/merganser", "debug/merganser"].map(|place| builds.join(place)) {
        match newer_source(&program, workspace) {
            Ok(None) => return Ok(program),
            Ok(Some(source)) => {
                reasons.push(format!("{} is older than {}", program.display(), source.display()));
            }
            Err(err) => reasons.push(format!("{}: {err}", program.display())),
        }
    }
    Err(reasons.join(", "))
}

/// One scenario at a time: what one does to the machine is not to disturb another.
static TURN: Mutex<()> = Mutex::new(());

/// What a scenario says within so many rounds that was sabotaged; nothing if it was skipped,
/// which is printed.
fn said(rounds: u64, scenario: &str, sabotage: Sabotage) -> Option<String> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = binary().map_err(Stop::Skipped).and_then(|binary| {
        let rounds = Some(rounds);
        let plan = Plan { binary, seed: 1, rounds, long: false, sabotage: Some(sabotage) };
        run(scenario, &plan).outcome
    });
    match outcome {
        Err(Stop::Skipped(why)) => {
            eprintln!("SKIPPED({scenario}: {why})");
            None
        }
        Err(Stop::Failed(why)) => Some(why),
        Ok(figures) => panic!("{scenario} was blind: {figures:?}"),
    }
}

/// Demands that a scenario fails in its first round, and says this.
fn is_noticed(scenario: &str, sabotage: Sabotage, words: &str) {
    is_noticed_within(1, scenario, sabotage, words);
}

fn is_noticed_within(rounds: u64, scenario: &str, sabotage: Sabotage, words: &str) {
    if let Some(why) = said(rounds, scenario, sabotage) {
        assert!(why.contains(words), "{scenario}: {why}");
    }
}

#[test]
fn an_acknowledged_write_that_is_gone_is_noticed_by_every_scenario() {
    for scenario in names() {
        // A round of a network takes ten seconds, and writes are compared after the last one.
        let rounds = u64::from(!scenario.starts_with("net-"));
        is_noticed_within(rounds, scenario, Sabotage::Write, "LOST never-written");
    }
}

#[test]
fn a_fault_that_did_not_happen_is_noticed() {
    for (scenario, words) in [
        ("kill", "were killed"),
        ("retries", "were mistreated"),
        ("power", "0 of 1 disks lost power"),
        ("syscalls", "kills came about"),
        ("read-fails", "only 0 reads failed"),
        ("clients", "nobody misbehaved"),
        ("overload", "nobody was refused"),
        ("clock", "s from its clock"),
        ("net-split", "to be alive"),
        ("net-sloppy", "nobody had a guest"),
        ("net-evict", "cut: nothing was stopped"),
    ] {
        is_noticed(scenario, Sabotage::Fault, words);
    }
}

#[test]
fn a_network_that_is_not_healed_is_noticed() {
    is_noticed("net-split", Sabotage::Heal, "to be alive, and");
    is_noticed("net-reset", Sabotage::Heal, "and is connected to");
    is_noticed("net-evict", Sabotage::Heal, "is retired");
}

#[test]
fn a_start_that_syncs_nothing_is_noticed_when_power_is_lost() {
    is_noticed_within(3, "power", Sabotage::Sync, "LOST");
}
