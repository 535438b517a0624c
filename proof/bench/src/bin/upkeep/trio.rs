//! Three nodes that are the replicas of everything, in one thread, and what they are asked.
//!
//! They are driven as a node that is served is: all that waits is taken in, then what was staged is
//! handed to the operating system as one group, then what waited for that is sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use causality::{DotSet, Incarnation};
use model::{
    ClusterId, Declare, Durability, Key, Level, Limits, Mutation, Name, NodeId, Now, Policy, Put,
    Reply, Request, SiblingRules, Value, Voting, WriteOptions,
};
use mutant::Mutant;
use node::{After, Config, Effect, Input, Message, Node, Salt, Ticket};
use placement::{Layout, Member};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use storage::{Options, Storage};
use tempfile::TempDir;

use crate::Problem;
use crate::stripped::{Parts, Stripped};

/// How many puts are under way at once.
const CLIENTS: usize = 64;

/// Bytes of a value.
const VALUE_BYTES: usize = 256;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A node, its disk, and what waits for the disk.
struct Site {
    node: Node,
    disk: Stripped,
    held: Vec<Effect>,
}

/// What clients write: each knows what was answered to the last write of a key.
pub(crate) struct Load {
    rng: ChaCha8Rng,
    keys: u64,
    contexts: BTreeMap<u64, DotSet>,
    under_way: BTreeMap<Ticket, u64>,
}

impl Load {
    pub(crate) fn of(keys: u64) -> Self {
        let (contexts, under_way) = (BTreeMap::new(), BTreeMap::new());
        Self { rng: ChaCha8Rng::seed_from_u64(keys), keys, contexts, under_way }
    }
}

/// The three, and the wire between them.
pub(crate) struct Trio {
    parts: Parts,
    sites: BTreeMap<NodeId, Site>,
    began: Instant,
    inputs: VecDeque<(NodeId, Input)>,
    answers: Vec<(Ticket, Reply)>,
    tickets: u64,
    pub(crate) load: Load,
    /// Where the disks are. Dropped after them.
    _dir: TempDir,
}

impl Trio {
    /// Three nodes with a keyspace of so many shards and one table.
    pub(crate) fn start(parts: Parts, shards: u16) -> Result<Self, Problem> {
        let dir = tempfile::tempdir()?;
        let ids: Vec<NodeId> = (1..=3).map(NodeId::new).collect();
        let member = Member { region: name("here")?, zone: name("zone")? };
        let members = ids.iter().map(|id| (*id, member.clone())).collect();
        let layout = Layout { version: 1, members };
        let mut sites = BTreeMap::new();
        for id in &ids {
            let place = dir.path().join(id.to_string());
            let options = Options::new(place, ClusterId::new(1), *id, layout.fingerprint());
            let (storage, recovered) = Storage::open(&options)?;
            let config = config(*id, storage.disk(), layout.clone(), parts);
            let node = Node::new(config, recovered.clocks, recovered.acceptor, Now::default());
            let disk = Stripped { disk: storage, parts };
            sites.insert(*id, Site { node, disk, held: Vec::new() });
        }
        let mut trio = Self {
            parts,
            sites,
            began: Instant::now(),
            inputs: VecDeque::new(),
            answers: Vec::new(),
            tickets: 0,
            load: Load::of(1),
            _dir: dir,
        };
        let pairs = ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b)));
        trio.inputs.extend(pairs.filter(|(a, b)| a != b).map(|(a, b)| (a, Input::Connected(b))));
        let (keyspace, replicas) = (name("keyspace")?, [(name("here")?, 3)].into());
        trio.declare(Declare::Keyspace { name: keyspace, shards, replicas, sloppy: false })?;
        trio.declare(Declare::Table {
            keyspace: name("keyspace")?,
            name: name("table")?,
            policy: Policy::Siblings,
            durability: Durability::Buffered,
            read: Level::Quorum,
            write: Level::Quorum,
            voting: Voting::default(),
            siblings: SiblingRules::default(),
        })?;
        Ok(trio)
    }

    fn declare(&mut self, declare: Declare) -> Result<(), Problem> {
        let (ticket, until) = (self.begin(1, Request::Declare(declare)), Instant::now() + TIMEOUT);
        while Instant::now() < until {
            self.turn()?;
            match self.answers.pop() {
                Some((of, Reply::Declared(_))) if of == ticket => return Ok(()),
                Some((_, reply)) => {
                    return Err(format!("the declaration was answered with {reply:?}").into());
                }
                None => {}
            }
        }
        Err("the declaration was not answered".into())
    }

    fn begin(&mut self, at: u16, request: Request) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.inputs.push_back((NodeId::new(at), Input::Requested { ticket, request }));
        ticket
    }

    /// Puts for so long, and returns how many were answered. All of them must succeed.
    pub(crate) fn put_for(&mut self, time: Duration) -> Result<u64, Problem> {
        mutant::set((!self.parts.trees).then_some(Mutant::TreeNotTold));
        let (until, mut puts) = (Instant::now() + time, 0);
        loop {
            let goes_on = Instant::now() < until;
            while goes_on && self.load.under_way.len() < CLIENTS {
                self.put()?;
            }
            if self.load.under_way.is_empty() {
                return Ok(puts);
            }
            self.turn()?;
            for (ticket, reply) in std::mem::take(&mut self.answers) {
                let Reply::Written(written) = reply else {
                    return Err(format!("a put was answered with {reply:?}").into());
                };
                let number = self.load.under_way.remove(&ticket).ok_or("an answer to nobody")?;
                self.load.contexts.insert(number, written.context);
                puts += 1;
            }
        }
    }

    fn put(&mut self) -> Result<(), Problem> {
        let number = self.load.rng.random_range(0..self.load.keys);
        let at = self.load.rng.random_range(1..=3);
        let mut body = vec![0; VALUE_BYTES];
        self.load.rng.fill(body.as_mut_slice());
        let partition = Bytes::from(format!("satellite-{number:08}"));
        let key = Key::new(partition, Bytes::new()).map_err(|_| "a key that cannot be")?;
        let value = Value {
            content_type: Bytes::from_static(b"application/octet-stream"),
            body: body.into(),
        };
        let put = Put {
            keyspace: name("keyspace")?,
            table: name("table")?,
            key,
            mutation: Mutation::Store(value),
            context: self.load.contexts.get(&number).cloned().unwrap_or_default(),
            token: None,
            repeated: false,
            marks: Default::default(),
            sessions: None,
            options: WriteOptions::default(),
            timeout: TIMEOUT,
        };
        let ticket = self.begin(at, Request::Put(put));
        self.load.under_way.insert(ticket, number);
        Ok(())
    }

    /// Takes in all that waits, hands what was staged to the operating system, and lets out what waited
    /// for that.
    fn turn(&mut self) -> Result<(), Problem> {
        let now = Now::from_micros(u64::try_from(self.began.elapsed().as_micros())?);
        let is_due = |site: &Site| site.node.wake_at().is_some_and(|at| at <= now);
        let due = self.sites.iter().filter(|(_, site)| is_due(site)).map(|(id, _)| *id);
        self.inputs.extend(due.map(|id| (id, Input::Woken)));
        let mut effects = Vec::new();
        for (at, input) in std::mem::take(&mut self.inputs) {
            let Some(site) = self.sites.get_mut(&at) else { continue };
            site.node.step(now, input, &mut site.disk, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Located { .. } => {}
                    Effect::Answer { ticket, reply } => self.answers.push((ticket, reply)),
                    Effect::Send { to, message, after: After::Now } => {
                        deliver(at, to, message, &mut self.inputs)?;
                    }
                    Effect::Send { .. } => site.held.push(effect),
                }
            }
        }
        for (at, site) in &mut self.sites {
            if site.disk.disk.staged() != 0 {
                site.disk.disk.flush_now()?;
            }
            for effect in site.held.drain(..) {
                if let Effect::Send { to, message, .. } = effect {
                    deliver(*at, to, message, &mut self.inputs)?;
                }
            }
        }
        Ok(())
    }
}

/// What a node says to itself goes over no wire.
fn deliver(
    from: NodeId,
    to: NodeId,
    message: Message,
    inputs: &mut VecDeque<(NodeId, Input)>,
) -> Result<(), Problem> {
    let message = if from == to {
        message
    } else {
        let mut wire = BytesMut::new();
        wire::encode(&message, &mut wire)?;
        wire::decode(&mut wire)?.ok_or("a message that was sent is not understood")?
    };
    inputs.push_back((to, Input::Received { from, message }));
    Ok(())
}

fn name(text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|_| format!("{text} is no name").into())
}

fn config(id: NodeId, disk: model::DiskId, layout: Layout, parts: Parts) -> Config {
    let default = Limits::default();
    let rare = Duration::from_secs(100_000);
    let exchange_interval = if parts.exchange { default.exchange_interval } else { rare };
    Config {
        id,
        incarnation: Incarnation::new((u64::from(id.number()) << 32) | 0x9e37_79b9),
        disk,
        layout,
        limits: Limits { exchange_interval, ..default },
        address: format!("host{}:7100", id.number()),
        started_millis: 1,
        salt: Salt::new([7; 32]),
        seed: u64::from(id.number()),
    }
}
