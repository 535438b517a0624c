//! Keyspaces and tables that are declared while everything goes wrong.
//!
//! Metadata is the one thing on which all nodes must agree: a name must mean one table
//! for ever, whatever was acknowledged must stay, and a number must never be given twice,
//! because data is kept under it. Operators here declare a few names again and again, at
//! any node, with contracts that differ, and the log of what they asked and heard decides
//! what may be found.

use model::{
    Declare, Declared, Durability, Keyspace, Level, NodeId, Policy, Refusal, Reply, Request,
    SiblingRules, Status, Table, Voting,
};

use crate::dice::Dice;
use crate::invariant::Invariant;
use crate::report::Broken;
use crate::scenario::name;
use crate::workload::Op;
use crate::world::{Event, Open, Phase, World};

/// What operators asked, and what they were told.
pub(crate) struct Contracts {
    dice: Dice,
    /// Mean microseconds between two declarations. Zero for none.
    gap: u64,
    asked: Vec<Declare>,
    keyspaces: Vec<Keyspace>,
    tables: Vec<Table>,
}

impl Contracts {
    pub(crate) fn new(gap: u64, dice: Dice) -> Self {
        Self { dice, gap, asked: Vec::new(), keyspaces: Vec::new(), tables: Vec::new() }
    }

    /// A contract for one of a few names, so that they meet.
    fn draw(&mut self) -> Declare {
        let number = self.dice.between(0, 2);
        if self.dice.chance(300) {
            let replicas = [(name("here"), 1)].into();
            return Declare::Keyspace {
                name: name(&format!("other-{number}")),
                shards: self.dice.pick(&[2, 4]),
                replicas,
                sloppy: false,
            };
        }
        let space = self.dice.between(0, 3);
        let space = if space == 3 { "space".into() } else { format!("other-{space}") };
        Declare::Table {
            keyspace: name(&space),
            name: name(&format!("extra-{number}")),
            policy: Policy::Siblings,
            durability: self.dice.pick(&[Durability::Synced, Durability::Buffered]),
            read: Level::One,
            write: Level::One,
            voting: Voting { may_miss: true, ..Voting::default() },
            siblings: self.dice.pick(&[
                SiblingRules::default(),
                SiblingRules::default(),
                SiblingRules { require_context: true, max: Some(3), ..SiblingRules::default() },
            ]),
        }
    }

    /// Notes what was acknowledged, and compares it with what was before.
    fn hear(&mut self, declare: &Declare, declared: &Declared) -> Result<(), Broken> {
        if !is_of(declare, declared) {
            return wrong(format!("{declare:?} came to {declared:?}"));
        }
        match declared {
            Declared::Keyspace { keyspace, .. } => self.keyspaces.push(keyspace.clone()),
            Declared::Table { table, .. } => self.tables.push(table.clone()),
            Declared::Disk { .. } => {}
        }
        for (index, table) in self.tables.iter().enumerate() {
            let same_name = |other: &&Table| {
                (other.keyspace, &other.name) == (table.keyspace, &table.name)
                    || other.id == table.id
            };
            let rest = self.tables.get(index..).unwrap_or_default();
            if let Some(other) = rest.iter().filter(same_name).find(|other| *other != table) {
                return wrong(format!("one name or number is {table:?} and {other:?}"));
            }
        }
        for (index, keyspace) in self.keyspaces.iter().enumerate() {
            let same = |other: &&Keyspace| other.name == keyspace.name || other.id == keyspace.id;
            let rest = self.keyspaces.get(index..).unwrap_or_default();
            if let Some(other) = rest.iter().filter(same).find(|other| *other != keyspace) {
                return wrong(format!("one name or number is {keyspace:?} and {other:?}"));
            }
        }
        Ok(())
    }

    /// Whether somebody else has asked for the same name under another contract.
    fn is_contested(&self, declare: &Declare) -> bool {
        self.asked.iter().any(|other| same_name(other, declare) && other != declare)
    }

    /// A node's catalog at the end: everything acknowledged, and nothing that nobody asked.
    fn check(&self, at: NodeId, status: &Status) -> Result<(), Broken> {
        if let Some(lost) = self.tables.iter().find(|table| !status.tables.contains(table)) {
            return wrong(format!("{at} does not know {lost:?}"));
        }
        if let Some(lost) = self.keyspaces.iter().find(|known| !status.keyspaces.contains(known)) {
            return wrong(format!("{at} does not know {lost:?}"));
        }
        let declared = |table: &Table| Declared::Table { table: table.clone(), created: true };
        let asked = |declared: &Declared| self.asked.iter().any(|asked| is_of(asked, declared));
        let invented = status
            .tables
            .iter()
            .find(|table| table.name.as_str().starts_with("extra") && !asked(&declared(table)));
        match invented {
            None => Ok(()),
            Some(invented) => wrong(format!("{at} knows {invented:?}, which nobody asked for")),
        }
    }
}

fn wrong(detail: String) -> Result<(), Broken> {
    Err(Broken::new(Invariant::ContractsStand, detail))
}

fn same_name(a: &Declare, b: &Declare) -> bool {
    match (a, b) {
        (Declare::Keyspace { name: a, .. }, Declare::Keyspace { name: b, .. }) => a == b,
        (
            Declare::Table { keyspace: of_a, name: a, .. },
            Declare::Table { keyspace: of_b, name: b, .. },
        ) => (of_a, a) == (of_b, b),
        (Declare::Keyspace { .. } | Declare::Disk { .. }, Declare::Table { .. })
        | (Declare::Table { .. } | Declare::Disk { .. }, Declare::Keyspace { .. })
        | (_, Declare::Disk { .. }) => false,
    }
}

/// Whether a contract is what was asked for.
fn is_of(declare: &Declare, declared: &Declared) -> bool {
    match (declare, declared) {
        (
            Declare::Keyspace { name, shards, replicas, sloppy },
            Declared::Keyspace { keyspace, .. },
        ) => {
            (name, shards, replicas, sloppy)
                == (&keyspace.name, &keyspace.shards, &keyspace.replicas, &keyspace.sloppy)
        }
        (
            Declare::Table { name, durability, read, write, voting, siblings, .. },
            Declared::Table { table, .. },
        ) => {
            (name, *durability, *read, *write, voting, *siblings)
                == (
                    &table.name,
                    table.durability,
                    table.read,
                    table.write,
                    &table.voting,
                    table.siblings,
                )
        }
        (Declare::Disk { node: a, .. }, Declared::Disk { node: b, .. }) => a == b,
        (Declare::Keyspace { .. } | Declare::Disk { .. }, Declared::Table { .. })
        | (Declare::Table { .. } | Declare::Disk { .. }, Declared::Keyspace { .. })
        | (Declare::Keyspace { .. } | Declare::Table { .. }, Declared::Disk { .. }) => false,
    }
}

impl World {
    /// Arranges the next declaration, if operators are at work.
    pub(crate) fn arrange_declaring(&mut self) {
        if self.contracts.gap != 0 {
            let gap = self.contracts.dice.micros(self.contracts.gap, 0);
            self.arrange(gap, Event::Declare);
        }
    }

    /// An operator declares something.
    pub(crate) fn declare_something(&mut self) -> Result<(), Broken> {
        if self.phase == Phase::Quiet {
            return Ok(());
        }
        self.arrange_declaring();
        let declare = self.contracts.draw();
        let nodes: Vec<NodeId> =
            self.hosts.values().filter(|host| host.is_up()).map(|host| host.id).collect();
        if nodes.is_empty() {
            return Ok(());
        }
        let at = self.contracts.dice.pick(&nodes);
        self.contracts.asked.push(declare.clone());
        let open = Open {
            at,
            request: Request::Declare(declare.clone()),
            op: Op::Declare(declare),
            client: None,
            begun: self.now,
            deadline: model::Now::default(),
            healthy: self.phase == Phase::Liveness,
            behind: Vec::new(),
        };
        // A node decides for itself how long a declaration may take; it is below this.
        self.ask(open, std::time::Duration::from_secs(12)).map(drop)
    }

    pub(crate) fn judge_declared(
        &mut self,
        declare: &Declare,
        declared: &Declared,
    ) -> Result<(), Broken> {
        *self.requests.entry(("declarations", "acknowledged")).or_default() += 1;
        self.contracts.hear(declare, declared)
    }

    /// Whether a declaration deserves to be refused.
    pub(crate) fn deserves_refusal(
        &self,
        declare: &Declare,
        refusal: &Refusal,
        healthy: bool,
    ) -> bool {
        match refusal {
            Refusal::Exists { .. } => self.contracts.is_contested(declare),
            Refusal::UnknownKeyspace(name) => {
                !self.contracts.keyspaces.iter().any(|known| known.name == *name) || !healthy
            }
            Refusal::NoMajority { .. } => !healthy,
            Refusal::Malformed(_)
            | Refusal::UnknownTable { .. }
            | Refusal::Contract(_)
            | Refusal::Level { .. }
            | Refusal::NotLocal { .. }
            | Refusal::Weak { .. }
            | Refusal::MayMiss { .. }
            | Refusal::LargeValue { .. }
            | Refusal::ManySiblings { .. }
            | Refusal::LargeObject { .. }
            | Refusal::TokenExpired { .. }
            | Refusal::TokenFromFuture { .. }
            | Refusal::TokenReused
            | Refusal::TokenForgotten { .. }
            | Refusal::HintsFull { .. }
            | Refusal::CursorExpired { .. }
            | Refusal::Joining { .. }
            | Refusal::EmptyDelete
            | Refusal::BlindPut { .. }
            | Refusal::RepairRuns { .. }
            | Refusal::NoSuchShard { .. }
            | Refusal::DiskNotRetired { .. }
            | Refusal::MayBeDeleted { .. }
            | Refusal::Disk(_) => false,
            Refusal::Overloaded { max } => *max == self.plan.requests_max,
        }
    }

    /// At the end all nodes have one catalog, and it has everything acknowledged.
    pub(crate) fn check_catalogs(&mut self) -> Result<(), Broken> {
        let mut first: Option<(NodeId, Catalog)> = None;
        for at in self.layout.members.keys().copied().collect::<Vec<_>>() {
            let Reply::Status(status) = self.ask_and_wait(at, Request::Status)? else {
                return wrong(format!("{at} does not tell its status"));
            };
            self.contracts.check(at, &status)?;
            let catalog = (status.catalog_version, status.keyspaces, status.tables);
            match &first {
                Some((other, theirs)) if *theirs != catalog => {
                    return wrong(format!("{at} has {catalog:?} and {other} has {theirs:?}"));
                }
                Some(_) => {}
                None => first = Some((at, catalog)),
            }
        }
        Ok(())
    }
}

/// A catalog as a node tells it.
type Catalog = (u64, Vec<Keyspace>, Vec<Table>);
