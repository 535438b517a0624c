//! What nodes tell of themselves: answers, logs, and who they believe is there.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::http::ask;
use crate::outcome::Stop;

/// How long a node may take to say how it is.
pub(crate) const STATUS_PATIENCE: Duration = Duration::from_secs(2);

impl Cluster {
    /// What a node answers to a `GET` of the harness itself: status line, headers, body.
    ///
    /// # Errors
    ///
    /// It does not answer, or not with 200.
    pub fn answer(&self, id: u16, path: &str) -> Result<String, Stop> {
        let answer = ask(self.address(id)?, "GET", path, "", STATUS_PATIENCE)?;
        let whole = format!("{}\r\n\r\n{}", answer.head, answer.body);
        if answer.status == 200 { Ok(whole) } else { Err(Stop::Failed(whole)) }
    }

    /// What a node has logged, in all its lives.
    pub fn log(&self, id: u16) -> String {
        fs::read_to_string(self.node_dir(id).join("node.log")).unwrap_or_default()
    }

    /// The last line of a node's log.
    pub fn last_words(&self, id: u16) -> String {
        self.log(id).lines().last().unwrap_or("no word").to_owned()
    }

    /// The nodes that one of them believes to be alive.
    ///
    /// # Errors
    ///
    /// It does not say.
    pub fn alive(&self, id: u16) -> Result<BTreeSet<u16>, Stop> {
        let status = ask(self.address(id)?, "GET", "/v1/status", "", STATUS_PATIENCE)
            .map_err(|err| Stop::Failed(format!("n{id} does not say who is alive: {err}")))?;
        let status: serde_json::Value = serde_json::from_str(&status.body).map_err(Stop::failed)?;
        let nodes = status.get("nodes").and_then(|nodes| nodes.as_array()).into_iter().flatten();
        let alive = nodes.filter(|node| node.get("alive").is_some_and(|alive| alive == true));
        let ids = alive.filter_map(|node| node.get("node")?.as_u64()?.try_into().ok());
        Ok(ids.collect())
    }

    /// The peers that a node is connected with, as its log says.
    pub fn connected(&self, id: u16) -> BTreeSet<u16> {
        connected(&self.log(id))
    }
}

/// The peers whose last connection has not ended. One that another took the place of ends after
/// that began.
fn connected(log: &str) -> BTreeSet<u16> {
    let mut peers = BTreeSet::new();
    for line in log.lines().filter(|line| !line.contains("took its place")) {
        let Some((said, peer)) = line.split_once(" peer=n") else { continue };
        let peer = peer.split_whitespace().next().and_then(|number| number.parse().ok());
        let Some(peer) = peer else { continue };
        if said.ends_with(": connected") {
            peers.insert(peer);
        } else if said.ends_with(": connection ended") || said.ends_with(": connection closed") {
            peers.remove(&peer);
        }
    }
    peers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_connected_until_the_log_says_otherwise() {
        let log = "t INFO a: connected peer=n2\nt INFO a: connected peer=n3\n\
                   t INFO a: connected peer=n12\nt INFO a: the peer is heard again peer=n4\n\
                   t INFO a: connection ended peer=n2 reason=Connection reset by peer\n\
                   t INFO a: connection ended peer=n3 reason=another took its place\n";
        assert_eq!(connected(log), [3, 12].into());
        assert_eq!(connected(""), BTreeSet::new());
    }
}
