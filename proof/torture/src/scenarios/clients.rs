//! Clients that misbehave while others work: silent, slow, gone in mid-sentence, or talking
//! nonsense, at the door and at the port for other nodes.
//!
//! Nonsense counts if the node answered it: with a refusal, or by hanging up. Who goes away in
//! mid-sentence counts if the node had taken what he said. And clients who do not misbehave
//! are served meanwhile.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rand::RngExt;

use super::{Bench, Scene};
use crate::outcome::{Figures, Stop};
use crate::process::sleep;

/// Connections that say nothing, or one letter from time to time.
const IDLE: usize = 500;

/// How long a node may take to hang up on nonsense.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes that must be acknowledged in a round. Thousands are, on an idle machine.
const PROGRESS_MIN: u64 = 50;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let mut bench = Bench::start(scene, 3)?;
    let mut figures = Figures::default();
    for _ in 0..scene.rounds(1, 50) {
        let before = bench.load.acknowledged();
        let workers = bench.load.start(rng.random());
        if scene.is_real() {
            figures.faults += misbehave(&bench, &mut rng)?;
        }
        workers.finish()?;
        if figures.faults == 0 {
            return Err(Stop::failed("nobody misbehaved"));
        }
        if bench.load.acknowledged() < before + PROGRESS_MIN {
            return Err(Stop::failed("clients were hardly served beside rude ones"));
        }
        for id in bench.cluster.ids() {
            if bench.cluster.has_ended(id)? || bench.cluster.log(id).contains("panicked") {
                let words = bench.cluster.last_words(id);
                return Err(Stop::Failed(format!("n{id} did not bear it: {words}")));
            }
        }
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

/// Returns how often it was taken notice of.
fn misbehave(bench: &Bench, rng: &mut impl RngExt) -> Result<u64, Stop> {
    let mut noticed = 0;
    let doors: Vec<String> = bench.cluster.urls();
    let doors: Vec<&str> = doors.iter().filter_map(|url| url.strip_prefix("http://")).collect();
    let silent = doors.iter().cycle().take(IDLE).map(TcpStream::connect);
    let mut silent: Vec<TcpStream> = silent.collect::<Result<_, _>>()?;
    let peers = bench.cluster.peers();
    for round in 0..40 {
        // A refusal or a closed connection is the right answer to this.
        let _ = silent.get_mut(round % IDLE).map(|stream| stream.write_all(b"G"));
        for door in &doors {
            noticed += if rng.random() { go_away(door)? } else { talk_nonsense(door, rng)? };
        }
        for peer in &peers {
            noticed += talk_nonsense(peer, rng)?;
        }
        sleep(Duration::from_millis(50))?;
    }
    Ok(noticed)
}

/// Ends in the middle of a request.
fn go_away(address: &str) -> Result<u64, Stop> {
    let mut stream = TcpStream::connect(address)?;
    let head = "PUT /v1/kv/t/t/half HTTP/1.1\r\nHost: a\r\nContent-Length: 4000\r\n\r\n";
    stream.write_all(head.as_bytes())?;
    stream.write_all(&[b'x'; 100])?;
    stream.shutdown(Shutdown::Both)?;
    Ok(1)
}

/// Says something that is nothing, and waits until the node has had enough.
fn talk_nonsense(address: &str, rng: &mut impl RngExt) -> Result<u64, Stop> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let bytes: Vec<u8> = (0..300).map(|_| rng.random()).collect();
    // It may hang up before it has heard all.
    let _ = stream.write_all(&bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).map_err(|err| err.kind()) {
        Err(ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Err(Stop::Failed(format!("{address} listens to nonsense for {PATIENCE:?}")))
        }
        // What it has not read when it hangs up makes the kernel reset the connection.
        Ok(_) | Err(_) => Ok(1),
    }
}
