//! Real processes: what a newcomer does with `merganser dev`, what an operator does to a
//! node, and what must not happen.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use common::{Cluster, PROGRAM, eventually, free_ports, is_alive, request, signal, try_request};

#[test]
fn a_killed_node_is_missed_by_nobody_and_catches_up_on_what_is_read() {
    let mut cluster = Cluster::start_with_table(3);
    let path = |name: &str| format!("/v1/kv/demo/notes/{name}");

    assert_eq!(cluster.put(1, &path("before"), "first").status, 204);
    assert_eq!(cluster.get(3, &path("before")).text(), "first");

    cluster.kill(2);
    cluster.wait_for("n2 ended");
    let read = cluster.get(1, &path("before"));
    let context = read.header("merganser-context").expect("a read has a context").to_owned();
    assert_eq!(cluster.put_after(3, &path("before"), "second", &context).status, 204);
    assert_eq!(cluster.get(1, &path("before")).text(), "second");

    cluster.restart(2);
    cluster.wait_for_alive(1, 3);
    let all = format!("{}?r=ALL", path("before"));
    assert_eq!(cluster.get(2, &all).text(), "second", "no sibling either: the first is superseded");
    let one = format!("{}?r=ONE", path("before"));
    eventually("the node that was away holds what was read", || {
        cluster.get(2, &one).text() == "second"
    });
    cluster.stop();
}

#[test]
fn a_node_whose_disk_was_lost_is_filled_again_without_a_read() {
    let mut cluster = Cluster::start_with_table(3);
    let path = |number: u32| format!("/v1/kv/demo/notes/k{number}");
    for number in 0..40 {
        assert_eq!(cluster.put(1, &path(number), "kept").status, 204);
    }
    // What everybody has on disk is in no log any more.
    let is_proven = |cluster: &Cluster, node: u16| {
        let metrics = cluster.get(node, "/metrics").text();
        let value = |name: &str| -> Option<f64> {
            let line = metrics.lines().find(|line| line.split(' ').next() == Some(name))?;
            line.split(' ').nth(1)?.parse().ok()
        };
        let (age, up) = (value("merganser_unproven_seconds"), value("merganser_uptime_seconds"));
        age.zip(up).is_some_and(|(age, up)| age < 3.0 && age + 0.5 < up)
    };
    let are_proven = |cluster: &Cluster| is_proven(cluster, 1) && is_proven(cluster, 2);
    eventually("all shards are shown to be equal", || are_proven(&cluster));
    cluster.kill(3);
    cluster.wait_for("n3 ended");
    std::fs::remove_dir_all(cluster.node_dir(3).join("data")).unwrap();
    eventually("the others have not heard of it for a while", || !are_proven(&cluster));
    cluster.restart(3);
    cluster.wait_for_alive(1, 3);
    eventually("they are equal again", || are_proven(&cluster));
    for number in 0..40 {
        let read = cluster.get(3, &format!("{}?r=ONE", path(number)));
        assert_eq!(read.text(), "kept", "k{number}");
        let receipt = read.header("merganser-receipt").unwrap();
        assert!(receipt.contains("acks=n3;"), "n3 answered alone: {receipt}");
    }
    cluster.stop();
}

#[test]
fn a_node_with_an_empty_disk_votes_on_nothing_until_it_is_whole_and_a_replaced_one_never_again() {
    let mut cluster = Cluster::start_with_table(3);
    for number in 0..20 {
        assert_eq!(cluster.put(1, &format!("/v1/kv/demo/notes/k{number}"), "kept").status, 204);
    }
    let disk = |cluster: &Cluster, node: u16| {
        let status: serde_json::Value =
            serde_json::from_str(&cluster.get(node, "/v1/status").text()).unwrap();
        let text = |name: &str| status["disk"][name].as_str().unwrap().to_owned();
        (text("disk"), text("state"))
    };
    let (first, state) = disk(&cluster, 3);
    assert_eq!(state, "enrolled");
    for node in [2, 3] {
        cluster.kill(node);
        cluster.wait_for(&format!("n{node} ended"));
    }
    let (dir, aside) = (cluster.node_dir(3).join("data"), cluster.node_dir(3).join("aside"));
    std::fs::rename(&dir, &aside).unwrap();
    cluster.restart_to_join(3);
    eventually("n3 is joining", || disk(&cluster, 3).1 == "joining");
    assert_eq!(cluster.get(3, "/health/ready").status, 503);
    eventually("n1 knows of it", || {
        let status: serde_json::Value =
            serde_json::from_str(&cluster.get(1, "/v1/status").text()).unwrap();
        status["nodes"][2]["joining"].is_string()
    });
    // n1 and n3 are there, and only n1 counts.
    let read = cluster.get(1, "/v1/kv/demo/notes/k1?r=2&timeout=1000");
    assert!([503, 504].contains(&read.status), "{}", read.text());
    let evict = |cluster: &Cluster, node: &str| {
        let url = format!("http://{}", cluster.address(1));
        let mut command = Command::new(PROGRAM);
        let output = command.args(["evict", node, "--node", &url]).output().unwrap();
        let text = [&*output.stdout, &*output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, told) = evict(&cluster, "n1");
    assert!(code == Some(1) && told.contains("--although-it-serves"), "{told}");
    let (code, told) = evict(&cluster, "n3");
    assert!(code == Some(0) && told.contains(&first), "{told}");
    cluster.restart(2);
    eventually("n3 is whole", || disk(&cluster, 3).1 == "enrolled");
    let read = cluster.get(3, "/v1/kv/demo/notes/k1?r=1");
    assert_eq!(read.text(), "kept");

    // The first disk is found again.
    cluster.kill(3);
    std::fs::rename(&dir, cluster.node_dir(3).join("second")).unwrap();
    std::fs::rename(&aside, &dir).unwrap();
    cluster.restart_to_join(3);
    eventually("n3 knows that it was replaced", || disk(&cluster, 3).1 == "retired");
    let ready = cluster.get(3, "/health/ready");
    assert!(ready.text().contains("never serves again"), "{}", ready.text());
    cluster.stop();
}

#[test]
fn what_each_replica_holds_is_shown_while_one_is_away_and_when_it_is_back() {
    let mut cluster = Cluster::start_with_table(3);
    let path = "/v1/kv/demo/notes/k";
    assert_eq!(cluster.put(1, path, "first").status, 204);
    cluster.kill(2);
    cluster.wait_for("n2 ended");
    let context = cluster.get(1, path).header("merganser-context").unwrap().to_owned();
    assert_eq!(cluster.put_after(3, path, "second", &context).status, 204);
    assert_eq!(cluster.put(3, path, "beside").status, 204);

    let told = explain(&cluster, &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let replicas = told["holds"]["replicas"].as_array().unwrap();
    let of = |node: u16| replicas.iter().find(|holding| holding["node"] == node).unwrap();
    assert_eq!((&of(2)["answered"], &of(1)["answered"]), (&false.into(), &true.into()));
    assert_eq!(of(1)["values"].as_array().unwrap().len(), 2);
    assert_eq!(told["holds"]["read"]["kind"], "strict");
    let quorum = told["levels"].as_array().unwrap().iter();
    let quorum = quorum.clone().find(|level| level["level"] == "QUORUM").unwrap();
    assert_eq!(quorum["write"]["survives"], 0);
    let words = explain(&cluster, &[]);
    assert!(words.contains("n2 did not say what it holds"), "{words}");

    cluster.restart(2);
    cluster.wait_for_alive(1, 3);
    eventually("all replicas are said to hold the same", || {
        explain(&cluster, &[]).contains("All replicas hold the same.")
    });
    cluster.stop();
}

/// What the command says of a key.
fn explain(cluster: &Cluster, options: &[&str]) -> String {
    let node = format!("http://{}", cluster.address(1));
    let words = ["explain", "demo", "notes", "--key", "k", "--node", &node];
    let output = Command::new(PROGRAM).args(words).args(options).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

/// n2 and n3 are told only where n1 is. Which of them may dial the other, and where, each hears
/// from n1.
#[test]
fn nodes_find_each_other_through_one_whose_address_they_know() {
    let mut cluster = Cluster::start_with_table(3);
    for node in [2, 3] {
        cluster.kill(node);
        cluster.wait_for(&format!("n{node} ended"));
    }
    for node in [2, 3] {
        let file = cluster.node_dir(node).join("node.toml");
        let mut config = fs::read_to_string(&file).unwrap();
        for hidden in [2, 3] {
            let known = format!("peer = \"{}\"", cluster.peer_address(hidden));
            assert!(config.contains(&known), "{config}");
            config = config.replace(&known, "peer = \"\"");
        }
        let own = cluster.peer_address(node);
        fs::write(&file, format!("peer_address = \"{own}\"\n{config}")).unwrap();
        cluster.restart(node);
    }
    for node in 1..=3 {
        cluster.wait_for_alive(node, 3);
    }
    assert_eq!(cluster.put(2, "/v1/kv/demo/notes/all?w=ALL", "here").status, 204);
    assert_eq!(cluster.get(3, "/v1/kv/demo/notes/all?r=ALL").text(), "here");
}

#[test]
fn data_is_kept_between_runs_and_nothing_stays_behind() {
    let mut cluster = Cluster::start_with_table(3);
    assert_eq!(cluster.put(2, "/v1/kv/demo/notes/kept", "here").status, 204);
    let pids: Vec<u32> = (1..=3).map(|node| cluster.pid(node)).collect();
    cluster.stop();
    assert!(pids.iter().all(|pid| !is_alive(*pid)), "a node outlived dev");
    for node in 1..=3 {
        assert!(!cluster.node_dir(node).join("data/node.pid").exists());
        assert!(cluster.log(node).contains("stopped, everything is on disk"));
    }
    cluster.start_again();
    for node in 1..=3 {
        cluster.wait_for_alive(node, 3);
        assert_eq!(cluster.get(node, "/v1/kv/demo/notes/kept").text(), "here");
    }
}

#[test]
fn nodes_end_when_dev_is_killed() {
    let mut cluster = Cluster::start(3);
    let pids: Vec<u32> = (1..=3).map(|node| cluster.pid(node)).collect();
    cluster.kill_dev();
    eventually("all nodes are gone", || pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn all_nodes_killed_at_once_lose_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start_with_table(3);
    for number in 0..50 {
        let path = format!("/v1/kv/demo/notes/k{number}");
        assert_eq!(cluster.put(number % 3 + 1, &path, &format!("v{number}")).status, 204);
    }
    for node in 1..=3 {
        cluster.kill(node);
    }
    for node in 1..=3 {
        cluster.restart(node);
    }
    cluster.wait_for_alive(1, 3);
    for number in 0..50 {
        let answer = cluster.get(1, &format!("/v1/kv/demo/notes/k{number}"));
        assert_eq!(answer.text(), format!("v{number}"));
    }
}

#[test]
fn garbage_on_the_peer_port_is_logged_and_harms_nobody() {
    let cluster = Cluster::start_with_table(3);
    let mut stranger = TcpStream::connect(cluster.peer_address(2)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stranger.read_to_end(&mut Vec::new()).unwrap();
    eventually("the refusal is logged", || {
        cluster.log(2).contains("refused a connection on the peer port")
    });
    cluster.wait_for_alive(2, 3);
    assert_eq!(cluster.put(2, "/v1/kv/demo/notes/a", "fine").status, 204);
}

#[test]
fn a_second_process_on_one_directory_is_refused() {
    let cluster = Cluster::start(1);
    let refused = serve(&["--config", cluster.node_dir(1).join("node.toml").to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("is in use by another process"), "{said}");
    assert_eq!(cluster.get(1, "/health").status, 200);
}

#[test]
fn a_second_dev_on_one_directory_or_port_is_refused() {
    let cluster = Cluster::start(1);
    let dir = cluster.node_dir(1).parent().unwrap().to_owned();
    let dev = |args: &[&str]| Command::new(PROGRAM).arg("dev").args(args).output().unwrap();
    let port = cluster.address(1).rsplit_once(':').unwrap().1.to_owned();

    let same_dir = dev(&["--nodes=1", "--dir", dir.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&same_dir.stderr).into_owned();
    assert!(!same_dir.status.success() && said.contains("another merganser dev"), "{said}");

    let other = tempfile::tempdir().unwrap();
    let same_port =
        dev(&["--nodes=1", "--base-port", &port, "--dir", other.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&same_port.stderr).into_owned();
    assert!(!same_port.status.success() && said.contains("is in use"), "{said}");
}

#[test]
fn a_node_alone_stops_cleanly_and_says_what_is_wrong_with_its_options() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "a secret of more than sixteen bytes").unwrap();
    let port = free_ports(2);
    let (http, peer) = (format!("127.0.0.1:{port}"), format!("1@127.0.0.1:{}", port + 1));
    let (secret, data) = (secret.to_str().unwrap(), dir.path().join("data"));
    let options = [
        "--node-id=1",
        "--cluster=5",
        "--nodes",
        &peer,
        "--secret-file",
        secret,
        "--data-dir",
        data.to_str().unwrap(),
        "--http-listen",
        &http,
    ];

    let refused = serve(&options);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("secret_file: others may read"), "{said}");
    assert!(!data.exists(), "nothing is made before the options are right");

    let refused = serve(&[&options[..], &["--log-level=inof"]].concat());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("log_level: \"inof\" is no level"), "{said}");
    assert_eq!(refused.status.code(), Some(1));

    assert!(Command::new("chmod").args(["600", secret]).status().unwrap().success());
    let mut node = Command::new(PROGRAM)
        .arg("serve")
        .args(options)
        .env("MERGANSER_LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    eventually("the node answers", || {
        try_request(&http, "GET", "/health", &[], b"").is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(request(&http, "PUT", "/v1/keyspaces/solo", &[], b"").status, 201);
    signal("-TERM", node.id());
    assert!(node.wait().unwrap().success());
    let mut log = String::new();
    node.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.lines().all(|line| line.starts_with('{')), "{log}");
    assert!(log.contains("\"message\":\"ready\""), "{log}");
}

#[test]
fn a_node_whose_disk_fails_says_so_and_ends_without_answering() {
    let mut cluster = Cluster::start_with_table(1);
    cluster.stop();
    // Files may grow to one mebibyte, as on a disk that is full.
    let script = "ulimit -f 1024; exec \"$0\" serve --config \"$1\"";
    let mut node = Command::new("bash")
        .args(["-c", script, PROGRAM])
        .arg(cluster.node_dir(1).join("node.toml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let address = cluster.address(1);
    eventually("the node answers", || {
        try_request(&address, "GET", "/health", &[], b"").is_ok_and(|answer| answer.status == 200)
    });
    let body = vec![b'x'; 100_000];
    let mut taken = 0;
    let end = loop {
        let path = format!("/v1/kv/demo/notes/k{taken}");
        match try_request(&address, "PUT", &path, &[], &body) {
            Ok(answer) if answer.status == 204 => taken += 1,
            other => break other,
        }
        assert!(taken < 10_000, "the disk never failed");
    };
    assert!(end.is_err(), "an answer that nobody could give: {end:?}");
    assert_eq!(node.wait().unwrap().code(), Some(8));
    let mut log = String::new();
    node.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("the disk failed"), "{log}");

    cluster.restart(1);
    for number in 0..taken {
        let answer = cluster.get(1, &format!("/v1/kv/demo/notes/k{number}"));
        assert_eq!(answer.body.len(), body.len(), "k{number} of {taken} was acknowledged");
    }
}

#[test]
fn a_node_whose_log_cannot_be_written_serves_and_stops_as_any_other() {
    let mut cluster = Cluster::start_with_table(1);
    cluster.stop();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut node = Command::new(PROGRAM)
        .args(["serve", "--config"])
        .arg(cluster.node_dir(1).join("node.toml"))
        .stderr(full())
        .spawn()
        .unwrap();
    eventually("the node answers", || {
        let answer = try_request(&cluster.address(1), "GET", "/health", &[], b"");
        answer.is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(cluster.put(1, "/v1/kv/demo/notes/quiet", "kept").status, 204);
    signal("-TERM", node.id());
    assert_eq!(node.wait().unwrap().code(), Some(0));

    let wrong = ["serve", "--config", "/does/not/exist"];
    let status = Command::new(PROGRAM).args(wrong).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(1), "what cannot be said is still told by the code");
}

#[test]
fn a_node_on_a_disk_that_takes_nothing_more_is_never_ready() {
    let mut cluster = Cluster::start_with_table(1);
    cluster.stop();
    let config = cluster.node_dir(1).join("node.toml");
    // Files may grow to half a mebibyte, as on a disk that is nearly full.
    let script = "ulimit -f 512; exec \"$0\" serve --config \"$1\"";
    let mut bash = Command::new("bash");
    let output = bash.args(["-c", script, PROGRAM]).arg(config).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{log}");
    assert!(log.contains("the disk failed") && !log.contains("ready"), "{log}");
    assert!(!cluster.node_dir(1).join("data/probe").exists(), "nothing stays behind");
    cluster.restart(1);
}

#[test]
fn a_node_on_a_full_disk_says_so_and_is_never_ready() {
    let mut cluster = Cluster::start_with_table(1);
    cluster.stop();
    let data = cluster.node_dir(1).join("data");
    let tight = tempfile::tempdir().unwrap();
    let script = "set -e; mount -t tmpfs -o size=8m none \"$3\"; cp -a \"$2\" \"$3/data\"; \
        head -c 64m /dev/zero > \"$3/rest\" || true; exec \"$0\" serve --config \"$1\" --data-dir \"$3/data\"";
    // The mount is seen by this process only, and goes away with it.
    let output = Command::new("unshare")
        .args(["--mount", "bash", "-c", script, PROGRAM])
        .args([&cluster.node_dir(1).join("node.toml"), &data, tight.path()])
        .output();
    let output = match output {
        Ok(output) if output.status.code() != Some(32) => output,
        refused => return println!("SKIPPED(cannot mount a small disk: {refused:?})"),
    };
    let log = String::from_utf8_lossy(&output.stderr);
    if log.contains("unshare:") {
        return println!("SKIPPED(cannot mount a small disk: {log})");
    }
    assert_eq!(output.status.code(), Some(8), "{log}");
    assert!(
        log.contains("is full") && !log.contains("\"ready\"") && !log.contains(" ready "),
        "{log}"
    );
}

#[test]
fn a_peer_that_stands_still_is_missed_in_the_log_and_heard_again() {
    let mut cluster = Cluster::start(2);
    let missed = "nothing is heard from the peer";
    cluster.wait_for_alive(1, 2);
    assert!(!cluster.log(1).contains(missed), "{}", cluster.log(1));
    signal("-STOP", cluster.pid(2));
    eventually("the silent peer is missed", || cluster.log(1).contains(missed));
    signal("-CONT", cluster.pid(2));
    eventually("the peer is heard again", || cluster.log(1).contains("the peer is heard again"));
    cluster.stop();
}

/// Runs `merganser serve` to its end.
fn serve(options: &[&str]) -> Output {
    Command::new(PROGRAM).arg("serve").args(options).output().expect("the program is there")
}

/// What the doctor finds: the causes, and whether something is critical.
fn doctor(cluster: &Cluster) -> (Vec<String>, bool) {
    let nodes: Vec<String> =
        (1..=3).map(|node| format!("http://{}", cluster.address(node))).collect();
    let output = Command::new(PROGRAM)
        .args(["doctor", "--json", "--node", &nodes.join(",")])
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let said: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    let findings = said.get("findings").and_then(|list| list.as_array()).expect("a list").iter();
    let cause = |finding: &serde_json::Value| finding.get("cause")?.as_str().map(str::to_owned);
    let causes = findings.filter_map(cause);
    (causes.collect(), !output.status.success())
}

#[test]
fn the_doctor_tells_a_node_that_is_gone_from_one_that_stands_still() {
    let mut cluster = Cluster::start_with_table(3);
    for number in 0..50 {
        let path = format!("/v1/kv/demo/notes/k{number}");
        assert_eq!(cluster.put(1, &path, "value").status, 204);
    }
    let metrics = cluster.get(1, "/metrics").text();
    let puts = "merganser_request_seconds_count{operation=\"put\",outcome=\"met\"} 50";
    assert!(metrics.contains(puts), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let mut names: Vec<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "a name is there twice: Prometheus refuses all of it");
    assert_eq!(cluster.get(1, "/health/shards").status, 200);
    let (causes, is_critical) = doctor(&cluster);
    // How slow the disk and how full the machine of a test is, is no matter here.
    assert!(!is_critical, "{causes:?}");

    signal("-STOP", cluster.pid(2));
    eventually("n1 misses n2", || cluster.get(1, "/health").text().contains("n2"));
    let (causes, is_critical) = doctor(&cluster);
    assert!(is_critical && causes.contains(&"node_hangs".to_owned()), "{causes:?}");
    signal("-CONT", cluster.pid(2));
    cluster.wait_for_alive(1, 3);

    cluster.kill(3);
    cluster.wait_for("n3 ended");
    eventually("n1 misses n3", || cluster.get(1, "/health").text().contains("n3"));
    let (causes, _) = doctor(&cluster);
    assert!(causes.contains(&"node_down".to_owned()), "{causes:?}");
    assert!(causes.contains(&"fragile".to_owned()), "one more, and nothing works: {causes:?}");
    let shards = cluster.get(1, "/health/shards");
    assert_eq!(shards.status, 200, "two of three suffice: {}", shards.text());
    cluster.stop();
}
