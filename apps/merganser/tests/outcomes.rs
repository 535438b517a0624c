//! Real processes and the command line: a write that ended unknown, and what became of it.

mod common;

use std::process::{Command, Output};

use common::{Cluster, PROGRAM, signal};

fn merganser(cluster: &Cluster, arguments: &[&str]) -> Output {
    let nodes: Vec<String> =
        (1..=3).map(|node| format!("http://{}", cluster.address(node))).collect();
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(["--node", &nodes.join(",")]);
    command.output().expect("the program runs")
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// The commands that a message tells to run, without the name of the program.
fn told(text: &str) -> Vec<String> {
    let token = text.split_once("`merganser outcome ").expect("it names a command").1;
    let command = token.split_once('`').expect("it is quoted").0;
    command.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_write_that_ended_unknown_says_how_to_find_out_and_is_done_once_when_done_again() {
    let mut cluster = Cluster::start_with_table(3);
    signal("-STOP", cluster.pid(3));
    let put = ["put", "demo", "notes", "k", "once", "--w", "ALL", "--timeout", "1s"];
    let (code, text) = said(&merganser(&cluster, &put));
    signal("-CONT", cluster.pid(3));
    assert_eq!(code, Some(6), "{text}");
    let asked = told(&text);
    let [token, keyspace, table, key] = &asked[..] else { panic!("{text}") };

    cluster.wait_for_alive(1, 3);
    let ask = ["outcome", token, keyspace, table, key];
    let (code, text) = said(&merganser(&cluster, &ask));
    assert!(code == Some(0) && text.starts_with("applied"), "{text}");
    let again = ["put", "demo", "notes", "k", "once", "--w", "ALL", "--idempotency-key", token];
    let (code, text) = said(&merganser(&cluster, &again));
    assert!(code == Some(0) && text.starts_with("stored before"), "{text}");
    assert_eq!(cluster.get(2, "/v1/kv/demo/notes/k?r=ALL").text(), "once");

    let (code, text) = said(&merganser(&cluster, &["put", "demo", "notes", "k", "b", "--replace"]));
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = said(&merganser(&cluster, &ask));
    assert!(code == Some(0) && text.starts_with("superseded"), "{text}");
    let elsewhere = ["outcome", token, keyspace, table, "other"];
    let (code, text) = said(&merganser(&cluster, &elsewhere));
    assert!(code == Some(4) && text.starts_with("not seen"), "{text}");
    cluster.stop();
}
