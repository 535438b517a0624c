//! The keyspaces and tables of a cluster, and how a declaration changes them.

use std::collections::BTreeMap;

use model::{
    Declare, Declared, Keyspace, KeyspaceId, Name, NodeId, REPLICAS_MAX, Refusal, SHARDS_MAX,
    Table, TableId,
};

use crate::Disks;

/// The most keyspaces and tables together. The catalog travels as one message.
const ENTRIES_MAX: usize = 10_000;

/// All keyspaces and tables, as one value with a version.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Catalog {
    /// Grows with every change.
    pub version: u64,
    /// The last number given to a keyspace or table. Never given again.
    pub last_id: u32,
    /// The keyspaces by name.
    pub keyspaces: BTreeMap<Name, Keyspace>,
    /// The tables by keyspace and name.
    pub tables: BTreeMap<(KeyspaceId, Name), Table>,
    /// With which disk each node serves.
    pub disks: BTreeMap<NodeId, Disks>,
}

impl Catalog {
    /// Finds a table and the keyspace it is in.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownKeyspace`] and [`Refusal::UnknownTable`].
    pub fn table(&self, keyspace: &Name, table: &Name) -> Result<(&Keyspace, &Table), Refusal> {
        let found = self.keyspace(keyspace)?;
        let unknown = || Refusal::UnknownTable { keyspace: keyspace.clone(), table: table.clone() };
        let table = self.tables.get(&(found.id, table.clone())).ok_or_else(unknown)?;
        Ok((found, table))
    }

    /// Makes a declaration. Repeating one is no change; contradicting one is refused. Whether
    /// there are nodes for it, and whether its levels meet, is not known here.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that says what is wrong with the contract; nothing was changed.
    pub fn declare(&mut self, declare: &Declare) -> Result<Declared, Refusal> {
        match declare {
            Declare::Keyspace { name, shards, replicas, sloppy } => {
                let id = KeyspaceId::new(self.last_id + 1);
                let (name, replicas) = (name.clone(), replicas.clone());
                let (shards, sloppy) = (*shards, *sloppy);
                self.declare_keyspace(Keyspace { id, name, shards, replicas, sloppy })
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
                let keyspace = self.keyspace(keyspace)?.clone();
                let table = Table {
                    id: TableId::new(self.last_id + 1),
                    keyspace: keyspace.id,
                    name: name.clone(),
                    policy: *policy,
                    durability: *durability,
                    read: *read,
                    write: *write,
                    voting: voting.clone(),
                    siblings: *siblings,
                };
                self.declare_table(&keyspace, table)
            }
            Declare::Disk { node, step } => self.declare_disk(*node, *step),
        }
    }

    fn keyspace(&self, name: &Name) -> Result<&Keyspace, Refusal> {
        self.keyspaces.get(name).ok_or_else(|| Refusal::UnknownKeyspace(name.clone()))
    }

    fn declare_keyspace(&mut self, wanted: Keyspace) -> Result<Declared, Refusal> {
        if let Some(keyspace) = self.keyspaces.get(&wanted.name) {
            let differs = [
                ("shards", keyspace.shards != wanted.shards),
                ("replicas", keyspace.replicas != wanted.replicas),
                ("sloppy", keyspace.sloppy != wanted.sloppy),
            ];
            exists("keyspace", &wanted.name, &differs)?;
            return Ok(Declared::Keyspace { keyspace: keyspace.clone(), created: false });
        }
        self.check_room()?;
        check_keyspace(&wanted)?;
        self.keyspaces.insert(wanted.name.clone(), wanted.clone());
        self.count();
        Ok(Declared::Keyspace { keyspace: wanted, created: true })
    }

    fn declare_table(&mut self, keyspace: &Keyspace, wanted: Table) -> Result<Declared, Refusal> {
        let place = (keyspace.id, wanted.name.clone());
        if let Some(table) = self.tables.get(&place) {
            let differs = [
                ("policy", table.policy != wanted.policy),
                ("durability", table.durability != wanted.durability),
                ("read", table.read != wanted.read),
                ("write", table.write != wanted.write),
                ("votes", table.voting.votes != wanted.voting.votes),
                ("min_nodes or min_zones", table.voting.spread != wanted.voting.spread),
                ("weakest_read", table.voting.weakest_read != wanted.voting.weakest_read),
                ("weakest_write", table.voting.weakest_write != wanted.voting.weakest_write),
                ("may_miss", table.voting.may_miss != wanted.voting.may_miss),
                (
                    "require_context",
                    table.siblings.require_context != wanted.siblings.require_context,
                ),
                ("siblings_warn", table.siblings.warn != wanted.siblings.warn),
                ("siblings_max", table.siblings.max != wanted.siblings.max),
                ("siblings_bytes_max", table.siblings.bytes_max != wanted.siblings.bytes_max),
            ];
            exists("table", &wanted.name, &differs)?;
            return Ok(Declared::Table { table: table.clone(), created: false });
        }
        self.check_room()?;
        wanted.voting.check_votes()?;
        wanted.siblings.check()?;
        self.tables.insert(place, wanted.clone());
        self.count();
        Ok(Declared::Table { table: wanted, created: true })
    }

    fn check_room(&self) -> Result<(), Refusal> {
        if self.keyspaces.len() + self.tables.len() < ENTRIES_MAX {
            return Ok(());
        }
        Err(Refusal::Contract(format!("the catalog is full: it has {ENTRIES_MAX} entries")))
    }

    fn count(&mut self) {
        self.version += 1;
        self.last_id += 1;
    }
}

fn exists(what: &'static str, name: &Name, differs: &[(&str, bool)]) -> Result<(), Refusal> {
    let differing: Vec<&str> =
        differs.iter().filter(|(_, differs)| *differs).map(|(what, _)| *what).collect();
    if differing.is_empty() {
        return Ok(());
    }
    let difference = format!("it differs in {}", differing.join(", "));
    Err(Refusal::Exists { what, name: name.clone(), difference })
}

fn check_keyspace(keyspace: &Keyspace) -> Result<(), Refusal> {
    let Keyspace { shards, replicas, .. } = keyspace;
    if !shards.is_power_of_two() || SHARDS_MAX < *shards {
        let text = format!("shards={shards} is not a power of two between 1 and {SHARDS_MAX}");
        return Err(Refusal::Contract(text));
    }
    if replicas.values().any(|n| *n == 0)
        || keyspace.n() == 0
        || REPLICAS_MAX < usize::from(keyspace.n())
    {
        let text = "a keyspace keeps at least 1 replica in each region it names, and at most 15";
        return Err(Refusal::Contract(text.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::{Durability, Holder, Level, NodeId, Policy, SiblingRules, Voting};

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn keyspace(shards: u16, replicas: u8) -> Declare {
        let replicas = [(name("here"), replicas)].into();
        Declare::Keyspace { name: name("ks"), shards, replicas, sloppy: false }
    }

    fn table(level: Level) -> Declare {
        Declare::Table {
            keyspace: name("ks"),
            name: name("t"),
            policy: Policy::Siblings,
            durability: Durability::Synced,
            read: level,
            write: Level::Quorum,
            voting: Voting::default(),
            siblings: SiblingRules::default(),
        }
    }

    #[test]
    fn repeating_a_declaration_changes_nothing_and_contradicting_it_is_refused() {
        let mut catalog = Catalog::default();
        catalog.declare(&keyspace(64, 3)).unwrap();
        catalog.declare(&table(Level::Quorum)).unwrap();
        let before = catalog.clone();
        assert!(matches!(
            catalog.declare(&table(Level::Quorum)),
            Ok(Declared::Table { created: false, .. })
        ));
        assert!(matches!(catalog.declare(&keyspace(32, 3)), Err(Refusal::Exists { .. })));
        assert!(matches!(catalog.declare(&table(Level::One)), Err(Refusal::Exists { .. })));
        let mut may_miss = table(Level::Quorum);
        if let Declare::Table { voting, .. } = &mut may_miss {
            voting.may_miss = true;
        }
        assert!(matches!(catalog.declare(&may_miss), Err(Refusal::Exists { .. })));
        assert_eq!(catalog, before);
    }

    #[test]
    fn contracts_that_cannot_be_kept_are_refused() {
        let mut catalog = Catalog::default();
        for (shards, replicas) in [(0, 3), (3, 3), (8192, 3), (64, 0), (64, 16)] {
            let refused = catalog.declare(&keyspace(shards, replicas));
            assert!(matches!(refused, Err(Refusal::Contract(_))), "{shards} {replicas}");
        }
        assert!(matches!(catalog.declare(&table(Level::One)), Err(Refusal::UnknownKeyspace(_))));
        catalog.declare(&keyspace(64, 2)).unwrap();
        let mut heavy = table(Level::One);
        if let Declare::Table { voting, .. } = &mut heavy {
            voting.votes.insert(Holder::Node(NodeId::new(1)), 16);
        }
        assert!(matches!(catalog.declare(&heavy), Err(Refusal::Contract(_))));
        assert_eq!(catalog.version, 1);
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let mut catalog = Catalog::default();
        catalog.declare(&keyspace(64, 3)).unwrap();
        let Ok(Declared::Table { table, .. }) = catalog.declare(&table(Level::One)) else {
            panic!("the table was refused");
        };
        assert_eq!((table.id.number(), catalog.last_id, catalog.version), (2, 2, 2));
    }
}
