//! Clients that try each write again until it is acknowledged, at whatever node answers, while
//! nodes are killed and stand still, and while a third of the attempts is given up at some
//! moment before it is answered.
//!
//! Every write has a token, so each must have exactly one effect. That is looked at where two
//! effects would show:
//!
//! ```text
//! list-1 = 0,1,2,...,n     one client appends to what it has read. An append that is done twice,
//!                          or comes back after the next one, is a second value of the key
//! once-7 = {a}{b}{c}...    many clients write without having read. An attempt that is taken for
//!                          another write is a value that is there twice
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{
    Client, Content, Context, Error, Identity, Key, Level, ReadOptions, Table, Token, WriteOptions,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Bench, Sabotage, Scene};
use crate::load::{Load, read};
use crate::outcome::{Figures, Stop};
use crate::process::{signal, sleep};

/// Clients at once, each with a list of its own.
const CLIENTS: u64 = 4;

/// How many values of one client go to one of the keys that all write to. Together fewer than
/// a key may hold.
const TOGETHER: u64 = 15;

/// How long a client waits for one call. Short, so that a node that stands still is noticed.
const TIMEOUT: Duration = Duration::from_millis(500);

/// How long a write may take with all that a client does for it. Nodes are away for a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often in a hundred a client gives an attempt up at a random moment.
const GIVES_UP: u32 = 30;

/// Rounds between two looks at all keys.
const ROUNDS_PER_CHECK: u64 = 15;

/// What each key must hold in the end: exactly these values.
type Expected = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let mut bench = Bench::start(scene, 3)?;
    let (expected, mut figures) = (Expected::default(), Figures::default());
    let rounds = scene.rounds(30, 2_000);
    while figures.rounds < rounds {
        let clients = Clients::start(&bench.load, &expected, figures.rounds, rng.random());
        for _ in 0..ROUNDS_PER_CHECK.min(rounds - figures.rounds) {
            sleep(Duration::from_millis(rng.random_range(50..200)))?;
            figures.faults += mistreat(scene, &mut bench, &mut rng)?;
            figures.rounds += 1;
        }
        let (acknowledged, in_vain) = clients.finish()?;
        figures.acknowledged += acknowledged;
        figures.unknown += in_vain;
        if bench.sabotage == Some(Sabotage::Write) {
            expect(&expected, "once-0", "never-written".to_owned());
        }
        bench.cluster.wait_for_all_alive()?;
        figures.checked += check(&bench.load, &expected)?;
    }
    if figures.faults < rounds {
        return Err(Stop::Failed(format!("{} of {rounds} nodes were mistreated", figures.faults)));
    }
    if figures.unknown < rounds || figures.acknowledged < rounds {
        return Err(Stop::failed("hardly a write was tried again"));
    }
    Ok(figures)
}

/// Kills one of the nodes, or lets it stand still. Returns how many it were.
fn mistreat(scene: &Scene<'_>, bench: &mut Bench, rng: &mut SmallRng) -> Result<u64, Stop> {
    let id = rng.random_range(1..=3);
    if !scene.is_real() {
        return Ok(0);
    }
    if rng.random_bool(0.6) {
        let killed = bench.cluster.kill(&[id])?;
        sleep(Duration::from_millis(rng.random_range(0..300)))?;
        bench.cluster.start(id)?;
        return Ok(killed);
    }
    let pid = bench.cluster.pid(id)?;
    signal("STOP", pid)?;
    let paused = sleep(Duration::from_millis(rng.random_range(200..1_000)));
    signal("CONT", pid)?;
    paused.map(|()| 1)
}

fn expect(expected: &Expected, key: &str, value: String) {
    let mut all = expected.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(key.to_owned()).or_default().push(value);
}

/// Compares all keys with what they must hold, at a quorum and at `ALL`.
fn check(load: &Load, expected: &Expected) -> Result<u64, Stop> {
    let all = expected.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let table = load.client(Duration::from_secs(20), 16)?.table("t", "t");
    let mut checked = 0;
    for level in [Level::Quorum, Level::All] {
        let options = ReadOptions { r: Some(level), ..ReadOptions::default() };
        for (name, wanted) in &all {
            let found = runtime.block_on(read(&table, name, &options));
            let (found, _) = found.map_err(|err| Stop::Failed(format!("{name}: {err}")))?;
            compare(name, wanted, found).map_err(Stop::Failed)?;
            checked += 1;
        }
    }
    Ok(checked)
}

/// Exactly these values, each once.
fn compare(name: &str, wanted: &[String], mut found: Vec<String>) -> Result<(), String> {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    found.sort_unstable();
    if wanted == found {
        return Ok(());
    }
    if let Some(twice) = found.windows(2).find(|two| two.first() == two.last()) {
        return Err(format!("{name}: DOUBLED {:?}", twice.first()));
    }
    match wanted.iter().find(|value| !found.contains(value)) {
        Some(value) => Err(format!("{name}: LOST {value}: found {found:?}")),
        None => Err(format!("{name}: more than was written: {found:?} and not {wanted:?}")),
    }
}

/// Running clients. They end when this is dropped.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(u64, u64), Stop>>>,
}

impl Clients {
    /// Starts them. Their keys are of this `part` of the run only.
    fn start(load: &Load, expected: &Expected, part: u64, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |number: u64| {
            let (load, expected, stop) = (load.clone(), Arc::clone(expected), Arc::clone(&stop));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let client: Client = load.client(TIMEOUT, 16)?;
                let rng = SmallRng::seed_from_u64(seed ^ (number << 32));
                let mut one = One { table: client.table("t", "t"), rng, expected, in_vain: 0 };
                runtime.block_on(one.work(part, number, &stop))
            })
        };
        let threads = (0..CLIENTS).map(one).collect();
        Self { stop, threads }
    }

    /// Lets each finish its write and end. Returns how many writes they made, and how many
    /// attempts were in vain.
    fn finish(mut self) -> Result<(u64, u64), Stop> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut made, mut in_vain) = (0, 0);
        for thread in std::mem::take(&mut self.threads) {
            let (one, other) = thread.join().map_err(|_| Stop::failed("a client panicked"))??;
            (made, in_vain) = (made + one, in_vain + other);
        }
        Ok((made, in_vain))
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// One client.
struct One {
    table: Table,
    rng: SmallRng,
    expected: Expected,
    in_vain: u64,
}

impl One {
    /// Appends and writes until it is told to stop. Returns how many writes it made, and how
    /// many attempts were in vain.
    async fn work(
        &mut self,
        part: u64,
        number: u64,
        stop: &AtomicBool,
    ) -> Result<(u64, u64), Stop> {
        let list = format!("list-{part}-{number}");
        let (mut text, mut made) = (String::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            let context = self.read_back(&list, &text).await?;
            text = if text.is_empty() { "0".to_owned() } else { format!("{text},{made}") };
            self.press(&list, &text, context.as_ref()).await?;
            let together = format!("once-{part}-{}", made / TOGETHER);
            let unique = format!("{number}.{made}");
            self.press(&together, &unique, None).await?;
            expect(&self.expected, &together, unique);
            made += 1;
        }
        expect(&self.expected, &list, text);
        Ok((2 * made, self.in_vain))
    }

    /// Reads the list, which must be as it was left.
    async fn read_back(&mut self, list: &str, text: &str) -> Result<Option<Context>, Stop> {
        let until = Instant::now() + PATIENCE;
        loop {
            match read(&self.table, list, &ReadOptions::default()).await {
                Ok((found, context)) => {
                    let wanted: Vec<String> = Some(text.to_owned()).into_iter().collect();
                    let wanted = if text.is_empty() { &[][..] } else { &wanted[..] };
                    compare(list, wanted, found).map_err(Stop::Failed)?;
                    return Ok(context);
                }
                Err(err) if Instant::now() < until => drop(err),
                Err(err) => return Err(Stop::Failed(format!("a read of {list}: {err}"))),
            }
        }
    }

    /// Writes until it is acknowledged, always under one token.
    async fn press(
        &mut self,
        name: &str,
        value: &str,
        context: Option<&Context>,
    ) -> Result<(), Stop> {
        let (key, content, token) = (Key::from(name), Content::text(value), Token::new());
        let options = WriteOptions { identity: Identity::Known(token), ..WriteOptions::default() };
        let until = Instant::now() + PATIENCE;
        loop {
            let attempt = self.table.put(&key, &content, context, &options);
            let gives_up = self.rng.random_range(0..100) < GIVES_UP;
            let patience = match gives_up {
                true => Duration::from_micros(self.rng.random_range(0..5_000)),
                false => PATIENCE,
            };
            let why = match tokio::time::timeout(patience, attempt).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(err @ (Error::Refused(_) | Error::Protocol { .. }))) => {
                    return Err(Stop::Failed(format!("a write of {name}: {err}")));
                }
                Ok(Err(err)) => err.to_string(),
                Err(_) => "given up".to_owned(),
            };
            self.in_vain += 1;
            if until < Instant::now() {
                return Err(Stop::Failed(format!("a write of {name}, in {PATIENCE:?}: {why}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_or_not_at_all_is_told_apart() {
        let values = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let wanted: Vec<String> = values(&["a", "b"]);
        let said = |found: &[&str]| compare("k", &wanted, values(found)).err().unwrap_or_default();
        assert_eq!(said(&["b", "a"]), "");
        assert!(said(&["a", "b", "a"]).contains("DOUBLED"));
        assert!(said(&["a"]).contains("LOST b"));
        assert!(said(&["a", "b", "c"]).contains("more than"));
    }
}
