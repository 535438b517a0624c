//! A real network: round trips, blocks and losses as real sockets see them. Skipped without
//! root, which says so.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use switch::{Error, Network, Rule};

/// A network, unless it cannot be had here.
fn network(namespaces: usize) -> Option<Network> {
    if Command::new("ping").arg("-V").output().is_err() {
        eprintln!("SKIPPED(ping is not installed)");
        return None;
    }
    match Network::create(namespaces, 1) {
        Ok(network) => Some(network),
        Err(Error::Unavailable(why)) => {
            eprintln!("SKIPPED({why})");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Starts a `ping` from one port to another.
fn ping(network: &Network, from: usize, to: usize, arguments: &[&str]) -> Child {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", network.namespace(from), "ping", "-n", "-q"]);
    command.args(arguments).arg(network.address(to).to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

/// How many of so many pings were answered.
fn answered(network: &Network, from: usize, to: usize, count: u32) -> u32 {
    let count = count.to_string();
    let pinging = ping(network, from, to, &["-c", &count, "-i", "0.002", "-W", "1"]);
    let said = String::from_utf8(pinging.wait_with_output().unwrap().stdout).unwrap();
    let received = said.split(", ").find_map(|part| part.strip_suffix(" received"));
    received.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

#[test]
fn a_round_trip_takes_the_delays_of_both_directions() {
    let Some(network) = network(2) else { return };
    assert_eq!(answered(&network, 1, 2, 5), 5);
    network.set(1, 2, Rule { delay: Duration::from_millis(60), ..Rule::default() });
    network.set(2, 1, Rule { delay: Duration::from_millis(40), ..Rule::default() });
    let started = Instant::now();
    assert_eq!(answered(&network, 1, 2, 1), 1);
    let took = started.elapsed().as_millis();
    assert!((100..400).contains(&took), "{took} ms");
    let (there, back) = (network.counts(1, 2), network.counts(2, 1));
    assert_eq!((there.arrived, back.arrived, there.delayed, back.delayed), (6, 6, 1, 1));
}

#[test]
fn a_block_stops_one_direction_and_heals() {
    let Some(network) = network(2) else { return };
    network.set(2, 1, Rule::blocked());
    assert_eq!(answered(&network, 1, 2, 3), 0, "no answer comes back");
    let (there, back) = (network.counts(1, 2), network.counts(2, 1));
    assert_eq!((there.arrived, there.blocked), (3, 0), "but all have arrived");
    assert_eq!((back.arrived, back.blocked), (0, 3));
    network.heal();
    assert_eq!(answered(&network, 1, 2, 3), 3);
}

#[test]
fn packets_are_lost_and_doubled_as_often_as_the_rule_says() {
    let Some(network) = network(2) else { return };
    network.set(1, 2, Rule { loss: 0.3, duplication: 0.2, ..Rule::default() });
    let came = answered(&network, 1, 2, 500);
    assert!((300..400).contains(&came), "{came} of 500 at a loss of 30 %");
    let counts = network.counts(1, 2);
    assert_eq!(counts.departed, 500);
    assert!((100..200).contains(&counts.lost), "{counts:?}");
    assert!((40..110).contains(&counts.duplicated), "{counts:?}");
}

#[test]
fn this_process_reaches_every_namespace_and_large_datagrams_pass_in_pieces() {
    let Some(network) = network(1) else { return };
    let socket = UdpSocket::bind((network.address(0), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // Nobody listens there: the kernel of the other end says so, which it can only if the
    // whole datagram came.
    socket.connect((network.address(1), 9)).unwrap();
    socket.send(&[7; 4_000]).unwrap();
    let refused = socket.recv(&mut [0; 16]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(network.counts(0, 1).arrived, 3, "4,000 bytes are three packets");
}

/// A shell on the other side, which knows how to make a connection and repeats what it hears.
const ECHO: &str =
    "exec 3<>/dev/tcp/$0/$1 || exit 1; while read -r line <&3; do echo \"$line\" >&3; done";

#[test]
fn a_reset_ends_a_connection_at_both_ends_and_a_new_one_is_refused_until_it_heals() {
    let Some(network) = network(1) else { return };
    let listener = TcpListener::bind((network.address(0), 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let connect = || {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", network.namespace(1), "bash", "-c", ECHO]);
        command.args([&network.address(0).to_string(), &port]);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let mut shell = connect();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut heard = [0; 2];
    stream.write_all(b"a\n").unwrap();
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"a\n");

    network.set(0, 1, Rule { reset: 1.0, ..Rule::default() });
    stream.write_all(b"b\n").unwrap();
    let ended = stream.read(&mut heard).unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    shell.wait().unwrap();
    let (there, back) = (network.counts(0, 1), network.counts(1, 0));
    assert!(0 < there.reset, "{there:?}");
    assert_eq!((there.forged, back.forged), (there.reset, there.reset));

    network.set(1, 0, Rule { reset: 1.0, ..Rule::default() });
    assert!(!connect().wait().unwrap().success(), "the connection is refused");
    network.heal();
    let mut shell = connect();
    drop(listener.accept().unwrap());
    shell.wait().unwrap();
}

#[test]
fn nothing_is_left_behind_and_two_networks_do_not_meet() {
    let Some(one) = network(2) else { return };
    let Some(two) = network(2) else { return };
    assert_ne!(one.address(1), two.address(1));
    let names = [one.namespace(1).to_owned(), two.namespace(2).to_owned()];
    let list = || Command::new("ip").args(["netns", "list"]).output().unwrap().stdout;
    let is_there = |name: &str| String::from_utf8(list()).unwrap().contains(name);
    assert!(names.iter().all(|name| is_there(name)));
    drop((one, two));
    assert!(!names.iter().any(|name| is_there(name)), "{names:?} are still there");
}

#[test]
fn what_a_dead_process_left_is_removed() {
    if network(1).is_none() {
        return;
    }
    // No process has this number: Linux ends at 2^22.
    let name = "merganser-4194999-1-1";
    let made = Command::new("ip").args(["netns", "add", name]).status().unwrap();
    assert!(made.success());
    drop(network(1));
    let list = Command::new("ip").args(["netns", "list"]).output().unwrap().stdout;
    assert!(!String::from_utf8(list).unwrap().contains(name));
}
