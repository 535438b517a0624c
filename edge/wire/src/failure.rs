//! Failures that one node reports to another.
//!
//! A client must learn why its request failed also when a later version refused it for a
//! reason that this one has never heard of. A refusal therefore travels with its text, and
//! one of an unknown kind is handed on as that text.

use model::{Malformed, Name, Refusal};
use prost::{Message, Oneof};

use crate::parts::{Receipt, Unusable, Usable, narrow, present, take_name, wrong};

/// Any failure.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Failure {
    #[prost(oneof = "Reason", tags = "1, 2, 3")]
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
}

#[derive(Clone, PartialEq, Message)]
struct NotAttempted {
    #[prost(uint32, tag = "1")]
    wanted: u32,
    #[prost(uint32, tag = "2")]
    alive: u32,
    #[prost(uint32, tag = "3")]
    replicas: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(uint32, tag = "1")]
    wanted: u32,
    #[prost(uint32, tag = "2")]
    got: u32,
    #[prost(message, optional, tag = "3")]
    receipt: Option<Receipt>,
}

impl Failure {
    pub(crate) fn put(failure: &model::Failure) -> Self {
        let reason = match failure {
            model::Failure::Refused(refusal) => Reason::Refused(Refused::put(refusal)),
            model::Failure::NotAttempted { wanted, alive, replicas } => {
                let [wanted, alive, replicas] = [*wanted, *alive, *replicas].map(u32::from);
                Reason::NotAttempted(NotAttempted { wanted, alive, replicas })
            }
            model::Failure::Unknown { wanted, got, receipt } => {
                let receipt = receipt.as_ref().map(Receipt::put);
                Reason::Unknown(Unknown { wanted: (*wanted).into(), got: (*got).into(), receipt })
            }
        };
        Self { reason: Some(reason) }
    }

    pub(crate) fn take(self) -> Usable<model::Failure> {
        Ok(match self.reason.ok_or(Unusable::Unknown)? {
            Reason::Refused(refused) => model::Failure::Refused(refused.take()?),
            Reason::NotAttempted(NotAttempted { wanted, alive, replicas }) => {
                model::Failure::NotAttempted {
                    wanted: narrow(wanted)?,
                    alive: narrow(alive)?,
                    replicas: narrow(replicas)?,
                }
            }
            Reason::Unknown(Unknown { wanted, got, receipt }) => model::Failure::Unknown {
                wanted: narrow(wanted)?,
                got: narrow(got)?,
                receipt: receipt.map(Receipt::take).transpose()?,
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
        let words = words.into_iter().map(str::to_owned).collect();
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
            },
            9 => Refusal::LargeValue { bytes: parts.number()?, max: parts.number()? },
            10 => Refusal::ManySiblings { siblings: parts.number()?, max: parts.number()? },
            11 => Refusal::Overloaded { max: parts.number()? },
            12 => Refusal::Disk(parts.word()?),
            13 => Refusal::NoMajority { alive: parts.number()?, nodes: parts.number()? },
            14 => Refusal::EmptyDelete,
            15 => Refusal::LargeObject { bytes: parts.number()?, max: parts.number()? },
            _ => Refusal::Contract(self.text),
        })
    }
}

/// Takes a refusal apart into its kind, its words and its numbers.
fn parts_of(refusal: &Refusal) -> (u32, Vec<&str>, Vec<u64>) {
    match refusal {
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
        Refusal::Level { what, asked, replicas } => {
            (8, vec![what], vec![(*asked).into(), (*replicas).into()])
        }
        Refusal::LargeValue { bytes, max } => (9, vec![], vec![*bytes as u64, *max as u64]),
        Refusal::ManySiblings { siblings, max } => {
            (10, vec![], vec![*siblings as u64, *max as u64])
        }
        Refusal::Overloaded { max } => (11, vec![], vec![*max as u64]),
        Refusal::Disk(text) => (12, vec![text], vec![]),
        Refusal::NoMajority { alive, nodes } => (13, vec![], vec![*alive as u64, *nodes as u64]),
        Refusal::EmptyDelete => (14, vec![], vec![]),
        Refusal::LargeObject { bytes, max } => (15, vec![], vec![*bytes as u64, *max as u64]),
    }
}

/// The words that refusals hold as part of the program. A word of a later version is
/// replaced by the last, which fits any sentence badly and none wrongly.
const FIXED: [&str; 10] =
    ["partition", "sort", "keyspace", "table", "r", "pr", "w", "pw", "dw", "option"];

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

    fn number<T: TryFrom<u64>>(&mut self) -> Usable<T> {
        narrow(present(self.numbers.next())?)
    }
}
