//! The keyspaces and tables of a cluster.

use std::collections::BTreeMap;

use model::{Keyspace, KeyspaceId, Name, Table};

/// All keyspaces and tables, as one value with a version.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Catalog {
    /// Grows by one with every change.
    pub version: u64,
    /// The last number given to a keyspace or table. Never given again.
    pub last_id: u32,
    /// The keyspaces by name.
    pub keyspaces: BTreeMap<Name, Keyspace>,
    /// The tables by keyspace and name.
    pub tables: BTreeMap<(KeyspaceId, Name), Table>,
}
