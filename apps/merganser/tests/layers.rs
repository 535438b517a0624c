//! Who may import whom. The first folder of a crate says how pure it is, and this test keeps
//! that true: `core` knows only `core`, doors know the nouns and the tokens, and so on.
#![expect(clippy::indexing_slicing, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::process::Command;

/// What each crate of ours may use, of ours. Crates that may use anything are left out.
const MAY_USE: &[(&str, &[&str])] = &[
    ("mutant", &[]),
    ("lattice", &[]),
    ("causality", &["lattice"]),
    ("crdt", &["causality", "lattice", "mutant"]),
    ("model", &["causality", "crdt", "mutant"]),
    ("placement", &["model"]),
    ("membership", &["model", "mutant"]),
    ("predict", &[]),
    ("antientropy", &[]),
    ("catalog", &["lattice", "model", "mutant"]),
    ("replica", &["causality", "crdt", "lattice", "model", "mutant"]),
    ("coordinator", &["lattice", "model", "mutant"]),
    (
        "node",
        &[
            "antientropy",
            "catalog",
            "causality",
            "coordinator",
            "lattice",
            "membership",
            "model",
            "mutant",
            "placement",
            "replica",
        ],
    ),
    ("allocator", &[]),
    ("codec", &["catalog", "causality", "crdt", "model"]),
    ("wire", &["antientropy", "catalog", "causality", "codec", "model", "node", "replica"]),
    ("storage", &["catalog", "causality", "codec", "model", "node", "replica"]),
    ("backup", &["codec", "model", "storage"]),
    ("transport", &["causality", "model", "node", "wire"]),
    ("http-door", &["causality", "codec", "crdt", "model"]),
    ("client", &[]),
];

/// Crates from elsewhere that a pure crate may use: none does IO or keeps time. With serde, foca
/// encodes whom it speaks of; nothing of ours is stored or sent through it.
const PURE: &[&str] =
    &["blake3", "bytes", "foca", "rand", "rand_chacha", "serde", "thiserror", "xxhash-rust"];

/// Our crates, and what each uses outside its tests.
fn uses() -> BTreeMap<String, (String, Vec<String>)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let package = |package: &serde_json::Value| {
        let dependencies = package["dependencies"].as_array().expect("a list");
        let used = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        let used = used.filter_map(|dependency| dependency["name"].as_str()).map(String::from);
        let text = |field: &str| package[field].as_str().expect("text").to_owned();
        (text("name"), (text("manifest_path"), used.collect()))
    };
    packages.iter().map(package).collect()
}

#[test]
fn crates_import_downwards_only() {
    let uses = uses();
    for (name, may_use) in MAY_USE {
        let (_, used) = uses.get(*name).unwrap_or_else(|| panic!("there is no crate {name}"));
        for used in used.iter().filter(|used| uses.contains_key(*used)) {
            assert!(may_use.contains(&used.as_str()), "{name} must not use {used}");
        }
    }
}

#[test]
fn every_crate_has_its_place_in_the_table() {
    for (name, (path, _)) in uses() {
        let is_free = path.contains("/apps/") || path.contains("/proof/");
        let is_listed = MAY_USE.iter().any(|(listed, _)| *listed == name);
        assert!(is_free || is_listed, "{name} is not in the table of this test");
    }
}

#[test]
fn the_core_uses_only_pure_crates() {
    let uses = uses();
    for (name, (path, used)) in uses.iter().filter(|(_, (path, _))| path.contains("/core/")) {
        for used in used.iter().filter(|used| !uses.contains_key(*used)) {
            assert!(PURE.contains(&used.as_str()), "{name} ({path}) must not use {used}");
        }
    }
}

/// Rules can be broken on purpose only where the feature for it is on, and only the
/// simulator's own feature turns it on.
#[test]
fn nobody_ships_a_mutant() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--package", "merganser", "--edges", "normal,features"])
        .args(["--invert", "mutant", "--prefix", "none"])
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(tree.contains("replica v"), "the core uses the crate: {tree}");
    assert!(!tree.contains(r#"mutant feature "on""#), "merganser has mutants in it: {tree}");
}
