//! Declarations of tables under load, each made twice at the same time and not alike.
//!
//! Keyspaces and tables are agreed upon by a majority, and each node has its vote on its disk.
//! So a node that dies, or whose disk loses power, must not forget it: an acknowledged table
//! would be gone, or be two. Two clients therefore declare the same name at once, one as synced
//! and one as buffered, and:
//!
//! - the database may acknowledge one of them, or none;
//! - what it has acknowledged is there afterwards as it was, at every node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use client::{Client, Durability, Error, TableContract, TableInfo};

use crate::load::Load;
use crate::outcome::Stop;

/// Between two declarations.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a declaration may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How long a node that was away may take to learn of the latest: a few probes.
const LEARNT: Duration = Duration::from_secs(10);

/// The tables that were acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared(Arc<Mutex<BTreeMap<String, TableInfo>>>);

impl Declared {
    /// Notes what was acknowledged.
    ///
    /// # Errors
    ///
    /// Another table of that name was.
    fn note(&self, table: &TableInfo) -> Result<(), String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = known.entry(table.name.clone()).or_insert_with(|| table.clone());
        if first == table {
            return Ok(());
        }
        Err(format!("TWO tables were acknowledged under one name: {first:?} and {table:?}"))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|_| 1).sum()
    }

    /// Compares all that was acknowledged with what a node has.
    fn check(&self, found: &[TableInfo]) -> Result<(), String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.values().find(|table| !found.contains(table)) {
            None => Ok(()),
            Some(table) => Err(format!("LOST table {}: it was acknowledged", table.name)),
        }
    }
}

/// Declares tables of the load's keyspace whose names begin with `prefix`, while `goes_on`.
///
/// # Errors
///
/// Two tables of one name were acknowledged, or a declaration was answered by what no fault
/// explains.
pub(crate) async fn declare(
    load: &Load,
    prefix: &str,
    goes_on: impl Fn() -> bool,
) -> Result<(), Stop> {
    let client = load.client(TIMEOUT, 1)?;
    let contract =
        |kept| TableContract { durability: Some(kept), ..TableContract::new("siblings") };
    let (one, other) = (contract(Durability::Synced), contract(Durability::Buffered));
    let mut number = 0_u64;
    while goes_on() {
        number += 1;
        let name = format!("{prefix}-{number}");
        let answers = tokio::join!(
            client.create_table("t", &name, &one),
            client.create_table("t", &name, &other),
        );
        for answer in [answers.0, answers.1] {
            match answer {
                Ok((table, _)) if !load.is_deaf() => {
                    load.declared.note(&table).map_err(Stop::Failed)?
                }
                Err(Error::Refused(problem)) if problem.code != "exists_differently" => {
                    return Err(Stop::Failed(format!("a declaration of {name}: {problem}")));
                }
                Ok(_) | Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Compares what was acknowledged with what each node has, in a while at least.
///
/// # Errors
///
/// A table is gone, or is another.
pub(crate) async fn check(declared: &Declared, client: &Client) -> Result<(), Stop> {
    for node in client.each() {
        let deadline = Instant::now() + LEARNT;
        loop {
            let found = node.tables("t").await.map_err(Stop::failed)?;
            match declared.check(&found) {
                Ok(()) => break,
                Err(why) if deadline < Instant::now() => return Err(Stop::Failed(why)),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, durability: &str) -> TableInfo {
        let text = str::to_owned;
        TableInfo {
            name: text(name),
            id: text("1"),
            keyspace: text("t"),
            policy: text("siblings"),
            durability: text(durability),
            read: text("QUORUM"),
            write: text("QUORUM"),
            ..TableInfo::default()
        }
    }

    #[test]
    fn a_table_that_is_gone_or_another_is_told() {
        let declared = Declared::default();
        let (a, b) = (table("a", "synced"), table("b", "buffered"));
        assert_eq!(declared.note(&a), Ok(()));
        assert_eq!(declared.note(&a), Ok(()), "twice the same is once");
        assert!(declared.note(&table("a", "buffered")).is_err());
        assert_eq!(declared.check(&[b.clone(), a.clone()]), Ok(()));
        assert!(declared.check(std::slice::from_ref(&b)).is_err());
        assert!(declared.check(&[table("a", "buffered"), b]).is_err());
    }
}
