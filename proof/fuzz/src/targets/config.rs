//! The configuration file of a node.

use super::Target;
use crate::config::{Config, Raw};

pub(super) const TARGETS: &[Target] = &[Target {
    seeds,
    dictionary: WORDS,
    base: 256 << 10,
    per_byte: 2048,
    ..Target::new("config", config)
}];

const WORDS: &[&str] = &[
    "node_id = ",
    "cluster = ",
    "secret_file = \"",
    "data_dir = \"",
    "http_listen = \"",
    "peer_listen = \"",
    "insecure_network = true\n",
    "[[nodes]]\n",
    "id = ",
    "peer = \"",
    "region = \"",
    "zone = \"",
    "value_bytes_max = \"",
    "siblings_max = ",
    "requests_max = ",
    "connections_max = ",
    "cache = \"",
    "log_level = \"",
    "log_format = \"json\"\n",
    "1MiB",
    "127.0.0.1:7101",
    "[::1]:7101",
    "18446744073709551615",
];

const RIGHT: &str = r#"node_id = 2
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
region = "north"
"#;

fn seeds() -> Vec<Vec<u8>> {
    vec![
        RIGHT.into(),
        RIGHT.replace("127.0.0.1:7101", "10.0.0.1:7101").into(),
        b"nodes = [{ id = 1, peer = \"h:1\" }]\nnode_id = 1\nlog_format = \"json\"\ncache = \"18EiB\"".into(),
        [RIGHT, "\nid = 3\npeer=\"[::1]:7103\"\n"].concat().replace("77\n", "77\ninsecure_network = true\n").into(),
    ]
}

/// A file that is accepted names a layout with this node in it, and says where the others are.
fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(mut raw) = Raw::parse(text) else { return };
    // The secret is a file of its own: not that of the input, which may name any file.
    raw.secret_file = Some(secret().clone());
    let Ok(config) = Config::resolve(raw) else { return };
    assert!(config.layout.members.contains_key(&config.node));
    assert!(!config.peers.contains_key(&config.node));
    assert_eq!(config.peers.len() + 1, config.layout.members.len());
    assert!(0 < config.limits.requests_max && 0 < config.connections_max);
}

fn secret() -> &'static std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    static PATH: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
    PATH.get_or_init(|| {
        let path =
            std::env::temp_dir().join(format!("merganser-fuzz-secret-{}", std::process::id()));
        std::fs::write(&path, "0123456789abcdef\n").expect("a place for a secret");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("a file of our own");
        path
    })
}
