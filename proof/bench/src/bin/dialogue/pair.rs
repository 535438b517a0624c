//! Two nodes that are the replicas of everything, and the wire between them.
//!
//! The nodes are those that are served, and the wire is the real one: each message is encoded,
//! counted, decoded again and then handed over, at once. Time is simulated, and nothing is
//! drawn that is not seeded, so that two runs come to the same.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use causality::Incarnation;
use model::{
    Declare, DiskId, Durability, Level, Limits, Name, NodeId, Now, Policy, Reply, Request, ShardId,
    SiblingRules, Table, Voting,
};
use node::{Config, Effect, Input, Message, Node, Salt, Ticket};
use placement::{Layout, Member};

use crate::Problem;
use crate::disk::Memory;
use crate::tally::Tally;

pub(crate) const ONE: NodeId = NodeId::new(1);
pub(crate) const TWO: NodeId = NodeId::new(2);

/// How long the two may take to become equal.
const PATIENCE: Duration = Duration::from_secs(600);

/// The least that time goes on by, so that it does go on.
const TICK: Duration = Duration::from_micros(50);

/// The replicas of everything, and what lies between them.
pub(crate) struct Pair {
    nodes: BTreeMap<NodeId, (Node, Memory)>,
    now: Now,
    inputs: VecDeque<(NodeId, Input)>,
    answers: BTreeMap<Ticket, Reply>,
    tickets: u64,
    lives: u64,
    /// Which messages get through.
    pub(crate) passes: Box<dyn FnMut(&Message) -> bool>,
    pub(crate) tally: Tally,
}

impl Pair {
    /// Two nodes with a keyspace of so many shards and one table.
    pub(crate) fn new(shards: u16) -> Result<Self, Problem> {
        let mut pair = Self {
            nodes: BTreeMap::new(),
            now: Now::default(),
            inputs: VecDeque::new(),
            answers: BTreeMap::new(),
            tickets: 0,
            lives: 0,
            passes: Box::new(|_| true),
            tally: Tally::default(),
        };
        pair.start(BTreeMap::from([(ONE, Memory::default()), (TWO, Memory::default())]))?;
        pair.wait(Duration::from_secs(5))?;
        let (keyspace, here) = (name("keyspace")?, name("here")?);
        let replicas = [(here, 2)].into();
        pair.declare(Declare::Keyspace { name: keyspace, shards, replicas, sloppy: false })?;
        pair.declare(Declare::Table {
            keyspace: name("keyspace")?,
            name: name("table")?,
            policy: Policy::Siblings,
            durability: Durability::Buffered,
            read: Level::One,
            write: Level::One,
            voting: Voting { may_miss: true, ..Voting::default() },
            siblings: SiblingRules::default(),
        })?;
        Ok(pair)
    }

    fn declare(&mut self, declare: Declare) -> Result<(), Problem> {
        let reply = self.ask(Request::Declare(declare))?;
        match matches!(reply, Reply::Declared(_)) {
            true => Ok(()),
            false => Err(format!("the declaration was answered with {reply:?}").into()),
        }
    }

    /// Both nodes begin a new life, with what their disks have.
    pub(crate) fn restart(&mut self) -> Result<(), Problem> {
        let disks = std::mem::take(&mut self.nodes);
        self.start(disks.into_iter().map(|(id, (_, disk))| (id, disk)).collect())
    }

    fn start(&mut self, disks: BTreeMap<NodeId, Memory>) -> Result<(), Problem> {
        self.lives += 1;
        let member = Member { region: name("here")?, zone: name("zone")? };
        let members = disks.keys().map(|id| (*id, member.clone())).collect();
        let layout = Layout { version: 1, members };
        self.inputs.clear();
        for (id, disk) in disks {
            let config = config(id, self.lives, layout.clone());
            let node = Node::new(config, disk.clocks.clone(), disk.acceptor.clone(), self.now)
                .with_marks(disk.marks.clone())
                .with_sums(disk.sums.clone());
            self.nodes.insert(id, (node, disk));
        }
        self.inputs.push_back((ONE, Input::Connected(TWO)));
        self.inputs.push_back((TWO, Input::Connected(ONE)));
        self.settle()
    }

    /// The table, and the keyspace that it is in.
    pub(crate) fn table(&self) -> Result<(model::Keyspace, Table), Problem> {
        let (_, disk) = self.nodes.get(&ONE).ok_or("there is no first node")?;
        let found = disk.acceptor.learned.table(&name("keyspace")?, &name("table")?);
        let (keyspace, table) = found.map_err(|refusal| format!("no table: {refusal:?}"))?;
        Ok((keyspace.clone(), table.clone()))
    }

    pub(crate) fn disk(&mut self, id: NodeId) -> Result<&mut Memory, Problem> {
        Ok(&mut self.nodes.get_mut(&id).ok_or("there is no such node")?.1)
    }

    /// Asks the first node as a client does.
    pub(crate) fn ask(&mut self, request: Request) -> Result<Reply, Problem> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.inputs.push_back((ONE, Input::Requested { ticket, request }));
        self.settle()?;
        let begun = self.now;
        while self.now.since(begun) < PATIENCE {
            if let Some(reply) = self.answers.remove(&ticket) {
                return Ok(reply);
            }
            self.wait(Duration::from_millis(10))?;
        }
        Err("a request was not answered".into())
    }

    /// Lets so much time pass.
    pub(crate) fn wait(&mut self, time: Duration) -> Result<(), Problem> {
        let end = self.now + time;
        while self.now < end {
            let wakes = self.nodes.values().filter_map(|(node, _)| node.wake_at());
            let next = wakes.min().unwrap_or(end).max(self.now + TICK);
            self.now = next.min(end);
            let is_due = |node: &Node| node.wake_at().is_some_and(|at| at <= self.now);
            let due = self.nodes.iter().filter(|(_, (node, _))| is_due(node));
            self.inputs.extend(due.map(|(id, _)| (*id, Input::Woken)));
            self.settle()?;
        }
        Ok(())
    }

    /// Lets time pass until the two hold the same and know it. Returns how long that took.
    pub(crate) fn become_equal(&mut self) -> Result<Duration, Problem> {
        let begun = self.now;
        while !self.is_equal() {
            if PATIENCE < self.now.since(begun) {
                return Err("the replicas have not become equal within ten minutes".into());
            }
            self.wait(Duration::from_millis(50))?;
        }
        let [(_, one), (_, two)] = self.both()?;
        match one.is_like(two) {
            true => Ok(self.now.since(begun)),
            false => Err("the sums of two replicas are equal, and what they hold is not".into()),
        }
    }

    fn both(&self) -> Result<[&(Node, Memory); 2], Problem> {
        match (self.nodes.get(&ONE), self.nodes.get(&TWO)) {
            (Some(one), Some(two)) => Ok([one, two]),
            _ => Err("a node is missing".into()),
        }
    }

    fn is_equal(&self) -> bool {
        let Ok([(one, here), (two, there)]) = self.both() else { return false };
        let alike = |shard: &ShardId| {
            let sum = one.tree_sum(*shard);
            sum.is_some() && sum == two.tree_sum(*shard)
        };
        here.clocks == there.clocks && here.clocks.keys().all(alike)
    }

    fn settle(&mut self) -> Result<(), Problem> {
        while let Some((at, input)) = self.inputs.pop_front() {
            let Some((node, disk)) = self.nodes.get_mut(&at) else { continue };
            let mut effects = Vec::new();
            node.step(self.now, input, disk, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Located { .. } => {}
                    Effect::Answer { ticket, reply } => {
                        self.answers.insert(ticket, reply);
                    }
                    Effect::Send { to, message, .. } => self.send(at, to, message)?,
                }
            }
        }
        Ok(())
    }

    /// What a node says to itself goes over no wire.
    fn send(&mut self, from: NodeId, to: NodeId, message: Message) -> Result<(), Problem> {
        if from == to {
            self.inputs.push_back((to, Input::Received { from, message }));
            return Ok(());
        }
        if !(self.passes)(&message) {
            return Ok(());
        }
        let mut wire = BytesMut::new();
        wire::encode(&message, &mut wire)?;
        self.tally.count(&message, wire.len());
        let message =
            wire::decode(&mut wire)?.ok_or("a message that was sent is not understood")?;
        self.inputs.push_back((to, Input::Received { from, message }));
        Ok(())
    }
}

pub(crate) fn name(text: &str) -> Result<Name, Problem> {
    Name::new(text).map_err(|_| format!("{text} is no name").into())
}

fn config(id: NodeId, life: u64, layout: Layout) -> Config {
    Config {
        id,
        incarnation: Incarnation::new((life << 48) | (u64::from(id.number()) << 32) | 0x9e37_79b9),
        disk: DiskId::new(id.number().into()),
        layout,
        limits: Limits { changes_retention: Duration::ZERO, ..Limits::default() },
        address: format!("host{}:7100", id.number()),
        started_millis: life,
        salt: Salt::new([7; 32]),
        seed: life,
    }
}
