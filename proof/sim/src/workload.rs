//! What clients do: write, delete, read and list, with and without what they have read.
//!
//! Each client has one request at a time, at a node that it picks anew for each. It
//! remembers the contexts it was handed for a key, and mostly hands back the last one, as
//! applications do; sometimes an older one, as applications do that cache; sometimes none.
//! After a failure it may try again elsewhere: without a token as a new write with a new value,
//! since the outcome of the first is unknown; with a token as the same write. Every value is
//! unique but for that, so that a value found anywhere tells which write it came from.

mod levels;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use causality::DotSet;
use model::{
    Declare, Fate, Get, List, Marks, Mutation, NodeId, Put, Range, ReadOptions, Recall, Reply,
    Request, Token, Value, WriteOptions,
};

use crate::contexts;
use crate::dice::{Dice, Part};
use crate::mutant::Mutant;
use crate::oracle::{Oracle, Outcome, Spot, Write, WriteId};
use crate::report::Broken;
use crate::scenario::name;
use crate::sessions::Sessions;
use crate::swarm::ClientPlan;
use crate::tokens::{TOO_FAR, WALL_BEGINS};

/// What a request was for, to judge its answer.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A put or delete.
    Write { id: WriteId, options: WriteOptions },
    /// A get.
    Read { spot: usize, options: ReadOptions, monotonic: bool },
    /// The question what became of a write.
    Recall { id: WriteId },
    /// A list.
    List(Box<List>),
    /// A declaration.
    Declare(Declare),
    /// A watcher's question what has changed.
    Watch { watcher: usize },
    /// A request to a keyspace or table that does not exist.
    Nowhere,
    /// Something that the world itself wants to know.
    Ask,
}

/// A client's next request, and where it goes.
pub(crate) struct Next {
    pub(crate) at: NodeId,
    pub(crate) request: Request,
    pub(crate) timeout: Duration,
    pub(crate) op: Op,
}

/// One client.
#[derive(Clone, Default)]
struct Client {
    /// The contexts it was handed, by key, the last one last.
    contexts: BTreeMap<usize, Vec<Known>>,
    /// A write that failed and that it will try again.
    again: Option<Again>,
    /// A write that it wants to know the outcome of, before anything else.
    wonders: Option<WriteId>,
}

/// What a client was handed for a key, to hand back.
type Known = (DotSet, Marks);

/// A write that is tried again: the same intent, after the same reading, at another node.
#[derive(Clone)]
struct Again {
    spot: usize,
    is_delete: bool,
    known: Known,
    failed_at: NodeId,
    /// If it has a token: with that, as the same write.
    token: Option<(Token, WriteId)>,
}

/// How often in a thousand a client tries again with a token: as those do that want an answer.
const PERSISTENCE: u32 = 900;

/// How often in a thousand a token is one of another year, and how often
/// it is one that was used for another write.
const TOKENS_OLD: u32 = 10;
const TOKENS_REUSED: u32 = 20;

/// What a client wants to write.
struct Intent {
    spot: usize,
    is_delete: bool,
    known: Known,
    token: Option<Token>,
    /// The first attempt, if this is not it.
    family: Option<WriteId>,
}

/// What no keyspace and no table is called.
pub(crate) const NOWHERE: &str = "nowhere";

/// How many contexts a client remembers for a key.
const CONTEXTS_MAX: usize = 4;

/// The most bytes of a value, and of all values of a key, in worlds with large values.
pub(crate) const SMALL_LIMITS: (usize, usize) = (256, 600);

/// All clients.
pub(crate) struct Workload {
    plan: ClientPlan,
    dice: Dice,
    /// What is drawn for tokens, so that a world without them is the same as ever.
    token_dice: Dice,
    /// How often a kind of answer was demanded.
    minima: u64,
    /// What is drawn for questions about outcomes.
    outcome_dice: Dice,
    /// The same for monotonic reads.
    monotonic_dice: Dice,
    pub(crate) sessions: Sessions,
    nodes: Vec<NodeId>,
    clients: Vec<Client>,
    /// How long clients wait that are sure to be answered, for one key and for a list. Nothing
    /// while they are not.
    patience: Option<(Duration, Duration)>,
}

impl Workload {
    pub(crate) fn new(plan: &ClientPlan, nodes: Vec<NodeId>, seed: u64) -> Self {
        let clients = vec![Client::default(); plan.count];
        let dice = Dice::new(seed, Part::Workload);
        let token_dice = Dice::new(seed, Part::Tokens);
        let outcome_dice = Dice::new(seed, Part::Outcomes);
        let monotonic_dice = Dice::new(seed, Part::Monotonic);
        let sessions = Sessions::new(plan.count, plan.sessions, Dice::new(seed, Part::Sessions));
        let (plan, minima, patience) = (plan.clone(), 0, None);
        Self {
            plan,
            dice,
            token_dice,
            minima,
            outcome_dice,
            monotonic_dice,
            sessions,
            nodes,
            clients,
            patience,
        }
    }

    pub(crate) fn set_patience(&mut self, patience: Option<(Duration, Duration)>) {
        self.patience = patience;
    }

    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// How long a client does something else.
    pub(crate) fn think(&mut self, now: u64) -> u64 {
        let think = self.dice.micros(self.plan.think, 2);
        // In every other such while all clients rest, and begin at its end.
        match (now + think).checked_div(self.plan.lull) {
            Some(turn) if turn % 2 == 1 => (turn + 1) * self.plan.lull - now,
            Some(_) | None => think,
        }
    }

    /// What a client asks next. A write is made known to the oracle.
    pub(crate) fn next(&mut self, client: usize, oracle: &mut Oracle, now: u64) -> Next {
        let mut next = self.next_of(client, oracle, now);
        self.sessions.add(client, &mut next, oracle);
        next
    }

    fn next_of(&mut self, client: usize, oracle: &mut Oracle, now: u64) -> Next {
        let at = self.dice.pick(&self.nodes);
        let timeout = self.timeout();
        if let Some(id) = self.clients.get_mut(client).and_then(|c| c.wonders.take()) {
            return recall(id, oracle, at, timeout);
        }
        if let Some(again) = self.clients.get_mut(client).and_then(|c| c.again.take()) {
            return self.try_again(again, at, timeout, oracle, now);
        }
        if self.dice.chance(self.plan.nowhere) {
            return self.ask_nowhere(oracle.spot(0), at, timeout);
        }
        // Two draws, and the smaller: some keys are hotter than others.
        let (a, b) = (self.dice.index(oracle.spots.len()), self.dice.index(oracle.spots.len()));
        let spot = if self.dice.chance(self.plan.hot) { 0 } else { a.min(b) };
        let [put, delete, get, list] = self.plan.weights;
        match self.dice.weighted(&[(put, 0), (delete, 1), (get, 2), (list, 3)]) {
            kind @ (0 | 1) => {
                let known = self.context(client, spot);
                let token = self.token(oracle, now);
                let intent = Intent { spot, is_delete: kind == 1, known, token, family: None };
                self.put(intent, at, timeout, oracle, now)
            }
            2 => self.get(oracle.spot(spot), spot, at, timeout),
            _ => self.list(oracle.spot(spot), at, timeout),
        }
    }

    /// A token for the next write, if it is to have one.
    fn token(&mut self, oracle: &Oracle, now: u64) -> Option<Token> {
        if self.plan.tokens == 0 || !self.token_dice.chance(self.plan.tokens) {
            return None;
        }
        let used = oracle.writes.last().and_then(|write| write.token);
        if self.token_dice.chance(TOKENS_REUSED) && used.is_some() {
            return used;
        }
        let of_the_day = WALL_BEGINS + now / 1_000;
        let millis = match self.token_dice.chance(TOKENS_OLD) {
            false => of_the_day,
            true if self.token_dice.chance(500) => of_the_day - TOO_FAR,
            true => of_the_day + TOO_FAR,
        };
        Some(Token::new(millis, self.token_dice.bits().into()))
    }

    /// The same write once more, at another node if there is one. Without a token its value is
    /// another, so that each can be told apart: to the cluster it is a new write anyway.
    fn try_again(
        &mut self,
        again: Again,
        at: NodeId,
        timeout: Duration,
        oracle: &mut Oracle,
        now: u64,
    ) -> Next {
        let Again { spot, is_delete, known, failed_at, token } = again;
        let others: Vec<NodeId> =
            self.nodes.iter().copied().filter(|node| *node != failed_at).collect();
        let at = if others.is_empty() { at } else { self.dice.pick(&others) };
        let (token, family) = (token.map(|(token, _)| token), token.map(|(_, first)| first));
        self.put(Intent { spot, is_delete, known, token, family }, at, timeout, oracle, now)
    }

    /// A read from a keyspace or table that nobody declared.
    fn ask_nowhere(&mut self, known: &Spot, at: NodeId, timeout: Duration) -> Next {
        let mut next = self.get(known, 0, at, timeout);
        if let Request::Get(get) = &mut next.request {
            let lost = if self.dice.chance(500) { &mut get.keyspace } else { &mut get.table };
            *lost = name(NOWHERE);
        }
        Next { op: Op::Nowhere, ..next }
    }

    fn timeout(&mut self) -> Duration {
        let micros = self.dice.micros(self.plan.timeout, 0).max(10_000);
        self.patience.map_or(Duration::from_micros(micros), |(key, _)| key)
    }

    fn put(
        &mut self,
        intent: Intent,
        at: NodeId,
        timeout: Duration,
        oracle: &mut Oracle,
        now: u64,
    ) -> Next {
        let options = self.write_options();
        let number = oracle.writes.len();
        let Intent { spot, is_delete, known: (context, marks), token, family } = intent;
        let repeated = family.is_some();
        let first = family.map(|first| oracle.write(first).value.clone());
        let value = first.unwrap_or_else(|| {
            (!is_delete).then(|| Value {
                content_type: Bytes::from_static(b"text/plain"),
                body: self.body(number),
            })
        });
        let known = oracle.spot(spot);
        let request = Request::Put(Put {
            keyspace: known.keyspace.clone(),
            table: known.table.name.clone(),
            key: known.key.clone(),
            mutation: value.clone().map_or(Mutation::Delete, Mutation::Store),
            context: context.clone(),
            token,
            repeated,
            marks: marks.clone(),
            sessions: None,
            options,
            timeout,
        });
        let id = oracle.begin(Write {
            spot,
            at,
            value,
            context,
            marks,
            token,
            repeated,
            family,
            begun: now,
            ended: u64::MAX,
            outcome: Outcome::Open,
            dot: None,
            acks: Vec::new(),
        });
        Next { at, request, timeout, op: Op::Write { id, options } }
    }

    fn get(&mut self, known: &Spot, spot: usize, at: NodeId, timeout: Duration) -> Next {
        let options = self.read_options();
        let often = self.plan.monotonic;
        let monotonic = often != 0 && self.monotonic_dice.chance(often);
        let request = Request::Get(Get {
            keyspace: known.keyspace.clone(),
            table: known.table.name.clone(),
            key: known.key.clone(),
            options,
            monotonic,
            sessions: None,
            timeout,
        });
        Next { at, request, timeout, op: Op::Read { spot, options, monotonic } }
    }

    fn list(&mut self, known: &Spot, at: NodeId, timeout: Duration) -> Next {
        let after = self.dice.chance(300);
        let range = if self.dice.chance(500) {
            let after = after.then(|| known.key.sort().clone());
            Range::Partition { partition: known.key.partition().clone(), after }
        } else {
            Range::Table { shard: known.shard.index, after: after.then(|| known.key.clone()) }
        };
        let timeout = self.patience.map_or(timeout, |(_, list)| list);
        let list = List {
            keyspace: known.keyspace.clone(),
            table: known.table.name.clone(),
            range,
            limit: self.dice.pick(&[1, 3, 100]),
            options: self.read_options(),
            timeout,
        };
        Next { at, request: Request::List(list.clone()), timeout, op: Op::List(Box::new(list)) }
    }

    /// The value of a write, which tells which it is. Sometimes it is about as large as a
    /// value may be.
    fn body(&mut self, number: usize) -> Bytes {
        let mut body = format!("value of w{number}");
        if self.dice.chance(self.plan.large) {
            let (value_max, _) = SMALL_LIMITS;
            let bytes = value_max - 2 + self.dice.index(4);
            body.push_str(&".".repeat(bytes.saturating_sub(body.len())));
        }
        Bytes::from(body)
    }

    /// After how many microseconds a client goes away, if it does before it is answered.
    pub(crate) fn leaves(&mut self) -> Option<u64> {
        let goes = self.patience.is_none() && self.dice.chance(self.plan.leaves);
        goes.then(|| self.dice.between(0, 200_000))
    }

    /// Whether a client now tries a context that is not good for a key.
    pub(crate) fn tries_foreign(&mut self) -> bool {
        self.dice.chance(self.plan.foreign)
    }

    /// A client hands back a context of another key, or one that was altered, as the token
    /// that the door sees. It must be refused, and the right one must not.
    pub(crate) fn try_foreign(
        &mut self,
        client: usize,
        oracle: &Oracle,
        mutant: Option<Mutant>,
    ) -> Result<(), Broken> {
        let (here, there) =
            (self.dice.index(oracle.spots.len()), self.dice.index(oracle.spots.len()));
        let ((context, marks), draw) = (self.context(client, there), self.dice.bits());
        let known = (&context, &marks);
        contexts::check(oracle.spot(here), oracle.spot(there), known, draw, mutant)
    }

    fn context(&mut self, client: usize, spot: usize) -> Known {
        let (blind, stale) = (self.dice.chance(self.plan.blind), self.dice.chance(self.plan.stale));
        let known = self.clients.get(client).and_then(|client| client.contexts.get(&spot));
        let context = match known {
            Some(known) if stale => known.get(self.dice.index(known.len())),
            Some(known) => known.last(),
            None => None,
        };
        context.filter(|_| !blind).cloned().unwrap_or_default()
    }

    /// A client has gone away before it was answered. One with a token tries again elsewhere,
    /// while the first attempt may still be under way.
    pub(crate) fn gone(&mut self, client: usize, op: &Op, oracle: &Oracle) {
        let Op::Write { id, .. } = op else { return };
        let again = again_of(oracle, *id);
        if let Some(client) = self.clients.get_mut(client).filter(|_| again.token.is_some()) {
            client.again = Some(again);
        }
    }

    /// Whether a client asks what became of a write, so often in a thousand.
    fn wonders(&mut self, op: &Op, oracle: &Oracle, permille: u32) -> Option<WriteId> {
        let Op::Write { id, .. } = op else { return None };
        let has_token = oracle.write(*id).token.is_some();
        (has_token && permille != 0 && self.outcome_dice.chance(permille)).then_some(*id)
    }

    /// A client hears the answer to its request, or that there will be none.
    pub(crate) fn hear(&mut self, client: usize, op: &Op, oracle: &Oracle, reply: Option<&Reply>) {
        if let Some(reply) = reply {
            self.sessions.hear(client, op, oracle, reply);
        }
        let failed = !matches!(reply, Some(Reply::Written(_) | Reply::Read(_) | Reply::Listed(_)));
        let again = self.dice.chance(500);
        let persists = self.plan.tokens != 0 && self.token_dice.chance(PERSISTENCE);
        let share = if failed { 1 } else { 3 };
        let wonders = self.wonders(op, oracle, self.plan.outcomes / share);
        let Some(client) = self.clients.get_mut(client) else { return };
        client.wonders = wonders.or(client.wonders);
        let remember = |client: &mut Client, spot: usize, context: &DotSet, marks: &Marks| {
            let known = client.contexts.entry(spot).or_default();
            known.push((context.clone(), marks.clone()));
            if CONTEXTS_MAX < known.len() {
                known.remove(0);
            }
        };
        match (op, reply) {
            (Op::Write { id, .. }, Some(Reply::Written(written))) => {
                remember(client, oracle.write(*id).spot, &written.context, &written.marks);
            }
            (Op::Write { id, .. }, _) if failed => {
                let again_as = again_of(oracle, *id);
                let tries = if again_as.token.is_some() { persists } else { again };
                client.again = Some(again_as).filter(|_| tries);
            }
            (Op::Recall { .. }, Some(Reply::Recalled(told))) => {
                let is_done = matches!(told.fate, Fate::Applied | Fate::Superseded);
                client.again = client.again.take().filter(|_| !is_done);
            }
            (Op::Read { spot, .. }, Some(Reply::Read(read))) => {
                remember(client, *spot, read.object.context(), read.object.marks());
            }
            (
                Op::Write { .. }
                | Op::Read { .. }
                | Op::List(_)
                | Op::Watch { .. }
                | Op::Declare(_)
                | Op::Nowhere
                | Op::Recall { .. }
                | Op::Ask,
                _,
            ) => {}
        }
    }
}

/// The question what became of a write.
fn recall(id: WriteId, oracle: &Oracle, at: NodeId, timeout: Duration) -> Next {
    let write = oracle.write(id);
    let spot = oracle.spot(write.spot);
    let request = Request::Recall(Recall {
        keyspace: spot.keyspace.clone(),
        table: spot.table.name.clone(),
        key: spot.key.clone(),
        token: write.token.expect("only a write with a token is asked for"),
        timeout,
    });
    Next { at, request, timeout, op: Op::Recall { id } }
}

/// A write as its client tries it again.
fn again_of(oracle: &Oracle, id: WriteId) -> Again {
    let write = oracle.write(id);
    Again {
        spot: write.spot,
        is_delete: write.value.is_none(),
        known: (write.context.clone(), write.marks.clone()),
        failed_at: write.at,
        token: write.token.map(|token| (token, write.family.unwrap_or(id))),
    }
}
