//! Keyspaces, tables and votes on them as bytes.
//!
//! A node that does not know a field of a contract must not vote on it, or store it with
//! the field left out: the contract would change behind everybody's back. The encoding
//! therefore has a version and no unknown parts: a later one is refused, and said to be
//! later.
//!
//! Version 1 knew five levels, gave every replica one vote, and did not ask whether reads
//! could miss writes. A table that it declared is read as one that says the same: with one
//! vote for each, and `may_miss` exactly if they can.
//!
//! Versions 1 and 2 knew no guests: their keyspaces are strict. Versions up to 3 did not say which
//! disk a node serves with: its first one is enrolled by the next change. Versions up to 4 had no rules for
//! siblings: those of their tables are the limits of the nodes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes};
use catalog::{Acceptor, Ballot, Catalog, Disks};
use model::{
    DiskId, Durability, Electorate, Holder, Keyspace, KeyspaceId, Level, Name, NodeId, Policy,
    REPLICAS_MAX, ReplicaMap, SiblingRules, Spread, Table, TableId, VOTES_MAX, Voter, Votes,
    Voting,
};

use crate::reader::Reader;
use crate::{Malformed, varint};

/// The version that is written.
pub const VERSION: u8 = 5;

/// The oldest version that is read.
const VERSION_MIN: u8 = 1;

/// How long the name of a disk is.
const DISK_BYTES: usize = 16;

/// The fewest bytes of a keyspace, a table or an entry of a replica map.
const ENTRY_BYTES_MIN: usize = 3;

/// Appends a catalog.
pub fn encode(catalog: &Catalog, out: &mut impl BufMut) {
    out.put_u8(VERSION);
    put_catalog(catalog, out);
}

/// Reads a catalog that fills the bytes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes; [`Malformed::Newer`] if a
/// later program made them.
pub fn decode(bytes: &Bytes) -> Result<Catalog, Malformed> {
    versioned(bytes, read_catalog)
}

/// Appends what a node must remember to vote.
pub fn encode_acceptor(acceptor: &Acceptor, out: &mut impl BufMut) {
    out.put_u8(VERSION);
    put_ballot(acceptor.promised, out);
    put_ballot(acceptor.accepted, out);
    put_catalog(&acceptor.catalog, out);
    put_catalog(&acceptor.learned, out);
}

/// Reads what [`encode_acceptor`] makes.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_acceptor(bytes: &Bytes) -> Result<Acceptor, Malformed> {
    versioned(bytes, |reader, version| {
        let (promised, accepted) = (read_ballot(reader)?, read_ballot(reader)?);
        let (catalog, learned) = (read_catalog(reader, version)?, read_catalog(reader, version)?);
        Ok(Acceptor { promised, accepted, catalog, learned })
    })
}

/// Appends the contract of one keyspace.
pub fn encode_keyspace(keyspace: &Keyspace, out: &mut impl BufMut) {
    out.put_u8(VERSION);
    put_keyspace(keyspace, out);
}

/// Reads what [`encode_keyspace`] makes.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_keyspace(bytes: &Bytes) -> Result<Keyspace, Malformed> {
    versioned(bytes, read_keyspace)
}

/// Appends the contract of one table.
pub fn encode_table(table: &Table, out: &mut impl BufMut) {
    out.put_u8(VERSION);
    put_table(table, out);
}

/// Reads what [`encode_table`] makes. One of version 1 is taken not to miss anything: what
/// would tell is its keyspace.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_table(bytes: &Bytes) -> Result<Table, Malformed> {
    versioned(bytes, read_table)
}

fn versioned<T>(
    bytes: &Bytes,
    read: impl FnOnce(&mut Reader<'_>, u8) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut reader = Reader::new(bytes);
    let version = reader.byte()?;
    if VERSION < version {
        return Err(Malformed::Newer(version));
    }
    if version < VERSION_MIN {
        return Err(Malformed::Invalid("a version that never was"));
    }
    let value = read(&mut reader, version)?;
    reader.finish()?;
    Ok(value)
}

fn put_catalog(catalog: &Catalog, out: &mut impl BufMut) {
    varint::put(catalog.version, out);
    varint::put(u64::from(catalog.last_id), out);
    varint::put_len(catalog.keyspaces.len(), out);
    for (name, keyspace) in &catalog.keyspaces {
        debug_assert_eq!(*name, keyspace.name, "a keyspace is found under its own name");
        put_keyspace(keyspace, out);
    }
    varint::put_len(catalog.tables.len(), out);
    for ((keyspace, name), table) in &catalog.tables {
        debug_assert_eq!((*keyspace, name), (table.keyspace, &table.name));
        put_table(table, out);
    }
    varint::put_len(catalog.disks.len(), out);
    for (node, disks) in &catalog.disks {
        varint::put(u64::from(node.number()), out);
        varint::put_len(disks.retired.len(), out);
        disks.retired.iter().for_each(|disk| out.put_u128_le(disk.bits()));
        for disk in [disks.enrolled, disks.joining] {
            out.put_u8(u8::from(disk.is_some()));
            disk.iter().for_each(|disk| out.put_u128_le(disk.bits()));
        }
    }
}

fn read_disks(reader: &mut Reader<'_>) -> Result<(NodeId, Disks), Malformed> {
    let node = NodeId::new(reader.number()?);
    let mut retired = BTreeSet::new();
    for _ in 0..reader.count(DISK_BYTES)? {
        let disk = read_disk(reader)?;
        if retired.last().is_some_and(|last| disk <= *last) {
            return Err(Malformed::Invalid("disks out of order"));
        }
        retired.insert(disk);
    }
    let optional =
        |reader: &mut Reader<'_>| read_bool(reader)?.then(|| read_disk(reader)).transpose();
    let (enrolled, joining) = (optional(reader)?, optional(reader)?);
    let is_retired = |disk: &Option<DiskId>| disk.is_some_and(|disk| retired.contains(&disk));
    let is_one_twice = enrolled.is_some() && enrolled == joining;
    if is_retired(&enrolled) || is_retired(&joining) || is_one_twice {
        return Err(Malformed::Invalid("a disk that is two things at once"));
    }
    Ok((node, Disks { enrolled, joining, retired }))
}

fn read_disk(reader: &mut Reader<'_>) -> Result<DiskId, Malformed> {
    let low = u128::from(reader.fixed()?);
    Ok(DiskId::new(low | u128::from(reader.fixed()?) << 64))
}

fn read_catalog(reader: &mut Reader<'_>, encoding: u8) -> Result<Catalog, Malformed> {
    let (version, last_id) = (reader.varint()?, reader.number()?);
    let read = |reader: &mut Reader<'_>| read_keyspace(reader, encoding);
    let keyspaces = read_map(reader, read, |keyspace| keyspace.name.clone())?;
    let read = |reader: &mut Reader<'_>| read_table(reader, encoding);
    let mut tables = read_map(reader, read, |table| (table.keyspace, table.name.clone()))?;
    if encoding == 1 {
        for table in tables.values_mut() {
            let keyspace = keyspaces.values().find(|keyspace| keyspace.id == table.keyspace);
            table.voting.may_miss = keyspace.is_some_and(|keyspace| may_miss(keyspace, table));
        }
    }
    let disks = match encoding {
        4.. => read_map(reader, read_disks, |(node, _)| *node)?.into_values().collect(),
        _ => BTreeMap::new(),
    };
    Ok(Catalog { version, last_id, keyspaces, tables, disks })
}

/// Whether reads of a table of version 1 can miss writes. It counts replicas, wherever they
/// are.
fn may_miss(keyspace: &Keyspace, table: &Table) -> bool {
    let voter = |node: u8| Voter {
        node: NodeId::new(node.into()),
        region: keyspace.name.clone(),
        zone: keyspace.name.clone(),
        votes: 1,
    };
    let replicas = keyspace.n().min(REPLICAS_MAX as u8);
    let voters: Vec<Voter> = (0..replicas).map(voter).collect();
    Electorate { voters: &voters, table }.check().is_err()
}

/// Reads values that are found under something they contain, in its order.
fn read_map<K: Ord, V>(
    reader: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<V, Malformed>,
    key_of: impl Fn(&V) -> K,
) -> Result<BTreeMap<K, V>, Malformed> {
    let mut map = BTreeMap::new();
    for _ in 0..reader.count(ENTRY_BYTES_MIN)? {
        let value = read(reader)?;
        let key = key_of(&value);
        if map.last_key_value().is_some_and(|(last, _)| key <= *last) {
            return Err(Malformed::Invalid("names out of order"));
        }
        map.insert(key, value);
    }
    Ok(map)
}

fn put_keyspace(keyspace: &Keyspace, out: &mut impl BufMut) {
    varint::put(u64::from(keyspace.id.number()), out);
    put_name(&keyspace.name, out);
    varint::put(u64::from(keyspace.shards), out);
    varint::put_len(keyspace.replicas.len(), out);
    for (region, replicas) in &keyspace.replicas {
        put_name(region, out);
        out.put_u8(*replicas);
    }
    out.put_u8(u8::from(keyspace.sloppy));
}

fn read_keyspace(reader: &mut Reader<'_>, version: u8) -> Result<Keyspace, Malformed> {
    let id = KeyspaceId::new(reader.number()?);
    let (name, shards) = (read_name(reader)?, reader.number()?);
    let entry = |reader: &mut Reader<'_>| Ok((read_name(reader)?, reader.byte()?));
    let entries = read_map(reader, entry, |(region, _)| region.clone())?;
    let replicas: ReplicaMap = entries.into_values().collect();
    let sloppy = if version < 3 { false } else { read_bool(reader)? };
    Ok(Keyspace { id, name, shards, replicas, sloppy })
}

fn put_table(table: &Table, out: &mut impl BufMut) {
    varint::put(u64::from(table.id.number()), out);
    varint::put(u64::from(table.keyspace.number()), out);
    put_name(&table.name, out);
    out.put_u8(match table.policy {
        Policy::Siblings => 1,
    });
    out.put_u8(match table.durability {
        Durability::Synced => 1,
        Durability::Buffered => 2,
    });
    put_level(table.read, out);
    put_level(table.write, out);
    put_voting(&table.voting, out);
    put_rules(&table.siblings, out);
}

fn read_table(reader: &mut Reader<'_>, version: u8) -> Result<Table, Malformed> {
    let (id, keyspace) = (TableId::new(reader.number()?), KeyspaceId::new(reader.number()?));
    let name = read_name(reader)?;
    let policy = match reader.byte()? {
        1 => Policy::Siblings,
        _ => return Err(Malformed::Invalid("an unknown policy")),
    };
    let durability = match reader.byte()? {
        1 => Durability::Synced,
        2 => Durability::Buffered,
        _ => return Err(Malformed::Invalid("an unknown durability")),
    };
    let (read, write) = (read_level(reader)?, read_level(reader)?);
    let voting = if version == 1 { Voting::default() } else { read_voting(reader)? };
    let siblings = if version < 5 { SiblingRules::default() } else { read_rules(reader)? };
    Ok(Table { id, keyspace, name, policy, durability, read, write, voting, siblings })
}

/// Appends how many concurrent values keys may hold. A number that is not given is zero.
pub fn put_rules(rules: &SiblingRules, out: &mut impl BufMut) {
    let SiblingRules { require_context, warn, max, bytes_max } = *rules;
    out.put_u8(u8::from(require_context));
    for number in [warn.map(u32::from), max.map(u32::from), bytes_max] {
        varint::put(u64::from(number.unwrap_or(0)), out);
    }
}

/// Reads what [`put_rules`] makes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are nothing that it makes.
pub fn read_rules(reader: &mut Reader<'_>) -> Result<SiblingRules, Malformed> {
    Ok(SiblingRules {
        require_context: read_bool(reader)?,
        warn: Some(reader.number()?).filter(|warn| *warn != 0),
        max: Some(reader.number()?).filter(|max| *max != 0),
        bytes_max: Some(reader.number()?).filter(|max| *max != 0),
    })
}

/// Appends how the replicas of a table are counted.
pub fn put_voting(voting: &Voting, out: &mut impl BufMut) {
    varint::put_len(voting.votes.len(), out);
    for (holder, votes) in &voting.votes {
        match holder {
            Holder::Node(node) => {
                out.put_u8(1);
                varint::put(u64::from(node.number()), out);
            }
            Holder::Zone(region, zone) => {
                out.put_u8(2);
                put_name(region, out);
                put_name(zone, out);
            }
        }
        out.put_u8(*votes);
    }
    out.put_slice(&[voting.spread.nodes, voting.spread.zones]);
    for weakest in [voting.weakest_read, voting.weakest_write] {
        match weakest {
            None => out.put_u8(0),
            Some(level) => put_level(level, out),
        }
    }
    out.put_u8(u8::from(voting.may_miss));
}

/// Reads what [`put_voting`] makes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are nothing that it makes.
pub fn read_voting(reader: &mut Reader<'_>) -> Result<Voting, Malformed> {
    let entry = |reader: &mut Reader<'_>| Ok((read_holder(reader)?, read_votes(reader)?));
    let entries = read_map(reader, entry, |(holder, _)| holder.clone())?;
    let votes: Votes = entries.into_values().collect();
    let spread = Spread { nodes: reader.byte()?, zones: reader.byte()? };
    let (weakest_read, weakest_write) = (read_weakest(reader)?, read_weakest(reader)?);
    let may_miss = read_bool(reader)?;
    Ok(Voting { votes, spread, weakest_read, weakest_write, may_miss })
}

fn read_bool(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::Invalid("neither yes nor no")),
    }
}

fn read_holder(reader: &mut Reader<'_>) -> Result<Holder, Malformed> {
    match reader.byte()? {
        1 => Ok(Holder::Node(NodeId::new(reader.number()?))),
        2 => Ok(Holder::Zone(read_name(reader)?, read_name(reader)?)),
        _ => Err(Malformed::Invalid("an unknown holder of votes")),
    }
}

fn read_votes(reader: &mut Reader<'_>) -> Result<u8, Malformed> {
    let votes = reader.byte()?;
    if votes <= VOTES_MAX { Ok(votes) } else { Err(Malformed::Invalid("too many votes")) }
}

fn read_weakest(reader: &mut Reader<'_>) -> Result<Option<Level>, Malformed> {
    match reader.byte()? {
        0 => Ok(None),
        byte => read_level_of(byte, reader).map(Some),
    }
}

/// A name is a length and its characters.
fn put_name(name: &Name, out: &mut impl BufMut) {
    varint::put_len(name.as_str().len(), out);
    out.put_slice(name.as_str().as_bytes());
}

fn read_name(reader: &mut Reader<'_>) -> Result<Name, Malformed> {
    let bytes = reader.sized()?;
    let name = std::str::from_utf8(&bytes).ok().and_then(|name| Name::new(name).ok());
    name.ok_or(Malformed::Invalid("a name that cannot exist"))
}

/// A level is one byte, and a count another.
fn put_level(level: Level, out: &mut impl BufMut) {
    match level {
        Level::One => out.put_u8(1),
        Level::Two => out.put_u8(2),
        Level::Three => out.put_u8(3),
        Level::Quorum => out.put_u8(4),
        Level::All => out.put_u8(5),
        Level::Count(count) => out.put_slice(&[6, count]),
        Level::Any => out.put_u8(7),
        Level::LocalOne => out.put_u8(8),
        Level::LocalQuorum => out.put_u8(9),
        Level::EachQuorum => out.put_u8(10),
    }
}

fn read_level(reader: &mut Reader<'_>) -> Result<Level, Malformed> {
    let byte = reader.byte()?;
    read_level_of(byte, reader)
}

fn read_level_of(byte: u8, reader: &mut Reader<'_>) -> Result<Level, Malformed> {
    Ok(match byte {
        1 => Level::One,
        2 => Level::Two,
        3 => Level::Three,
        4 => Level::Quorum,
        5 => Level::All,
        6 => Level::Count(reader.byte()?),
        7 => Level::Any,
        8 => Level::LocalOne,
        9 => Level::LocalQuorum,
        10 => Level::EachQuorum,
        _ => return Err(Malformed::Invalid("an unknown level")),
    })
}

fn put_ballot(ballot: Ballot, out: &mut impl BufMut) {
    varint::put(ballot.round, out);
    varint::put(u64::from(ballot.node.number()), out);
}

fn read_ballot(reader: &mut Reader<'_>) -> Result<Ballot, Malformed> {
    Ok(Ballot { round: reader.varint()?, node: NodeId::new(reader.number()?) })
}
