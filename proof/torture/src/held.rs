//! What each replica holds of a key, as a node is told when it asks them all.
//!
//! A read cannot tell a key that was deleted from one of which even that is forgotten, nor who
//! knows what. `/v1/explain` does, and repairs nothing on the way.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::http::ask;
use crate::outcome::Stop;
use crate::told::STATUS_PATIENCE;

/// What one replica holds of a key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Concurrent values.
    pub values: usize,
    /// Writes that it has heard of, also those whose values are gone.
    pub heard_of: u64,
}

impl Held {
    /// Whether it knows that the key was deleted.
    pub fn is_tombstone(self) -> bool {
        self.values == 0 && self.heard_of != 0
    }

    /// Whether nothing is left, not even that there was something.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

impl Cluster {
    /// What the replicas of a key hold that answer the node which is asked. The keyspace has the
    /// name of the table.
    ///
    /// # Errors
    ///
    /// The node does not say.
    pub fn held(&self, asked: u16, table: &str, key: &str) -> Result<BTreeMap<u16, Held>, Stop> {
        let target = format!("/v1/explain/{table}/{table}/{key}");
        let answer = ask(self.address(asked)?, "GET", &target, "", STATUS_PATIENCE)
            .map_err(|err| Stop::Failed(format!("n{asked} does not explain {key}: {err}")))?;
        held(&answer.body).ok_or_else(|| {
            Stop::Failed(format!("n{asked} does not explain {key}: {}", answer.body))
        })
    }
}

fn held(explanation: &str) -> Option<BTreeMap<u16, Held>> {
    let explanation: serde_json::Value = serde_json::from_str(explanation).ok()?;
    let mut all = BTreeMap::new();
    for replica in explanation.get("replicas")?.as_array()? {
        if replica.get("answered")?.as_bool()? {
            let node = u16::try_from(replica.get("node")?.as_u64()?).ok()?;
            let values = replica.get("values")?.as_array()?.len();
            all.insert(node, Held { values, heard_of: replica.get("heard_of")?.as_u64()? });
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_not_nothing_and_who_is_silent_is_neither() {
        let told = r#"{"replicas":[
            {"node":1,"answered":true,"values":[],"heard_of":2},
            {"node":2,"answered":true,"values":[],"heard_of":0},
            {"node":3,"answered":false,"values":[],"heard_of":0},
            {"node":4,"answered":true,"values":["a:1"],"heard_of":1}]}"#;
        let all = held(told).expect("an explanation");
        let of = |node: u16| all.get(&node).copied();
        let is_tombstone = |node| of(node).map(Held::is_tombstone);
        let is_nothing = |node| of(node).map(Held::is_nothing);
        assert_eq!([1, 2, 3, 4].map(is_tombstone), [Some(true), Some(false), None, Some(false)]);
        assert_eq!([1, 2, 3, 4].map(is_nothing), [Some(false), Some(true), None, Some(false)]);
        assert_eq!(held(r#"{"code":"not_found"}"#), None);
    }
}
