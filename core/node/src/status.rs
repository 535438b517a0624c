//! What a node says of itself.

use model::{NodeStatus, Now, Status};
use placement::Member;

use crate::Node;

impl Node {
    /// The state of this node, and of the others as it sees them.
    pub fn status(&self, now: Now) -> Status {
        let seen = |(node, member): (&model::NodeId, &Member)| NodeStatus {
            node: *node,
            alive: self.membership.is_alive(*node, now),
            region: member.region.clone(),
            zone: member.zone.clone(),
            standing: self.membership.standing(*node),
            lag: self.lag(*node, now),
            enrolled: self.disks().get(node).and_then(|disks| disks.enrolled),
            joining: self.in_force().joining(*node),
        };
        Status {
            node: self.config.id,
            incarnation: self.config.incarnation,
            uptime: now.since(self.started),
            nodes: self.config.layout.members.iter().map(seen).collect(),
            catalog_version: self.in_force().version,
            keyspaces: self.in_force().keyspaces.values().cloned().collect(),
            tables: self.in_force().tables.values().cloned().collect(),
            requests: self.requests(),
            read_repairs: self.read_repairs,
            log_dropped: self.exchange.dropped,
            hints: self.hints.status(self.wall_millis(now)),
            disk: self.disk_status(),
            forgetting: self.forgetting(now),
            suspects: self.suspects(now),
        }
    }
}
