//! Keyspaces, tables and votes on them as bytes.
//!
//! A node that does not know a field of a contract must not vote on it, or store it with
//! the field left out: the contract would change behind everybody's back. The encoding
//! therefore has a version and no unknown parts: a later one is refused, and said to be
//! later.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use catalog::{Acceptor, Ballot, Catalog};
use model::{
    Durability, Keyspace, KeyspaceId, Level, Name, NodeId, Policy, ReplicaMap, Table, TableId,
};

use crate::reader::Reader;
use crate::{Malformed, VERSION, varint};

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
    versioned(bytes, |reader| {
        let (promised, accepted) = (read_ballot(reader)?, read_ballot(reader)?);
        let (catalog, learned) = (read_catalog(reader)?, read_catalog(reader)?);
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

/// Reads what [`encode_table`] makes.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_table(bytes: &Bytes) -> Result<Table, Malformed> {
    versioned(bytes, read_table)
}

fn versioned<T>(
    bytes: &Bytes,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut reader = Reader::new(bytes);
    let version = reader.byte()?;
    if VERSION < version {
        return Err(Malformed::Newer(version));
    }
    if version != VERSION {
        return Err(Malformed::Invalid("a version that never was"));
    }
    let value = read(&mut reader)?;
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
}

fn read_catalog(reader: &mut Reader<'_>) -> Result<Catalog, Malformed> {
    let (version, last_id) = (reader.varint()?, reader.number()?);
    let keyspaces = read_map(reader, read_keyspace, |keyspace| keyspace.name.clone())?;
    let tables = read_map(reader, read_table, |table| (table.keyspace, table.name.clone()))?;
    Ok(Catalog { version, last_id, keyspaces, tables })
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
}

fn read_keyspace(reader: &mut Reader<'_>) -> Result<Keyspace, Malformed> {
    let id = KeyspaceId::new(reader.number()?);
    let (name, shards) = (read_name(reader)?, reader.number()?);
    let entry = |reader: &mut Reader<'_>| Ok((read_name(reader)?, reader.byte()?));
    let entries = read_map(reader, entry, |(region, _)| region.clone())?;
    let replicas: ReplicaMap = entries.into_values().collect();
    Ok(Keyspace { id, name, shards, replicas })
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
}

fn read_table(reader: &mut Reader<'_>) -> Result<Table, Malformed> {
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
    Ok(Table { id, keyspace, name, policy, durability, read, write })
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
    }
}

fn read_level(reader: &mut Reader<'_>) -> Result<Level, Malformed> {
    Ok(match reader.byte()? {
        1 => Level::One,
        2 => Level::Two,
        3 => Level::Three,
        4 => Level::Quorum,
        5 => Level::All,
        6 => Level::Count(reader.byte()?),
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
