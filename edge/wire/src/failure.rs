//! Failures that one node reports to another.
//!
//! A client must learn why its request failed also when a later version refused it for a
//! reason that this one has never heard of. A refusal therefore travels with its text, and
//! one of an unknown kind is handed on as that text.

use std::borrow::Cow;

use model::{DiskId, Level, Malformed, Name, NodeId, Refusal};
use prost::{Message, Oneof};

use crate::parts::{Receipt, Unusable, Usable, narrow, present, take_name, wrong};

/// Any failure.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Failure {
    #[prost(oneof = "Reason", tags = "1, 2, 3, 4, 5, 6, 7")]
    reason: Option<Reason>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Reason {
    #[prost(message, tag = "1")]
    Refused(Refused),
    #[prost(message, tag = "2")]
    NotAttempted(NotAttempted),
    #[prost(message, tag = "3")]
    Unknown(Unknown),
    #[prost(message, tag = "4")]
    Weaker(Receipt),
    /// Of a read; the receipt is always there.
    #[prost(message, tag = "5")]
    TooFewAnswers(Unknown),
    #[prost(message, tag = "6")]
    Unsettled(Receipt),
    #[prost(message, tag = "7")]
    SessionBehind(SessionBehind),
}

#[derive(Clone, PartialEq, Message)]
struct SessionBehind {
    /// One more than how many; zero for more than a token can say.
    #[prost(uint64, tag = "1")]
    missing: u64,
    #[prost(uint32, repeated, tag = "2")]
    asked: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct NotAttempted {
    #[prost(uint32, tag = "1")]
    wanted: u32,
    #[prost(uint32, tag = "2")]
    alive: u32,
    #[prost(uint32, tag = "3")]
    replicas: u32,
    #[prost(string, tag = "4")]
    lacks: String,
}

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(uint32, tag = "1")]
    wanted: u32,
    #[prost(uint32, tag = "2")]
    got: u32,
    #[prost(message, optional, tag = "3")]
    receipt: Option<Receipt>,
    #[prost(string, tag = "4")]
    lacks: String,
}

impl Failure {
    pub(crate) fn put(failure: &model::Failure) -> Self {
        let reason = match failure {
            model::Failure::Refused(refusal) => Reason::Refused(Refused::put(refusal)),
            model::Failure::NotAttempted { wanted, alive, replicas, lacks } => {
                let [wanted, alive, replicas] = [*wanted, *alive, *replicas].map(u32::from);
                let lacks = lacks.clone();
                Reason::NotAttempted(NotAttempted { wanted, alive, replicas, lacks })
            }
            model::Failure::Unknown { wanted, got, receipt, lacks } => {
                let receipt = receipt.as_ref().map(Receipt::put);
                let (wanted, got, lacks) = ((*wanted).into(), (*got).into(), lacks.clone());
                Reason::Unknown(Unknown { wanted, got, receipt, lacks })
            }
            model::Failure::TooFewAnswers { wanted, got, receipt, lacks } => {
                let receipt = Some(Receipt::put(receipt));
                let (wanted, got, lacks) = ((*wanted).into(), (*got).into(), lacks.clone());
                Reason::TooFewAnswers(Unknown { wanted, got, receipt, lacks })
            }
            model::Failure::Weaker { receipt } => Reason::Weaker(Receipt::put(receipt)),
            model::Failure::SessionBehind { missing, asked } => {
                let missing = missing.map_or(0, |missing| missing.saturating_add(1));
                let asked = asked.iter().map(|node| node.number().into()).collect();
                Reason::SessionBehind(SessionBehind { missing, asked })
            }
            model::Failure::Unsettled { receipt } => Reason::Unsettled(Receipt::put(receipt)),
        };
        Self { reason: Some(reason) }
    }

    pub(crate) fn take(self) -> Usable<model::Failure> {
        Ok(match self.reason.ok_or(Unusable::Unknown)? {
            Reason::Refused(refused) => model::Failure::Refused(refused.take()?),
            Reason::NotAttempted(NotAttempted { wanted, alive, replicas, lacks }) => {
                model::Failure::NotAttempted {
                    wanted: narrow(wanted)?,
                    alive: narrow(alive)?,
                    replicas: narrow(replicas)?,
                    lacks,
                }
            }
            Reason::TooFewAnswers(Unknown { wanted, got, receipt, lacks }) => {
                model::Failure::TooFewAnswers {
                    wanted: narrow(wanted)?,
                    got: narrow(got)?,
                    receipt: present(receipt)?.take()?,
                    lacks,
                }
            }
            Reason::Weaker(receipt) => model::Failure::Weaker { receipt: receipt.take()? },
            Reason::SessionBehind(SessionBehind { missing, asked }) => {
                let asked = asked.into_iter().map(|node| Ok(NodeId::new(narrow(node)?)));
                let missing = missing.checked_sub(1);
                model::Failure::SessionBehind { missing, asked: asked.collect::<Usable<_>>()? }
            }
            Reason::Unsettled(receipt) => model::Failure::Unsettled { receipt: receipt.take()? },
            Reason::Unknown(Unknown { wanted, got, receipt, lacks }) => model::Failure::Unknown {
                wanted: narrow(wanted)?,
                got: narrow(got)?,
                receipt: receipt.map(Receipt::take).transpose()?,
                lacks,
            },
        })
    }
}

/// A refusal: which, its words and numbers in the order of its declaration, and its text.
#[derive(Clone, PartialEq, Message)]
struct Refused {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, repeated, tag = "2")]
    words: Vec<String>,
    #[prost(uint64, repeated, tag = "3")]
    numbers: Vec<u64>,
    #[prost(string, tag = "4")]
    text: String,
}

impl Refused {
    fn put(refusal: &Refusal) -> Self {
        let (kind, words, numbers) = parts_of(refusal);
        let words = words.into_iter().map(Cow::into_owned).collect();
        Self { kind, words, numbers, text: refusal.to_string() }
    }

    fn take(self) -> Usable<Refusal> {
        let mut parts = Parts { words: self.words.into_iter(), numbers: self.numbers.into_iter() };
        Ok(match self.kind {
            0 => return Err(wrong("a refusal of no kind")),
            1 => Malformed::Name(parts.word()?).into(),
            2 => Malformed::EmptyKey.into(),
            3 => Malformed::LongKey { part: parts.fixed()?, bytes: parts.number()? }.into(),
            4 => Refusal::UnknownKeyspace(parts.name()?),
            5 => Refusal::UnknownTable { keyspace: parts.name()?, table: parts.name()? },
            6 => Refusal::Exists {
                what: parts.fixed()?,
                name: parts.name()?,
                difference: parts.word()?,
            },
            7 => Refusal::Contract(parts.word()?),
            8 => Refusal::Level {
                what: parts.fixed()?,
                asked: parts.number()?,
                replicas: parts.number()?,
                of: parts.fixed_or("replicas"),
            },
            9 => Refusal::LargeValue { bytes: parts.number()?, max: parts.number()? },
            10 => Refusal::ManySiblings { siblings: parts.number()?, max: parts.number()? },
            11 => Refusal::Overloaded { max: parts.number()? },
            12 => Refusal::Disk(parts.word()?),
            13 => Refusal::NoMajority { alive: parts.number()?, nodes: parts.number()? },
            14 => Refusal::EmptyDelete,
            15 => Refusal::LargeObject { bytes: parts.number()?, max: parts.number()? },
            16 => Refusal::NotLocal {
                what: parts.fixed()?,
                level: parts.word()?,
                region: parts.name()?,
            },
            17 => Refusal::Weak {
                what: parts.fixed()?,
                asked: parts.level()?,
                weakest: parts.level()?,
            },
            18 => Refusal::MayMiss {
                what: parts.fixed()?,
                nodes: parts.nodes()?,
                written: parts.nodes()?,
            },
            24 => Refusal::TokenExpired { seconds: parts.number()?, max: parts.number()? },
            25 => Refusal::TokenFromFuture { seconds: parts.number()?, max: parts.number()? },
            26 => Refusal::TokenReused,
            27 => Refusal::TokenForgotten { max: parts.number()? },
            28 => Refusal::HintsFull {
                nodes: parts.nodes()?,
                kept: parts.number()?,
                needs: parts.number()?,
                max: parts.number()?,
            },
            50 => Refusal::CursorExpired { shard: parts.number()? },
            40 => Refusal::Joining { node: NodeId::new(parts.number()?) },
            60 => {
                let (node, disk) = (NodeId::new(parts.number()?), Box::new(parts.disk()?));
                Refusal::DiskNotRetired { node, disk }
            }
            61 => Refusal::MayBeDeleted { dots: parts.number()? },
            70 => Refusal::BlindPut { siblings: parts.number()? },
            34 => Refusal::RepairRuns { id: parts.number()? },
            35 => Refusal::NoSuchShard {
                keyspace: parts.name()?,
                shard: parts.number()?,
                shards: parts.number()?,
            },
            _ => Refusal::Contract(self.text),
        })
    }
}

/// Takes a refusal apart into its kind, its words and its numbers.
fn parts_of(refusal: &Refusal) -> (u32, Vec<Cow<'_, str>>, Vec<u64>) {
    let (kind, words, numbers): (u32, Vec<&str>, Vec<u64>) = match refusal {
        Refusal::Weak { what, asked, weakest } => {
            let levels = [asked, weakest].map(|level| level.to_string().into());
            return (17, [&[Cow::from(*what)][..], &levels].concat(), vec![]);
        }
        Refusal::Malformed(Malformed::Name(name)) => (1, vec![name], vec![]),
        Refusal::Malformed(Malformed::EmptyKey) => (2, vec![], vec![]),
        Refusal::Malformed(Malformed::LongKey { part, bytes }) => {
            (3, vec![part], vec![*bytes as u64])
        }
        Refusal::UnknownKeyspace(name) => (4, vec![name.as_str()], vec![]),
        Refusal::UnknownTable { keyspace, table } => {
            (5, vec![keyspace.as_str(), table.as_str()], vec![])
        }
        Refusal::Exists { what, name, difference } => {
            (6, vec![what, name.as_str(), difference], vec![])
        }
        Refusal::Contract(text) => (7, vec![text], vec![]),
        Refusal::Level { what, asked, replicas, of } => {
            (8, vec![*what, of], vec![(*asked).into(), (*replicas).into()])
        }
        Refusal::NotLocal { what, level, region } => {
            (16, vec![*what, level, region.as_str()], vec![])
        }
        Refusal::MayMiss { what, nodes, written } => {
            (18, vec![*what], numbers_of(&[nodes, written]))
        }
        Refusal::HintsFull { nodes, kept, needs, max } => {
            let numbers = [numbers_of(&[nodes]), vec![*kept, *needs, *max]].concat();
            (28, vec![], numbers)
        }
        Refusal::LargeValue { bytes, max } => (9, vec![], vec![*bytes as u64, *max as u64]),
        Refusal::ManySiblings { siblings, max } => {
            (10, vec![], vec![*siblings as u64, *max as u64])
        }
        Refusal::Overloaded { max } => (11, vec![], vec![*max as u64]),
        Refusal::Disk(text) => (12, vec![text], vec![]),
        Refusal::NoMajority { alive, nodes } => (13, vec![], vec![*alive as u64, *nodes as u64]),
        Refusal::TokenExpired { seconds, max } => (24, vec![], vec![*seconds, *max]),
        Refusal::TokenFromFuture { seconds, max } => (25, vec![], vec![*seconds, *max]),
        Refusal::CursorExpired { shard } => (50, vec![], vec![(*shard).into()]),
        Refusal::TokenReused => (26, vec![], vec![]),
        Refusal::TokenForgotten { max } => (27, vec![], vec![*max as u64]),
        Refusal::Joining { node } => (40, vec![], vec![node.number().into()]),
        Refusal::DiskNotRetired { node, disk } => {
            return (60, vec![disk.to_string().into()], vec![node.number().into()]);
        }
        Refusal::MayBeDeleted { dots } => (61, vec![], vec![*dots]),
        Refusal::BlindPut { siblings } => (70, vec![], vec![*siblings as u64]),
        Refusal::RepairRuns { id } => (34, vec![], vec![*id]),
        Refusal::NoSuchShard { keyspace, shard, shards } => {
            (35, vec![keyspace.as_str()], vec![(*shard).into(), (*shards).into()])
        }
        Refusal::EmptyDelete => (14, vec![], vec![]),
        Refusal::LargeObject { bytes, max } => (15, vec![], vec![*bytes as u64, *max as u64]),
    };
    (kind, words.into_iter().map(Cow::from).collect(), numbers)
}

/// Lists of nodes, each behind its length.
fn numbers_of(lists: &[&[NodeId]]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for nodes in lists {
        numbers.push(nodes.len() as u64);
        numbers.extend(nodes.iter().map(|node| u64::from(node.number())));
    }
    numbers
}

/// The words that refusals hold as part of the program. A word of a later version is
/// replaced by the last, which fits any sentence badly and none wrongly.
const FIXED: [&str; 19] = [
    "partition",
    "sort",
    "keyspace",
    "table",
    "r",
    "pr",
    "w",
    "pw",
    "dw",
    "read",
    "write",
    "min_nodes",
    "min_zones",
    "replicas",
    "votes",
    "zones",
    "a read",
    "a write",
    "option",
];

struct Parts {
    words: std::vec::IntoIter<String>,
    numbers: std::vec::IntoIter<u64>,
}

impl Parts {
    fn word(&mut self) -> Usable<String> {
        present(self.words.next())
    }

    fn name(&mut self) -> Usable<Name> {
        take_name(self.word()?.as_bytes())
    }

    fn fixed(&mut self) -> Usable<&'static str> {
        let word = self.word()?;
        Ok(FIXED.into_iter().find(|fixed| *fixed == word).unwrap_or("option"))
    }

    /// A word that earlier versions did not send.
    fn fixed_or(&mut self, missing: &'static str) -> &'static str {
        self.fixed().unwrap_or(missing)
    }

    fn disk(&mut self) -> Usable<DiskId> {
        let bits = u128::from_str_radix(&self.word()?, 16);
        bits.map(DiskId::new).map_err(|_| wrong("a disk that cannot exist"))
    }

    fn level(&mut self) -> Usable<Level> {
        Level::parse(&self.word()?).ok_or(wrong("a level that cannot exist"))
    }

    fn nodes(&mut self) -> Usable<Vec<NodeId>> {
        let count: u8 = self.number()?;
        (0..count).map(|_| Ok(NodeId::new(self.number()?))).collect()
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Usable<T> {
        narrow(present(self.numbers.next())?)
    }
}
