//! Every complaint names its option; flags beat the file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use clap::Parser;

use super::*;

/// A file that is right in every respect, with a secret beside it.
const RIGHT: &str = r#"
    node_id = 2
    cluster = 77
    secret_file = "secret"
    data_dir = "data"
    http_listen = "127.0.0.1:0"
    value_bytes_max = "1MiB"

    [[nodes]]
    id = 1
    peer = "127.0.0.1:7101"
    zone = "a"

    [[nodes]]
    id = 2
    peer = "127.0.0.1:7102"
    zone = "b"
"#;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    raw: Raw,
}

/// Resolves a file with the given text, and flags that go before it.
fn resolve(text: &str, flags: &[&str]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "0123456789abcdef\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let path = dir.path().join("node.toml");
    fs::write(&path, text).unwrap();
    let flags = Cli::try_parse_from(["merganser"].iter().chain(flags)).expect("flags parse");
    Config::resolve(flags.raw.or(Raw::read(&path)?))
}

/// The complaint about a file that differs from the right one in one place.
fn complaint(from: &str, to: &str) -> String {
    assert!(RIGHT.contains(from), "{from} is not in the file");
    resolve(&RIGHT.replace(from, to), &[]).expect_err("accepted").to_string()
}

#[test]
fn a_right_file_resolves_and_flags_beat_it() {
    let flags = [
        "--cluster=78",
        "--siblings-max=5",
        "--retry-window=30m",
        "--hint-bytes-max=2GiB",
        "--catch-up-rate=1MiB",
        "--log-entries-max=7",
    ];
    let config = resolve(RIGHT, &flags).unwrap();
    assert_eq!((config.limits.catch_up_rate, config.limits.log_entries_max), (1 << 20, 7));
    assert_eq!(config.limits.retry_window.as_secs(), 1_800);
    assert_eq!(config.limits.hint_bytes_max, 2 << 30);
    assert_eq!(config.node, NodeId::new(2));
    assert_eq!(config.cluster, ClusterId::new(78), "the flag beats the file");
    assert_eq!((config.limits.value_bytes_max, config.limits.siblings_max), (1 << 20, 5));
    assert_eq!(config.peer_listen.to_string(), "127.0.0.1:7102", "as the others know it");
    assert_eq!(config.peers.keys().copied().collect::<Vec<_>>(), [NodeId::new(1)]);
}

#[test]
fn the_help_names_the_defaults_that_apply() {
    let config = resolve(&RIGHT.replace("value_bytes_max = \"1MiB\"", ""), &[]).unwrap();
    let help = <Cli as clap::CommandFactory>::command().render_long_help().to_string();
    for (option, default) in [
        ("--value-bytes-max", ByteSize(config.limits.value_bytes_max as u64).to_string()),
        ("--siblings-max", config.limits.siblings_max.to_string()),
        ("--requests-max", config.limits.requests_max.to_string()),
        ("--connections-max", config.connections_max.to_string()),
        ("--feeds-max", config.feeds_max.to_string()),
        ("--hint-bytes-max", ByteSize(config.limits.hint_bytes_max).to_string()),
        ("--catch-up-rate", ByteSize(config.limits.catch_up_rate).to_string()),
        ("--log-entries-max", config.limits.log_entries_max.to_string()),
        ("--retry-window", format!("{}h", config.limits.retry_window.as_secs() / 3_600)),
    ] {
        let (_, text) = help.split_once(option).expect("it is an option");
        let (_, text) = text.split_once("[default: ").expect("it has a default");
        assert_eq!(text.split(']').next(), Some(default.as_str()), "{option}");
    }
}

#[test]
fn nodes_can_be_given_as_flags() {
    let config =
        resolve(RIGHT, &["--nodes", "2@127.0.0.1:1/eu/x,3@localhost:2", "--nodes=4@[::1]:9/eu/y"])
            .unwrap();
    let zones: Vec<String> = config
        .layout
        .members
        .iter()
        .map(|(id, m)| format!("{id} {} {}", m.region, m.zone))
        .collect();
    assert_eq!(zones, ["n2 eu x", "n3 local a", "n4 eu y"]);
}

#[test]
fn every_complaint_names_the_option() {
    for (from, to, expected) in [
        ("cluster = 77", "clutser = 77", "unknown field `clutser`"),
        ("zone = \"b\"", "zoen = \"b\"", "unknown field `zoen`"),
        (
            "cluster = 77",
            "",
            "cluster is not set: write cluster = ... in the file, or pass --cluster",
        ),
        ("data_dir = \"data\"", "", "MERGANSER_DATA_DIR"),
        ("node_id = 2", "node_id = 9", "node_id: 9 is not in nodes (1, 2)"),
        ("id = 1", "id = 2", "nodes: node 2 is there twice"),
        ("id = 1", "id = 0", "nodes: 0 is no node"),
        ("zone = \"b\"", "zone = \"B b\"", "nodes: node 2: \"B b\" is no name"),
        ("127.0.0.1:7101", "127.0.0.1", "nodes: \"127.0.0.1\" is not of the form HOST:PORT"),
        ("127.0.0.1:0", "all", "http_listen: \"all\" is no address"),
        ("127.0.0.1:0", "0.0.0.0:7001", "http_listen: 0.0.0.0:7001 is not loopback"),
        ("127.0.0.1:7101", "10.0.0.1:7101", "nodes: 10.0.0.1:7101 is not loopback"),
        ("\"1MiB\"", "\"1MB\"", "\"1MB\" is no size"),
        ("\"1MiB\"", "0", "value_bytes_max: 0 is out of range: 1 to 16MiB"),
        ("\"1MiB\"", "\"17MiB\"", "value_bytes_max: 17MiB is out of range: 1 to 16MiB"),
        ("cluster = 77", "cluster = 77\ncache = 5", "cache: 5 is too little"),
        (
            "cluster = 77",
            "cluster = 77\nmemory = \"127MiB\"",
            "memory: 127MiB is too little: at least 128MiB",
        ),
        ("cluster = 77", "cluster = 77\nrequests_max = 0", "requests_max: must be at least 1"),
        ("cluster = 77", "cluster = 77\nhint_bytes_max = 9", "hint_bytes_max: 9 is too little"),
        ("cluster = 77", "cluster = 77\ncatch_up_rate = 9", "catch_up_rate: 9 is too little"),
        ("cluster = 77", "cluster = 77\nlog_entries_max = 0", "log_entries_max"),
        ("cluster = 77", "cluster = 77\nretry_window = \"59s\"", "retry_window: 59s is out of"),
        ("cluster = 77", "cluster = 77\nretry_window = \"13h\"", "range: 1m to 12h"),
        ("cluster = 77", "cluster = 77\nchanges_retention = \"31d\"", "range: 0s to 30d"),
        ("cluster = 77", "cluster = 77\nscrub_interval = \"9s\"", "scrub_interval: 9s is out of"),
        ("cluster = 77", "cluster = 77\nrepair_interval = \"31d\"", "range: 10s to 30d"),
        ("cluster = 77", "cluster = 77\nretry_window = \"1w\"", "\"1w\" is no time"),
        ("\"secret\"", "\"node.toml\"", "secret_file: others may read"),
        ("\"secret\"", "\"none\"", "secret_file: cannot read"),
    ] {
        let complaint = complaint(from, to);
        assert!(complaint.contains(expected), "{complaint:?} does not say {expected:?}");
    }
}

#[test]
fn an_open_network_is_a_named_choice() {
    let open = RIGHT.replace("127.0.0.1:0", "0.0.0.0:0").replace("127.0.0.1:7101", "db1:7101");
    assert!(resolve(&open, &[]).is_err(), "without the choice");
    let config = resolve(&open, &["--insecure-network"]).unwrap();
    assert_eq!(config.peers[&NodeId::new(1)].as_deref(), Some("db1:7101"));
}

/// Reads a secret from a file with this text.
fn secret(text: &str) -> Result<Secret, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Secret::read(&path)
}

#[test]
fn a_short_secret_is_refused_and_a_line_break_is_no_part_of_one() {
    let complaint = secret("0123456789abcde\n\n").expect_err("accepted").to_string();
    assert!(complaint.contains("has 15 bytes"), "{complaint}");
    let keys = ["0123456789abcdef", "0123456789abcdef\n", "0123456789abcdeg"]
        .map(|text| secret(text).expect("long enough").key());
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}
