//! Clients that misbehave while others work: silent, slow, gone in mid-sentence, or talking
//! nonsense, at the door and at the port for other nodes.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rand::RngExt;

use super::{Bench, Plan};
use crate::outcome::{Figures, Stop};
use crate::process::sleep;

/// Connections that say nothing.
const IDLE: usize = 500;

pub(super) fn run(plan: &Plan) -> Result<Figures, Stop> {
    let mut rng = plan.rng();
    let mut bench = Bench::start(plan, 3)?;
    let mut figures = Figures::default();
    for _ in 0..plan.rounds(1, 50) {
        let workers = bench.load.start(rng.random());
        let doors = bench.cluster.urls();
        let addresses: Vec<&str> =
            doors.iter().filter_map(|url| url.strip_prefix("http://")).collect();
        let mut silent = Vec::new();
        for address in addresses.iter().cycle().take(IDLE) {
            silent.push(TcpStream::connect(address)?);
        }
        let peers = bench.cluster.peers();
        for round in 0..40 {
            let slow = silent.get_mut(round % IDLE);
            // A refusal or a closed connection is the right answer to any of these.
            let _ = slow.map(|stream| stream.write_all(b"G"));
            for address in addresses.iter().copied().chain(peers.iter().map(String::as_str)) {
                let _ = nonsense(address, &mut rng);
                figures.faults += 1;
            }
            sleep(Duration::from_millis(50))?;
        }
        drop(silent);
        workers.finish()?;
        for id in bench.cluster.ids() {
            if bench.cluster.has_ended(id)? || bench.cluster.log(id).contains("panicked") {
                let words = bench.cluster.last_words(id);
                return Err(bench.keep(Stop::Failed(format!("n{id} did not bear it: {words}"))));
            }
        }
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

fn nonsense(address: &str, rng: &mut impl RngExt) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    if rng.random_bool(0.5) {
        let head = "PUT /v1/kv/t/t/half HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        stream.write_all(&[b'x'; 100])?;
    } else {
        let bytes: Vec<u8> = (0..300).map(|_| rng.random()).collect();
        stream.write_all(&bytes)?;
    }
    stream.shutdown(Shutdown::Both)
}
