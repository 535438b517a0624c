//! Declarations of keyspaces and tables.

use bytes::Bytes;
use codec::{Reader, catalog as contracts};
use model::{DiskStep, Durability, NodeId, Policy, SiblingRules, Voting};
use prost::Message;

use super::{Asked, Place};
use crate::parts::{
    Unusable, Usable, coded, narrow, numbered, present, put_disk, put_level, put_name, take_disk,
    take_level, take_name,
};

numbered!(put_policy, take_policy, Policy { Policy::Siblings = 1 });

numbered!(put_durability, take_durability, Durability {
    Durability::Synced = 1,
    Durability::Buffered = 2,
});

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeclareKeyspace {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(uint32, tag = "2")]
    shards: u32,
    #[prost(message, repeated, tag = "3")]
    replicas: Vec<Replicas>,
}

#[derive(Clone, PartialEq, Message)]
struct Replicas {
    #[prost(bytes = "bytes", tag = "1")]
    region: Bytes,
    #[prost(uint32, tag = "2")]
    count: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeclareTable {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    #[prost(uint32, tag = "2")]
    policy: u32,
    #[prost(uint32, tag = "3")]
    durability: u32,
    #[prost(uint32, tag = "4")]
    read: u32,
    #[prost(uint32, tag = "5")]
    write: u32,
    #[prost(bytes = "bytes", tag = "6")]
    voting: Bytes,
    #[prost(bytes = "bytes", tag = "7")]
    siblings: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct DeclareDisk {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(uint32, tag = "2")]
    step: u32,
    #[prost(bytes = "bytes", optional, tag = "3")]
    disk: Option<Bytes>,
}

pub(super) fn put_declare(declare: &model::Declare) -> Asked {
    match declare {
        model::Declare::Keyspace { name, shards, replicas, sloppy } => {
            let entry = |(region, count): (&model::Name, &u8)| Replicas {
                region: put_name(region),
                count: u32::from(*count),
            };
            let keyspace = DeclareKeyspace {
                name: put_name(name),
                shards: u32::from(*shards),
                replicas: replicas.iter().map(entry).collect(),
            };
            match sloppy {
                true => Asked::DeclareSloppyKeyspace(keyspace),
                false => Asked::DeclareKeyspace(keyspace),
            }
        }
        model::Declare::Table {
            keyspace,
            name,
            policy,
            durability,
            read,
            write,
            voting,
            siblings,
        } => {
            let is_plain = *voting == Voting::default();
            let is_ruled = *siblings != SiblingRules::default();
            let voting = || coded(|out| contracts::put_voting(voting, out));
            let rules = || coded(|out| contracts::put_rules(siblings, out));
            let table = DeclareTable {
                place: Place::put(keyspace, name),
                policy: put_policy(*policy),
                durability: put_durability(*durability),
                read: put_level(Some(*read)),
                write: put_level(Some(*write)),
                voting: if is_plain { Bytes::new() } else { voting() },
                siblings: if is_ruled { rules() } else { Bytes::new() },
            };
            match (is_ruled, is_plain) {
                (true, _) => Asked::DeclareRuledTable(table),
                (false, true) => Asked::DeclareTable(table),
                (false, false) => Asked::DeclareVotingTable(table),
            }
        }
        model::Declare::Disk { node, step } => {
            let (step, disk) = match *step {
                DiskStep::Joins(disk) => (1, Some(disk)),
                DiskStep::IsWhole(disk) => (2, Some(disk)),
                DiskStep::IsBack(disk) => (3, Some(disk)),
                DiskStep::IsGone(disk) => (4, Some(disk)),
            };
            let node = u32::from(node.number());
            Asked::DeclareDisk(DeclareDisk { node, step, disk: disk.map(put_disk) })
        }
    }
}

impl DeclareDisk {
    pub(super) fn take(self) -> Usable<model::Declare> {
        let disk = self.disk.as_ref().map(take_disk).transpose()?;
        let step = match self.step {
            1 => DiskStep::Joins(present(disk)?),
            2 => DiskStep::IsWhole(present(disk)?),
            3 => DiskStep::IsBack(present(disk)?),
            4 => DiskStep::IsGone(present(disk)?),
            _ => return Err(Unusable::Unknown),
        };
        Ok(model::Declare::Disk { node: NodeId::new(narrow(self.node)?), step })
    }
}

impl DeclareKeyspace {
    pub(super) fn take(self, sloppy: bool) -> Usable<model::Declare> {
        let entry = |entry: Replicas| Ok((take_name(&entry.region)?, narrow(entry.count)?));
        Ok(model::Declare::Keyspace {
            name: take_name(&self.name)?,
            shards: narrow(self.shards)?,
            replicas: self.replicas.into_iter().map(entry).collect::<Usable<_>>()?,
            sloppy,
        })
    }
}

impl DeclareTable {
    pub(super) fn take(self) -> Usable<model::Declare> {
        let (keyspace, name) = Place::take(self.place)?;
        Ok(model::Declare::Table {
            keyspace,
            name,
            policy: take_policy(self.policy)?,
            durability: take_durability(self.durability)?,
            read: present(take_level(self.read)?)?,
            write: present(take_level(self.write)?)?,
            voting: take_part(&self.voting, contracts::read_voting)?,
            siblings: take_part(&self.siblings, contracts::read_rules)?,
        })
    }
}

/// Reads a part of a contract that is left out where nothing is said.
fn take_part<T: Default>(
    bytes: &Bytes,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, codec::Malformed>,
) -> Usable<T> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let mut reader = Reader::new(bytes);
    let part = read(&mut reader)?;
    reader.finish()?;
    Ok(part)
}
