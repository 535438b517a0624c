//! Runs that once showed something, kept with their whole world.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use sim::Case;

/// Each file, by its name.
fn cases() -> Vec<(String, Case)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/cases");
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let case = Case::parse(&std::fs::read_to_string(&path).unwrap());
        (name.clone(), case.unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    files.map(read).collect()
}

/// How many seeds a case is given. Its own shows the bug as long as the nodes say the same things
/// at the same times; a change of the protocol moves all that by a little, and the world, which
/// is what a case keeps, shows it at another seed.
#[cfg(feature = "mutants")]
const SEEDS: u64 = 200;

/// A case in its own world, with one seed after another, beginning with its own.
#[cfg(feature = "mutants")]
fn seeds(case: &Case) -> impl Iterator<Item = Case> {
    (case.seed..case.seed + SEEDS).map(|seed| {
        let mut case = case.clone();
        case.seed = seed;
        case
    })
}

#[test]
fn what_once_failed_passes() {
    let cases = cases();
    assert!(4 <= cases.len(), "where are the cases?");
    for (name, case) in cases {
        assert!(!case.story.is_empty(), "{name} has no story");
        let outcome = case.run(None);
        assert!(outcome.is_ok(), "{name}: {}\n{}", case.story, outcome.unwrap_err());
    }
}

#[test]
fn a_case_reads_back_as_it_was_written() {
    for (_, case) in cases() {
        assert_eq!(Case::parse(&case.to_text()).unwrap(), case);
    }
}

#[test]
fn a_case_of_a_later_version_is_refused_by_name() {
    let (_, case) = cases().pop().unwrap();
    let newer = case.to_text().replace("version = 1", "version = 2");
    assert!(Case::parse(&newer).unwrap_err().to_string().contains("version 2"));
}

/// A kept case must still be one that shows the bug.
#[cfg(feature = "mutants")]
#[test]
fn a_case_fails_again_when_its_bug_is_put_back() {
    for (name, case) in cases() {
        let Some(bug) = &case.bug else {
            assert!(case.story.starts_with("The oracle was wrong"), "what brings {name} back?");
            continue;
        };
        let mutant = sim::Mutant::all().find(|mutant| format!("{mutant:?}").contains(bug));
        let shows = |seed: Case| {
            let violation = seed.run(Some(mutant.unwrap())).err()?;
            (format!("{:?}", violation.invariant) == case.invariant).then_some(seed.seed)
        };
        let shown = seeds(&case).find_map(shows);
        println!("{name}: {bug} shows at seed {shown:?}, kept with {}", case.seed);
        assert!(shown.is_some(), "{name}: {bug} does not show {} any more", case.invariant);
    }
}

#[cfg(feature = "mutants")]
#[test]
fn a_violation_shrinks_to_the_few_faults_that_matter() {
    use sim::{Inside, Mutant, Plan, faults_of, shrink};
    for bug in [Inside::OldNewsTaken, Inside::RequestIdsRepeat, Inside::ForwardTakenTwice] {
        let mutant = Some(Mutant::Inside(bug));
        let case = |seed| Case::new(seed, Plan::draw(seed), Default::default(), String::new());
        // A run with hundreds of faults takes a minute.
        let is_short = |case: &Case| case.run(mutant).is_err_and(|v| v.faults < 80);
        // Leaving out a fault changes what comes after it, so that now and then no single one
        // can be left out although few matter; and so does a simpler world.
        let shrunk = (0..300).map(case).filter(is_short).take(5).map(|failing| {
            let before = failing.run(mutant).unwrap_err();
            let (small, violation) = shrink(failing.clone(), mutant, 2_000, |_| {}).unwrap();
            assert_eq!(violation.invariant, before.invariant, "{bug:?}");
            let again = Case::parse(&small.to_text()).unwrap().run(mutant).unwrap_err();
            assert_eq!(again, violation, "{bug:?}");
            (faults_of(&small, &violation).len(), small.plan != failing.plan)
        });
        let shrunk: Vec<(usize, bool)> = shrunk.collect();
        let smallest = shrunk.iter().map(|(faults, _)| *faults).min().unwrap();
        assert!(smallest <= 5, "{bug:?} has {smallest} faults left");
        let simpler = shrunk.iter().filter(|(_, is_simpler)| *is_simpler).count();
        assert!(shrunk.len() / 2 < simpler, "{simpler} worlds of {bug:?} are simpler");
    }
}
