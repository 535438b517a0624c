//! A node that keeps everything in one map, and a client that trusts no answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request as HttpRequest};
use bytes::Bytes;
use causality::{Dot, DotSet, Incarnation};
use codec::token::TokenKey;
use http_body_util::BodyExt;
use http_door::{BODIES_BYTES_DEFAULT, Config, NoBackup, Node, Vitals, openapi, router_within};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use lattice::Lattice;
use model::{
    Ack, Blocker, Declare, Declared, DiskId, DiskStatus, DiskStep, Electorate, Enrolment,
    Explained, Failure, Fate, Forgetting, HintStatus, Holding, Key, Keyspace, KeyspaceId, Kind,
    List, Listed, Listing, Mark, Mutation, Name, NodeId, NodeStatus, Object, Put, Range, Read,
    ReadNeed, ReadOptions, Recalled, Receipt, Refusal, RepairStatus, Reply, Request, Salvage,
    Salvaged, Session, ShardId, Standing, Status, Suspect, Table, TableId, Told, Value, Voter,
    Watched, Written,
};
use tokio::sync::mpsc::{Receiver, channel};

pub(crate) const VALUE_BYTES_MAX: usize = 64 * 1024;

/// How many may watch.
pub(crate) const FEEDS_MAX: usize = 3;

/// What the node keeps. Scans see two shards, told apart by the length of the key.
pub(crate) struct State {
    pub(crate) keyspaces: Vec<Keyspace>,
    pub(crate) tables: Vec<Table>,
    pub(crate) objects: BTreeMap<(TableId, Key), Object>,
    pub(crate) asked: usize,
    /// What the next requests are answered with, if anything.
    pub(crate) failure: Option<Failure>,
    pub(crate) panics: bool,
    /// Whether writes are kept, and not only answered.
    pub(crate) keeps: bool,
    pub(crate) last: Option<Request>,
    /// For how long the node is up at each look, and what it keeps for others then. The last one
    /// stays.
    pub(crate) looks: Vec<(Duration, Vec<HintStatus>)>,
    /// How the node is. Nothing if its loop does not turn.
    pub(crate) vitals: Option<Vitals>,
    /// What the node knows of repairs.
    pub(crate) repairs: RepairStatus,
    /// Whether there is another node, which does not answer.
    pub(crate) is_lonely: bool,
    /// What watchers are told, one after the other. When none is left, nothing changes any more.
    pub(crate) watched: VecDeque<Result<Watched, Failure>>,
    pub(crate) evicted: BTreeSet<NodeId>,
    pub(crate) enrolment: Enrolment,
    /// What it sends as a backup.
    pub(crate) backup: Result<Vec<Bytes>, NoBackup>,
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            keyspaces: Vec::new(),
            tables: Vec::new(),
            objects: BTreeMap::new(),
            asked: 0,
            failure: None,
            panics: false,
            keeps: true,
            last: None,
            looks: vec![(Duration::from_secs(7), vec![hints(2, Duration::from_secs(7))])],
            vitals: None,
            repairs: RepairStatus { node: NodeId::new(1), job: None, proofs: Vec::new() },
            is_lonely: false,
            watched: VecDeque::new(),
            evicted: BTreeSet::new(),
            enrolment: Enrolment::Enrolled,
            backup: Ok(Vec::new()),
        };
        state.vitals = Some(well(&state));
        state
    }
}

/// A cluster of one map. Receipts pretend that as many replicas answered as were needed.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

impl Node for Fake {
    async fn ask(&self, request: Request) -> Reply {
        // A real node answers from another task.
        tokio::task::yield_now().await;
        if let Request::Watch(watch) = &request
            && self.state().watched.is_empty()
        {
            tokio::time::sleep(watch.wait).await;
        }
        let mut state = self.state();
        state.asked += 1;
        state.last = Some(request.clone());
        if state.panics {
            drop(state);
            panic!("asked to panic");
        }
        state.answer(request).unwrap_or_else(Reply::Failed)
    }

    async fn vitals(&self) -> Option<Vitals> {
        let mut state = self.state();
        let vitals = state.vitals.clone();
        if 1 < state.looks.len() {
            state.looks.remove(0);
        }
        vitals.map(|vitals| Vitals { status: Box::new(state.status()), ..vitals })
    }

    async fn metrics(&self) -> Option<String> {
        self.state().vitals.as_ref().map(|_| "# EOF\n".to_owned())
    }

    async fn backup(&self) -> Result<Receiver<Bytes>, NoBackup> {
        let pieces = self.state().backup.clone()?;
        let (sender, receiver) = channel(pieces.len().max(1));
        pieces.into_iter().for_each(|piece| sender.try_send(piece).unwrap());
        Ok(receiver)
    }
}

/// Some objects that are kept for a node.
pub(crate) fn hints(target: u16, oldest: Duration) -> HintStatus {
    HintStatus { target: NodeId::new(target), count: 3, bytes: 400, oldest }
}

/// A node that is well.
fn well(state: &State) -> Vitals {
    Vitals {
        status: Box::new(state.status()),
        tables: Vec::new(),
        disk_waits: Duration::ZERO,
        disk_free: None,
        is_overloaded: false,
    }
}

impl Fake {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// All that requests can change, to compare.
    pub(crate) fn kept(&self) -> String {
        format!("{:?} {:?} {:?}", self.keyspaces, self.tables, self.objects)
    }

    /// The last request, which was a write.
    pub(crate) fn last_put(&self) -> &Put {
        let Some(Request::Put(put)) = &self.last else { panic!("{:?}", self.last) };
        put
    }

    fn answer(&mut self, request: Request) -> Result<Reply, Failure> {
        if let Some(failure) = self.failure.clone() {
            return Err(failure);
        }
        Ok(match request {
            Request::Put(put) => Reply::Written(self.put(put)?),
            Request::Get(get) => {
                let (keyspace, table) = self.find(&get.keyspace, &get.table)?;
                let need = read_need(&keyspace, &table, get.options)?;
                let object = self.objects.get(&(table.id, get.key)).cloned().unwrap_or_default();
                Reply::Read(Read {
                    object,
                    session: get.sessions.map(|sessions| shown(sessions, &keyspace)),
                    receipt: receipt(&keyspace, need.least(), None),
                })
            }
            Request::Explain(explain) => {
                let (keyspace, table) = self.find(&explain.keyspace, &explain.table)?;
                let key = (table.id, explain.key);
                let object = self.objects.get(&key).cloned().unwrap_or_default();
                // One has all, one nothing, one does not answer.
                let told = |object| Some(Told { object, durable: true });
                let tells = [told(object.clone()), told(Object::default()), None];
                let holding =
                    |(node, told)| Holding { node: NodeId::new(node), is_guest: false, told };
                Reply::Explained(Box::new(Explained {
                    shard: ShardId { keyspace: keyspace.id, index: 0 },
                    holdings: (1..).zip(tells).map(holding).collect(),
                    asks: vec![NodeId::new(2)],
                    kind: Kind::Partial,
                    shown: Object::default(),
                    merged: object,
                }))
            }
            Request::Recall(recall) => {
                let (keyspace, table) = self.find(&recall.keyspace, &recall.table)?;
                let object = self.objects.get(&(table.id, recall.key)).cloned().unwrap_or_default();
                let found = object.of_token(recall.token).map(|(dot, _)| dot);
                let fate = match found {
                    Some(dot) if object.values().contains_key(&dot) => Fate::Applied,
                    Some(_) => Fate::Superseded,
                    None => Fate::NotSeen { is_final: false },
                };
                Reply::Recalled(Recalled {
                    fate,
                    receipt: found.map(|dot| receipt(&keyspace, 1, Some(dot))),
                    guests: Vec::new(),
                    without: vec![NodeId::new(2)],
                    silent: vec![NodeId::new(3)],
                })
            }
            Request::List(list) => Reply::Listed(self.list(&list)?),
            Request::Watch(watch) => {
                self.find(&watch.keyspace, &watch.table)?;
                let told = self.watched.pop_front();
                let nothing = Watched { position: watch.since, ..Watched::default() };
                Reply::Watched(told.transpose()?.unwrap_or(nothing))
            }
            Request::Declare(declare) => Reply::Declared(self.declare(declare)?),
            Request::Status => Reply::Status(Box::new(self.status())),
            Request::Repair(_) => Reply::Repair(Box::new(self.repairs.clone())),
            Request::Salvage(salvage) => Reply::Salvaged(Box::new(self.salvage(*salvage)?)),
        })
    }

    /// Nobody has heard of what is not held under the key.
    fn salvage(&mut self, salvage: Salvage) -> Result<Salvaged, Failure> {
        let (keyspace, table) = self.find(&salvage.keyspace, &salvage.table)?;
        let held = self.objects.entry((table.id, salvage.key)).or_default();
        let unheard = salvage.found.context().difference(held.context());
        let object = salvage.found.recovered(&unheard);
        let recovered: DotSet = object.values().keys().copied().collect();
        let receipt = (!recovered.is_empty()).then(|| receipt(&keyspace, 3, None));
        let _ = held.merge(object);
        Ok(Salvaged { unheard, twins: DotSet::new(), recovered, receipt })
    }

    fn find(&self, keyspace: &Name, table: &Name) -> Result<(Keyspace, Table), Refusal> {
        let found = self.keyspaces.iter().find(|found| found.name == *keyspace);
        let found = found.ok_or_else(|| Refusal::UnknownKeyspace(keyspace.clone()))?;
        let mut tables = self.tables.iter();
        let table_found =
            tables.find(|table_| table_.keyspace == found.id && table_.name == *table);
        let unknown = || Refusal::UnknownTable { keyspace: keyspace.clone(), table: table.clone() };
        Ok((found.clone(), table_found.ok_or_else(unknown)?.clone()))
    }

    fn put(&mut self, put: Put) -> Result<Written, Failure> {
        let (keyspace, table) = self.find(&put.keyspace, &put.table)?;
        let voters = voters(&keyspace);
        let electorate = Electorate { voters: &voters, table: &table };
        let need = electorate.write(put.options, &keyspace.name)?;
        let dot = Dot::new(Incarnation::new(0xabc), self.asked as u64);
        let mut context = put.context.clone();
        let _ = context.insert(dot);
        let object = match put.mutation {
            Mutation::Store(value) => Object::written(dot, put.context, value),
            Mutation::Delete => Object::deleted(dot, put.context),
        };
        let mark = put.token.map(|token| (dot, Mark::new(token, 0, false)));
        let object = object.marked(mark.into_iter().collect());
        if self.keeps {
            let _ = self.objects.entry((table.id, put.key)).or_default().merge(object);
        }
        let receipt = receipt(&keyspace, need.least(), Some(dot));
        let session = put.sessions.map(|sessions| shown(sessions, &keyspace));
        Ok(Written { context, marks: Default::default(), repeated: false, receipt, session })
    }

    fn list(&self, list: &List) -> Result<Listed, Failure> {
        let (keyspace, table) = self.find(&list.keyspace, &list.table)?;
        let need = read_need(&keyspace, &table, list.options)?;
        let in_range = |key: &Key| match &list.range {
            Range::Partition { partition, after } => {
                key.partition() == partition
                    && after.as_ref().is_none_or(|after| after < key.sort())
            }
            Range::Table { shard, after } => {
                key.partition().len() % 2 == usize::from(*shard)
                    && after.as_ref().is_none_or(|after| after < key)
            }
        };
        let mut live = self.objects.iter().filter(|((table_, key), object)| {
            *table_ == table.id && in_range(key) && !object.values().is_empty()
        });
        let page = live.by_ref().take(list.limit);
        let listings: Vec<_> = page
            .map(|((_, key), object)| Listing { key: key.clone(), object: object.clone() })
            .collect();
        let last = listings.last().map(|listing| listing.key.clone());
        let next = match (&list.range, live.next().is_some()) {
            (Range::Partition { partition, .. }, true) => Some(Range::Partition {
                partition: partition.clone(),
                after: last.map(|key| key.sort().clone()),
            }),
            (Range::Table { shard, .. }, true) => Some(Range::Table { shard: *shard, after: last }),
            (Range::Table { shard: 0, .. }, false) => Some(Range::Table { shard: 1, after: None }),
            (Range::Partition { .. } | Range::Table { .. }, false) => None,
        };
        Ok(Listed { listings, next, receipt: receipt(&keyspace, need.least(), None) })
    }

    fn declare(&mut self, declare: Declare) -> Result<Declared, Failure> {
        match declare {
            Declare::Keyspace { name, shards, replicas, sloppy } => {
                let id = KeyspaceId::new(self.keyspaces.len() as u32 + 1);
                let new = Keyspace { id, name, shards, replicas, sloppy };
                if new.n() == 0 || !shards.is_power_of_two() {
                    return Err(Refusal::Contract("there must be replicas".to_owned()).into());
                }
                let old = self.keyspaces.iter().find(|old| old.name == new.name);
                if let Some(old) = old {
                    if (old.shards, &old.replicas, old.sloppy)
                        != (new.shards, &new.replicas, new.sloppy)
                    {
                        return Err(differs("keyspace", &new.name));
                    }
                    return Ok(Declared::Keyspace { keyspace: old.clone(), created: false });
                }
                self.keyspaces.push(new.clone());
                Ok(Declared::Keyspace { keyspace: new, created: true })
            }
            Declare::Table {
                keyspace,
                name,
                policy,
                durability,
                read,
                write,
                voting,
                siblings,
            } => {
                let found = self.keyspaces.iter().find(|found| found.name == keyspace);
                let keyspace = found.ok_or(Refusal::UnknownKeyspace(keyspace))?.id;
                let id = TableId::new(self.tables.len() as u32 + 1);
                siblings.check()?;
                let new =
                    Table { id, keyspace, name, policy, durability, read, write, voting, siblings };
                let mut tables = self.tables.iter();
                let old = tables.find(|old| old.keyspace == keyspace && old.name == new.name);
                if let Some(old) = old {
                    if (Table { id: old.id, ..new.clone() }) != *old {
                        return Err(differs("table", &new.name));
                    }
                    return Ok(Declared::Table { table: old.clone(), created: false });
                }
                self.tables.push(new.clone());
                Ok(Declared::Table { table: new, created: true })
            }
            Declare::Disk { node, step } => {
                let created = matches!(step, DiskStep::IsGone(_)) && self.evicted.insert(node);
                Ok(Declared::Disk { node, created })
            }
        }
    }

    fn status(&self) -> Status {
        let node = |number: u16, alive: bool| NodeStatus {
            node: NodeId::new(number),
            alive,
            region: Name::new("north").unwrap(),
            zone: Name::new("a").unwrap(),
            standing: Standing::Up,
            lag: None,
            enrolled: Some(DiskId::new(number.into())),
            joining: None,
        };
        Status {
            node: NodeId::new(1),
            incarnation: Incarnation::new(0xabc),
            uptime: self.looks[0].0,
            nodes: std::iter::once(node(1, true))
                .chain(self.is_lonely.then(|| node(2, false)))
                .collect(),
            catalog_version: 3,
            keyspaces: self.keyspaces.clone(),
            tables: self.tables.clone(),
            requests: 0,
            read_repairs: 0,
            log_dropped: 0,
            hints: self.looks[0].1.clone(),
            disk: DiskStatus {
                disk: DiskId::new(1),
                enrolment: self.enrolment,
                shards: 8,
                whole: 3,
            },
            forgetting: Forgetting {
                waiting: 4,
                more: true,
                for_retries: 2,
                dots: 1_000,
                runs: 3,
                blockers: vec![Blocker {
                    node: NodeId::new(2),
                    since: Duration::from_millis(61_500),
                }],
            },
            suspects: self.keyspaces.first().map(suspect).into_iter().collect(),
        }
    }
}

/// A shard that is suspect.
fn suspect(keyspace: &Keyspace) -> Suspect {
    let shard = ShardId { keyspace: keyspace.id, index: 3 };
    let (since, waits_for) = (Duration::from_millis(1_500), vec![NodeId::new(2)]);
    Suspect { shard, since, waits_for }
}

/// The replicas of any shard, all in one region that is called like the keyspace.
fn voters(keyspace: &Keyspace) -> Vec<Voter> {
    let place = || keyspace.name.clone();
    let voter = |node: u8| Voter {
        node: NodeId::new(node.into()),
        region: place(),
        zone: place(),
        votes: 1,
    };
    (1..=keyspace.n()).map(voter).collect()
}

fn read_need(
    keyspace: &Keyspace,
    table: &Table,
    options: ReadOptions,
) -> Result<ReadNeed, Refusal> {
    Electorate { voters: &voters(keyspace), table }.read(options, &keyspace.name)
}

/// What a session has seen of the one shard that receipts name.
fn shown(sessions: Vec<Session>, keyspace: &Keyspace) -> Session {
    let shard = ShardId { keyspace: keyspace.id, index: 17 };
    let of_shard = sessions.into_iter().find(|session| session.shard == shard);
    of_shard.unwrap_or_else(|| Session::new(shard))
}

fn differs(what: &'static str, name: &Name) -> Failure {
    let difference = "another contract".to_owned();
    Refusal::Exists { what, name: name.clone(), difference }.into()
}

fn receipt(keyspace: &Keyspace, wanted: u8, dot: Option<Dot>) -> Receipt {
    let durable = dot.is_some();
    let acks = (1..=wanted).map(|node| Ack::of_replica(NodeId::new(node.into()), durable));
    Receipt {
        kind: Kind::Strict,
        dot,
        shard: ShardId { keyspace: keyspace.id, index: 17 },
        acks: acks.collect(),
        wanted,
        replicas: keyspace.n(),
        cast: None,
        staleness: None,
    }
}

/// The door to a [`Fake`], which has the keyspace `ks` with three replicas and its tables
/// `t` and `u`.
pub(crate) struct Api {
    pub(crate) node: Fake,
    pub(crate) router: Router,
}

/// An answer that the description of the API declares.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::within(BODIES_BYTES_DEFAULT).await
    }

    /// With memory for so many bytes of bodies.
    pub(crate) async fn within(bodies_bytes_max: usize) -> Self {
        let api = Self::empty_within(bodies_bytes_max);
        let replicas = [("content-type", "application/json")];
        let body = r#"{"replicas":{"north":3}}"#;
        assert_eq!(api.send("PUT", "/v1/keyspaces/ks", &replicas, body).await.status, 201);
        for table in ["/v1/keyspaces/ks/tables/t", "/v1/keyspaces/ks/tables/u"] {
            let answer = api.send("PUT", table, &[], r#"{"policy":"siblings"}"#).await;
            assert_eq!(answer.status, 201);
        }
        api
    }

    pub(crate) fn empty() -> Self {
        Self::empty_within(BODIES_BYTES_DEFAULT)
    }

    fn empty_within(bodies_bytes_max: usize) -> Self {
        let node = Fake::default();
        let config = Config {
            token_key: TokenKey::derive(&[7; 32]),
            region: Name::new("north").unwrap(),
            nodes_in_region: 5,
            value_bytes_max: VALUE_BYTES_MAX,
            feeds_max: FEEDS_MAX,
        };
        Self { router: router_within(node.clone(), config, bodies_bytes_max), node }
    }

    /// Sends a request, and checks that its answer is declared and, if it is a problem,
    /// complete.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = target.parse().unwrap();
        for (name, value) in headers {
            let name = axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            let value = axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(name, value);
        }
        let path = request.uri().path().to_owned();
        let service = TowerToHyperService::new(self.router.clone());
        let (head, body) = service.call(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body };
        answer.check(method, &path);
        answer
    }

    /// Puts this value, with this context, in the place of every object.
    pub(crate) fn replace(&self, context: DotSet, value: Bytes) {
        let value = Value { content_type: "text/plain".into(), body: value };
        let object = Object::written(Dot::new(Incarnation::new(0xabc), 1), context, value);
        self.node.state().objects.values_mut().for_each(|place| *place = object.clone());
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "").await
    }

    pub(crate) async fn put(&self, target: &str, context: Option<&str>, value: &str) -> Answer {
        let headers: Vec<_> = context.iter().map(|token| ("merganser-context", *token)).collect();
        let value = value.to_owned();
        self.send("PUT", target, &headers, value).await
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn context(&self) -> &str {
        self.header("merganser-context").expect("a context")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of a problem, with its status: `404 not_found`.
    pub(crate) fn problem(&self) -> String {
        let code = self.json()["code"].as_str().unwrap_or_default().to_owned();
        format!("{} {code}", self.status)
    }

    pub(crate) fn check(&self, method: &str, path: &str) {
        let content_type = self.header("content-type");
        let is_problem = content_type == Some("application/problem+json");
        assert_eq!(is_problem, 400 <= self.status, "{method} {path} {}", self.status);
        if !is_problem || method == "HEAD" {
            openapi::check(method, path, self.status, content_type, None).unwrap();
            return;
        }
        let problem = self.json();
        let code = problem["code"].as_str().unwrap();
        openapi::check(method, path, self.status, content_type, Some(code)).unwrap();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], format!("https://merganser.dev/problems/{code}"));
        assert_ne!(problem["title"].as_str().unwrap(), "");
        assert_ne!(problem["detail"].as_str().unwrap(), "");
        assert_eq!(self.status == 503, self.header("retry-after") == Some("1"));
        assert_eq!(self.status == 405, self.header("allow").is_some());
    }
}
