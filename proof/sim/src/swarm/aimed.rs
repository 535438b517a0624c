//! Worlds that are drawn for one question.
//!
//! What a seed draws at random asks a little of everything. Some promises are worth being asked a
//! million times, and then each world has to be full of what could break them:
//!
//! | worlds | full of |
//! | --- | --- |
//! | [`Deletes`](Worlds::Deletes) | deletes, while replicas are away for longer than any timer, guests hand over late, old copies of disks come back, disks are lost and given up |
//! | [`Losses`](Worlds::Losses) | records that vanish, turn old or lose their sense, up to twenty a second, on all disks, while everything is read again all the time |
//!
//! The rest of such a world is what the seed draws anyhow. Writes have no tokens in them: the marks
//! of a token keep its tombstone for longer than a world lasts.

use model::{Durability, Level};

use super::{MILLISECOND, Plan, SECOND, table};
use crate::dice::{Dice, Part};
use crate::every::every;
use crate::faults::FaultKind;

every! {
    /// A kind of worlds.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub enum Worlds as ALL {
        /// Whatever a seed draws.
        #[default]
        Any,
        /// Much is deleted while much is away.
        Deletes,
        /// Disks lose records all the time.
        Losses,
    }
}

impl Worlds {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Worlds::Any => "any",
            Worlds::Deletes => "deletes",
            Worlds::Losses => "losses",
        }
    }

    /// How the command line is told of it.
    pub(crate) fn option(self) -> String {
        match self {
            Worlds::Any => String::new(),
            Worlds::Deletes | Worlds::Losses => format!(" --worlds {}", self.name()),
        }
    }

    /// The world of this kind that a seed stands for.
    pub fn draw(self, seed: u64) -> Plan {
        let plan = Plan::draw(seed);
        let mut dice = Dice::new(seed, Part::Aimed);
        match self {
            Worlds::Any => plan,
            Worlds::Deletes => of_deletes(plan, &mut dice),
            Worlds::Losses => of_losses(plan, &mut dice),
        }
    }
}

/// Hardly more nodes than replicas, so that each that is away is missed, and nothing that would
/// keep disks from being replaced.
fn small(mut plan: Plan, dice: &mut Dice) -> Plan {
    plan.nodes = dice.pick(&[3, 4, 5, 5, 6]);
    plan.replicas = dice.pick(&[3, 3, 3, 2]);
    plan.sloppy = 3 < plan.nodes && dice.chance(600);
    (plan.declares, plan.watchers, plan.changes_retention) = (0, 0, 0);
    (plan.siblings_max, plan.requests_max, plan.rounds) = (100, 10_000, 1);
    let replicas = plan.replicas;
    let tables = [Durability::Synced, Durability::Buffered];
    plan.tables = tables.map(|durability| table(dice, durability, replicas)).into();
    let clients = &mut plan.clients;
    (clients.count, clients.partitions) = (8, clients.partitions.max(8));
    (clients.large, clients.demands, clients.lull) = (0, 0, 0);
    (clients.tokens, clients.outcomes) = (0, 0);
    clients.blind = clients.blind.min(50);
    plan
}

fn of_deletes(plan: Plan, dice: &mut Dice) -> Plan {
    use FaultKind::{Copy, Isolate, Kill, OneWay, Partial, Pause, Power, Restore, Split, Wipe};
    let mut plan = small(plan, dice);
    (plan.clients.weights, plan.clients.think) = ([38, 40, 18, 4], 5 * MILLISECOND);
    plan.clients.sessions = 0;
    for table in &mut plan.tables {
        table.write = dice.pick(&[Level::Quorum, Level::Quorum, Level::One]);
        table.read = dice.pick(&[Level::Quorum, Level::Quorum, Level::One]);
    }
    plan.clients.partitions = dice.pick(&[8, 40, 100]);
    plan.clients.hot = 0;
    plan.safety = 60 * SECOND;
    plan.evictions = dice.pick(&[0, 15 * SECOND, 15 * SECOND]);
    plan.faults.gap = dice.pick(&[4 * SECOND, 8 * SECOND]);
    plan.faults.lasts = dice.pick(&[8 * SECOND, 15 * SECOND]);
    let cuts = [(Isolate, 4), (Split, 2), (Partial, 3), (OneWay, 2)];
    let nodes = [(Kill, 4), (Power, 2), (Pause, 1), (Wipe, 2), (Restore, 5), (Copy, 2)];
    plan.faults.kinds = cuts.into_iter().chain(nodes).collect();
    plan
}

fn of_losses(plan: Plan, dice: &mut Dice) -> Plan {
    use FaultKind::{Isolate, Kill, Partial, Power, Restore, Wipe};
    let mut plan = small(plan, dice);
    plan.shards = dice.pick(&[1, 2, 8]);
    plan.clients.weights = dice.pick(&[[40, 10, 45, 5], [30, 30, 35, 5]]);
    plan.clients.think = 100 * MILLISECOND;
    plan.disk.rot = dice.pick(&[50 * MILLISECOND, 100 * MILLISECOND, 200 * MILLISECOND]);
    plan.disk.rots = [1, 1, 1];
    (plan.scrubs, plan.disk.unreadable) = (true, 0);
    plan.safety = 60 * SECOND;
    (plan.faults.gap, plan.faults.lasts) = (4 * SECOND, 2 * SECOND);
    plan.faults.kinds.clear();
    // In half of them nothing else goes wrong, so that each pair is connected all the time.
    if dice.chance(500) {
        let kinds = [(Kill, 3), (Power, 2), (Isolate, 3), (Partial, 2), (Wipe, 1), (Restore, 2)];
        plan.faults.kinds.extend(kinds);
    } else {
        (plan.network.late, plan.network.damage, plan.network.loss) = (0, 0, 0);
        plan.disk.tail = 0;
    }
    plan
}
