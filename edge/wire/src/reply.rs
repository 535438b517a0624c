//! Answers to requests that one node handed to another.

use bytes::Bytes;
use causality::Incarnation;
use codec::catalog as contracts;
use model::{
    Declared, Enrolment, KeyspaceId, Listed, Listing, NodeId, Read, ShardId, Standing, Written,
};
use prost::{Message, Oneof};

use crate::explain::Explained;
use crate::failure::Failure;
use crate::feed::Watched;
use crate::parts::{
    Key, Objects, Receipt, Session, Time, Unusable, Usable, coded, narrow, numbered, present,
    put_context, put_disk, put_name, take_context, take_disk, take_name,
};
use crate::recall::Recalled;
use crate::repair::RepairStatus;
use crate::request::Range;
use crate::salvage::Salvaged;

/// Any answer, without its objects.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reply {
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7, 25, 26, 32, 34, 40, 50, 60")]
    answer: Option<Answer>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Answer {
    /// One object follows.
    #[prost(message, tag = "32")]
    SessionRead(SessionRead),
    #[prost(message, tag = "1")]
    Written(PlainWritten),
    /// One object follows.
    #[prost(message, tag = "2")]
    Read(Receipt),
    /// One object follows for each key.
    #[prost(message, tag = "3")]
    Listed(PlainListed),
    #[prost(message, tag = "4")]
    Keyspace(Contract),
    #[prost(message, tag = "5")]
    Table(Contract),
    #[prost(message, tag = "6")]
    Status(Status),
    #[prost(message, tag = "7")]
    Failed(Failure),
    #[prost(message, tag = "25")]
    Recalled(Recalled),
    /// One object follows for each key.
    #[prost(message, tag = "50")]
    Watched(Watched),
    /// The objects of those who told follow, and two more.
    #[prost(message, tag = "26")]
    Explained(Explained),
    #[prost(message, tag = "40")]
    Disk(Enrolled),
    #[prost(message, tag = "34")]
    Repair(RepairStatus),
    #[prost(message, tag = "60")]
    Salvaged(Salvaged),
}

#[derive(Clone, PartialEq, Message)]
struct SessionRead {
    #[prost(message, optional, tag = "1")]
    receipt: Option<Receipt>,
    #[prost(message, optional, tag = "2")]
    session: Option<Session>,
}

#[derive(Clone, PartialEq, Message)]
struct PlainWritten {
    #[prost(bytes = "bytes", tag = "1")]
    context: Bytes,
    #[prost(message, optional, tag = "2")]
    receipt: Option<Receipt>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    marks: Option<Bytes>,
    #[prost(bool, tag = "4")]
    repeated: bool,
    #[prost(message, optional, tag = "5")]
    session: Option<Session>,
}

#[derive(Clone, PartialEq, Message)]
struct PlainListed {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<Key>,
    #[prost(message, optional, tag = "2")]
    next: Option<Range>,
    #[prost(message, optional, tag = "3")]
    receipt: Option<Receipt>,
}

/// A keyspace or table, in the encoding of `codec`.
#[derive(Clone, PartialEq, Message)]
struct Contract {
    #[prost(bytes = "bytes", tag = "1")]
    contract: Bytes,
    #[prost(bool, tag = "2")]
    created: bool,
}

/// What became of the disk of a node is known.
#[derive(Clone, PartialEq, Message)]
struct Enrolled {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(bool, tag = "2")]
    created: bool,
}

impl Reply {
    pub(crate) fn put(reply: &model::Reply) -> Self {
        let answer = match reply {
            model::Reply::Written(written) => Answer::Written(PlainWritten::put(written)),
            model::Reply::Read(Read { receipt, session: None, object: _ }) => {
                Answer::Read(Receipt::put(receipt))
            }
            model::Reply::Read(Read { receipt, session: Some(session), object: _ }) => {
                let (receipt, session) = (Receipt::put(receipt), Session::put(session));
                Answer::SessionRead(SessionRead { receipt: Some(receipt), session: Some(session) })
            }
            model::Reply::Listed(listed) => Answer::Listed(PlainListed::put(listed)),
            model::Reply::Watched(watched) => Answer::Watched(Watched::put(watched)),
            model::Reply::Recalled(recalled) => Answer::Recalled(Recalled::put(recalled)),
            model::Reply::Explained(explained) => Answer::Explained(Explained::put(explained)),
            model::Reply::Declared(declared) => put_declared(declared),
            model::Reply::Status(status) => Answer::Status(Status::put(status)),
            model::Reply::Repair(status) => Answer::Repair(RepairStatus::put(status)),
            model::Reply::Salvaged(salvaged) => Answer::Salvaged(Salvaged::put(salvaged)),
            model::Reply::Failed(failure) => Answer::Failed(Failure::put(failure)),
        };
        Self { answer: Some(answer) }
    }

    pub(crate) fn take(self, objects: &mut Objects<'_>) -> Usable<model::Reply> {
        Ok(match self.answer.ok_or(Unusable::Unknown)? {
            Answer::Written(written) => model::Reply::Written(written.take()?),
            Answer::Read(receipt) => {
                let (object, receipt) = (objects.next()?, receipt.take()?);
                model::Reply::Read(Read { object, session: None, receipt })
            }
            Answer::SessionRead(SessionRead { receipt, session }) => {
                let (object, session) = (objects.next()?, Some(present(session)?.take()?));
                model::Reply::Read(Read { object, session, receipt: present(receipt)?.take()? })
            }
            Answer::Listed(listed) => model::Reply::Listed(listed.take(objects)?),
            Answer::Watched(watched) => model::Reply::Watched(watched.take(objects)?),
            Answer::Recalled(recalled) => model::Reply::Recalled(recalled.take()?),
            Answer::Salvaged(salvaged) => model::Reply::Salvaged(Box::new(salvaged.take()?)),
            Answer::Explained(explained) => {
                model::Reply::Explained(Box::new(explained.take(objects)?))
            }
            Answer::Keyspace(Contract { contract, created }) => {
                let keyspace = contracts::decode_keyspace(&contract)?;
                model::Reply::Declared(Declared::Keyspace { keyspace, created })
            }
            Answer::Table(Contract { contract, created }) => {
                let table = contracts::decode_table(&contract)?;
                model::Reply::Declared(Declared::Table { table, created })
            }
            Answer::Disk(Enrolled { node, created }) => {
                let node = NodeId::new(narrow(node)?);
                model::Reply::Declared(Declared::Disk { node, created })
            }
            Answer::Status(status) => model::Reply::Status(Box::new(status.take()?)),
            Answer::Repair(status) => model::Reply::Repair(Box::new(status.take()?)),
            Answer::Failed(failure) => model::Reply::Failed(failure.take()?),
        })
    }
}

fn put_declared(declared: &Declared) -> Answer {
    match declared {
        Declared::Keyspace { keyspace, created } => {
            let contract = coded(|out| contracts::encode_keyspace(keyspace, out));
            Answer::Keyspace(Contract { contract, created: *created })
        }
        Declared::Table { table, created } => {
            let contract = coded(|out| contracts::encode_table(table, out));
            Answer::Table(Contract { contract, created: *created })
        }
        Declared::Disk { node, created } => {
            Answer::Disk(Enrolled { node: u32::from(node.number()), created: *created })
        }
    }
}

impl PlainWritten {
    fn put(written: &Written) -> Self {
        let (context, marks) = put_context(&written.context, &written.marks);
        let receipt = Some(Receipt::put(&written.receipt));
        let session = written.session.as_ref().map(Session::put);
        Self { context, receipt, marks, repeated: written.repeated, session }
    }

    fn take(self) -> Usable<Written> {
        let (context, marks) = take_context(&self.context, self.marks.as_ref())?;
        let receipt = present(self.receipt)?.take()?;
        let session = self.session.map(Session::take).transpose()?;
        Ok(Written { context, marks, repeated: self.repeated, session, receipt })
    }
}

impl PlainListed {
    fn put(listed: &Listed) -> Self {
        Self {
            keys: listed.listings.iter().map(|listing| Key::put(&listing.key)).collect(),
            next: listed.next.as_ref().map(Range::put),
            receipt: Some(Receipt::put(&listed.receipt)),
        }
    }

    fn take(self, objects: &mut Objects<'_>) -> Usable<Listed> {
        let listing = |key: Key| Ok(Listing { key: key.take()?, object: objects.next()? });
        Ok(Listed {
            listings: self.keys.into_iter().map(listing).collect::<Usable<_>>()?,
            next: self.next.map(Range::take).transpose()?,
            receipt: present(self.receipt)?.take()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(fixed64, tag = "2")]
    incarnation: u64,
    #[prost(message, optional, tag = "3")]
    uptime: Option<Time>,
    #[prost(message, repeated, tag = "4")]
    nodes: Vec<NodeStatus>,
    #[prost(uint64, tag = "5")]
    catalog_version: u64,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    keyspaces: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    tables: Vec<Bytes>,
    #[prost(uint64, tag = "8")]
    requests: u64,
    #[prost(uint64, tag = "9")]
    read_repairs: u64,
    #[prost(uint64, tag = "10")]
    log_dropped: u64,
    #[prost(message, repeated, tag = "30")]
    hints: Vec<HintStatus>,
    #[prost(message, optional, tag = "31")]
    disk: Option<DiskStatus>,
    /// Programs of before do not say it.
    #[prost(message, optional, tag = "32")]
    forgetting: Option<Forgetting>,
    #[prost(message, repeated, tag = "33")]
    suspects: Vec<Suspect>,
}

/// A shard that is suspect.
#[derive(Clone, PartialEq, Message)]
struct Suspect {
    #[prost(uint32, tag = "1")]
    keyspace: u32,
    #[prost(uint32, tag = "2")]
    shard: u32,
    #[prost(message, optional, tag = "3")]
    since: Option<Time>,
    #[prost(uint32, repeated, tag = "4")]
    waits_for: Vec<u32>,
}

impl Suspect {
    fn put(suspect: &model::Suspect) -> Self {
        let model::Suspect { shard, since, waits_for } = suspect;
        Self {
            keyspace: shard.keyspace.number(),
            shard: shard.index.into(),
            since: Some(Time::put(*since)),
            waits_for: waits_for.iter().map(|node| node.number().into()).collect(),
        }
    }

    fn take(self) -> Usable<model::Suspect> {
        let Self { keyspace, shard, since, waits_for } = self;
        let shard = ShardId { keyspace: KeyspaceId::new(keyspace), index: narrow(shard)? };
        let node = |node| Ok(NodeId::new(narrow(node)?));
        let waits_for = waits_for.into_iter().map(node).collect::<Usable<_>>()?;
        Ok(model::Suspect { shard, since: present(since)?.take()?, waits_for })
    }
}

#[derive(Clone, PartialEq, Message)]
struct Forgetting {
    #[prost(uint64, tag = "1")]
    waiting: u64,
    #[prost(bool, tag = "2")]
    more: bool,
    #[prost(uint64, tag = "3")]
    for_retries: u64,
    #[prost(uint64, tag = "4")]
    dots: u64,
    #[prost(uint64, tag = "5")]
    runs: u64,
    #[prost(message, repeated, tag = "6")]
    blockers: Vec<Blocker>,
}

#[derive(Clone, PartialEq, Message)]
struct Blocker {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(message, optional, tag = "2")]
    since: Option<Time>,
}

impl Forgetting {
    fn put(forgetting: &model::Forgetting) -> Self {
        let model::Forgetting { waiting, more, for_retries, dots, runs, blockers } = forgetting;
        let blocker = |blocker: &model::Blocker| Blocker {
            node: blocker.node.number().into(),
            since: Some(Time::put(blocker.since)),
        };
        Self {
            waiting: *waiting,
            more: *more,
            for_retries: *for_retries,
            dots: *dots,
            runs: *runs,
            blockers: blockers.iter().map(blocker).collect(),
        }
    }

    fn take(self) -> Usable<model::Forgetting> {
        let Self { waiting, more, for_retries, dots, runs, blockers } = self;
        let blocker = |Blocker { node, since }| {
            let node = NodeId::new(narrow(node)?);
            Ok(model::Blocker { node, since: present(since)?.take()? })
        };
        let blockers = blockers.into_iter().map(blocker).collect::<Usable<_>>()?;
        Ok(model::Forgetting { waiting, more, for_retries, dots, runs, blockers })
    }
}

#[derive(Clone, PartialEq, Message)]
struct DiskStatus {
    #[prost(bytes = "bytes", tag = "1")]
    disk: Bytes,
    #[prost(uint32, tag = "2")]
    enrolment: u32,
    #[prost(uint64, tag = "3")]
    shards: u64,
    #[prost(uint64, tag = "4")]
    whole: u64,
}

numbered!(put_enrolment, take_enrolment, Enrolment {
    Enrolment::New = 1,
    Enrolment::Enrolled = 2,
    Enrolment::Challenged = 3,
    Enrolment::Unannounced = 4,
    Enrolment::Joining = 5,
    Enrolment::Retired = 6,
});

impl DiskStatus {
    fn put(status: &model::DiskStatus) -> Self {
        let model::DiskStatus { disk, enrolment, shards, whole } = *status;
        Self { disk: put_disk(disk), enrolment: put_enrolment(enrolment), shards, whole }
    }

    fn take(&self) -> Usable<model::DiskStatus> {
        let Self { disk, enrolment, shards, whole } = self;
        let (disk, enrolment) = (take_disk(disk)?, take_enrolment(*enrolment)?);
        Ok(model::DiskStatus { disk, enrolment, shards: *shards, whole: *whole })
    }
}

#[derive(Clone, PartialEq, Message)]
struct HintStatus {
    #[prost(uint32, tag = "1")]
    target: u32,
    #[prost(uint64, tag = "2")]
    count: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
    #[prost(message, optional, tag = "4")]
    oldest: Option<Time>,
}

impl HintStatus {
    fn put(hints: &model::HintStatus) -> Self {
        let model::HintStatus { target, count, bytes, oldest } = *hints;
        Self { target: target.number().into(), count, bytes, oldest: Some(Time::put(oldest)) }
    }

    fn take(self) -> Usable<model::HintStatus> {
        let Self { target, count, bytes, oldest } = self;
        let target = NodeId::new(narrow(target)?);
        Ok(model::HintStatus { target, count, bytes, oldest: present(oldest)?.take()? })
    }
}

#[derive(Clone, PartialEq, Message)]
struct NodeStatus {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(bool, tag = "2")]
    alive: bool,
    #[prost(bytes = "bytes", tag = "3")]
    region: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    zone: Bytes,
    #[prost(uint32, tag = "5")]
    standing: u32,
    #[prost(message, optional, tag = "6")]
    lag: Option<Lag>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    enrolled: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "8")]
    joining: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Lag {
    #[prost(uint64, tag = "1")]
    behind: u64,
    #[prost(uint64, tag = "2")]
    ahead: u64,
    #[prost(uint64, tag = "3")]
    gaps: u64,
    #[prost(uint64, tag = "4")]
    marked: u64,
    #[prost(message, optional, tag = "5")]
    since: Option<Time>,
}

impl Lag {
    fn put(lag: model::Lag) -> Self {
        let model::Lag { behind, ahead, gaps, marked, since } = lag;
        Self { behind, ahead, gaps, marked, since: since.map(Time::put) }
    }

    fn take(self) -> Usable<model::Lag> {
        let Self { behind, ahead, gaps, marked, since } = self;
        let since = since.map(Time::take).transpose()?;
        Ok(model::Lag { behind, ahead, gaps, marked, since })
    }
}

impl Status {
    fn put(status: &model::Status) -> Self {
        let node = |node: &model::NodeStatus| NodeStatus {
            node: node.node.number().into(),
            alive: node.alive,
            region: put_name(&node.region),
            zone: put_name(&node.zone),
            standing: match node.standing {
                Standing::Unknown => 0,
                Standing::Up => 1,
                Standing::Suspected => 2,
                Standing::Down => 3,
            },
            lag: node.lag.map(Lag::put),
            enrolled: node.enrolled.map(put_disk),
            joining: node.joining.map(put_disk),
        };
        let keyspace = |keyspace| coded(|out| contracts::encode_keyspace(keyspace, out));
        let table = |table| coded(|out| contracts::encode_table(table, out));
        Self {
            node: status.node.number().into(),
            incarnation: status.incarnation.bits(),
            uptime: Some(Time::put(status.uptime)),
            nodes: status.nodes.iter().map(node).collect(),
            catalog_version: status.catalog_version,
            keyspaces: status.keyspaces.iter().map(keyspace).collect(),
            tables: status.tables.iter().map(table).collect(),
            requests: status.requests as u64,
            read_repairs: status.read_repairs,
            log_dropped: status.log_dropped,
            hints: status.hints.iter().map(HintStatus::put).collect(),
            disk: Some(DiskStatus::put(&status.disk)),
            forgetting: Some(Forgetting::put(&status.forgetting)),
            suspects: status.suspects.iter().map(Suspect::put).collect(),
        }
    }

    fn take(self) -> Usable<model::Status> {
        let node = |node: &NodeStatus| {
            let (region, zone) = (take_name(&node.region)?, take_name(&node.zone)?);
            let (standing, alive, lag) = (node.standing, node.alive, node.lag.clone());
            let enrolled = node.enrolled.as_ref().map(take_disk).transpose()?;
            let joining = node.joining.as_ref().map(take_disk).transpose()?;
            let node = NodeId::new(narrow(node.node)?);
            let standing = match standing {
                1 => Standing::Up,
                2 => Standing::Suspected,
                3 => Standing::Down,
                _ => Standing::Unknown,
            };
            let lag = lag.map(Lag::take).transpose()?;
            Ok(model::NodeStatus { node, alive, region, zone, standing, lag, enrolled, joining })
        };
        let keyspaces = self.keyspaces.iter().map(contracts::decode_keyspace);
        let tables = self.tables.iter().map(contracts::decode_table);
        Ok(model::Status {
            node: NodeId::new(narrow(self.node)?),
            incarnation: Incarnation::new(self.incarnation),
            uptime: present(self.uptime)?.take()?,
            nodes: self.nodes.iter().map(node).collect::<Usable<_>>()?,
            catalog_version: self.catalog_version,
            keyspaces: keyspaces.collect::<Result<_, _>>()?,
            tables: tables.collect::<Result<_, _>>()?,
            requests: narrow(self.requests)?,
            read_repairs: self.read_repairs,
            log_dropped: self.log_dropped,
            hints: self.hints.into_iter().map(HintStatus::take).collect::<Usable<_>>()?,
            disk: present(self.disk)?.take()?,
            forgetting: self.forgetting.unwrap_or_default().take()?,
            suspects: self.suspects.into_iter().map(Suspect::take).collect::<Usable<_>>()?,
        })
    }
}
