//! Why requests fail, and what remains of them.
//!
//! Failures come in three kinds that must never be mixed, because the client has to do
//! something else after each:
//!
//! | failure | what is known | what to do |
//! | --- | --- | --- |
//! | refused | nothing was changed | what the text says: mostly, correct the request |
//! | not attempted | nothing was changed: too few replicas were known alive | retry, anywhere |
//! | unknown | of a write: too few answered in time; some may have it | read, then decide |
//!
//! A read changes nothing, however it fails, so the third kind does not exist for it: a read that
//! too few replicas answered in time says only that, and can be repeated anywhere.

use thiserror::Error;

use crate::{DiskId, Level, Malformed, Name, NodeId, Receipt, Region};

/// Why a request did not succeed, and what remains of it.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Failure {
    /// Nothing was changed. Repeating the request as it is helps only where the text says so.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Nothing was changed, because the level could not have been met.
    #[error(
        "not attempted: {}; nothing was changed", too_few_alive(*.wanted, *.replicas, *.alive, .lacks)
    )]
    NotAttempted {
        /// How many replicas the level needs, at the least.
        wanted: u8,
        /// How many replicas this node believes to be alive.
        alive: u8,
        /// N.
        replicas: u8,
        /// What those alive are too few for, where the numbers do not say it.
        lacks: String,
    },
    /// Too few replicas answered a write in time. It was not undone: replicas that took it
    /// keep it.
    #[error(
        "unknown outcome: {}; a write may have been applied by some and is not undone", too_few_answered(*.got, *.wanted, .lacks)
    )]
    Unknown {
        /// How many replicas the level needs, at the least.
        wanted: u8,
        /// How many answered.
        got: u8,
        /// Who took part, if the request came so far.
        receipt: Option<Receipt>,
        /// What those that answered are too few for, where the numbers do not say it.
        lacks: String,
    },
    /// Too few replicas answered a read in time. A read changes nothing.
    #[error(
        "too few answers: {}; nothing was changed, so the read can be repeated", too_few_answered(*.got, *.wanted, .lacks)
    )]
    TooFewAnswers {
        /// How many replicas the level needs, at the least.
        wanted: u8,
        /// How many answered.
        got: u8,
        /// Which they are.
        receipt: Receipt,
        /// What those that answered are too few for, where the numbers do not say it.
        lacks: String,
    },
    /// The level was met, and what was met is worth less than the client demanded. A write is
    /// at the replicas of the receipt, and is not undone; whether others have it is unknown.
    #[error(
        "the level was met, and the answer is {}, which is less than was demanded; {}", .receipt.kind.as_str(), remains(.receipt)
    )]
    Weaker {
        /// Who took part, and what that is worth.
        receipt: Receipt,
    },
    /// Nobody who could be asked in time has all that the session has seen.
    #[error(
        "the session has seen {} that {} lacked until the time was over; nothing was changed, so try again later, or at another node", count(*.missing), names_or_nobody(.asked)
    )]
    SessionBehind {
        /// How many writes are missing everywhere. Nothing if the session has seen more than its
        /// token can say.
        missing: Option<u64>,
        /// Who was asked last, and lacked them.
        asked: Vec<NodeId>,
    },
    /// A monotonic read has found something that is at too few replicas, and could not be brought
    /// to more in time: a later read could return less.
    #[error(
        "what was read is at too few replicas for every later read to meet it, and could not be brought to more in time; nothing was changed but that replicas were sent what others have, so the read can be repeated"
    )]
    Unsettled {
        /// Who took part.
        receipt: Receipt,
    },
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

/// That these nodes have no room.
pub fn no_room(nodes: &[NodeId]) -> String {
    format!("{} {} no room", names(nodes), if nodes.len() == 1 { "has" } else { "have" })
}

fn count(missing: Option<u64>) -> String {
    missing.map_or("more than its token can say, and it".into(), |count| format!("{count} writes"))
}

fn names_or_nobody(nodes: &[NodeId]) -> String {
    if nodes.is_empty() { "those who could be asked".into() } else { names(nodes) }
}

/// Where votes, zones or disks are too few, the number of replicas says nothing: there may be enough.
fn too_few_alive(wanted: u8, replicas: u8, alive: u8, lacks: &str) -> String {
    match lacks {
        "" => format!("{wanted} of {replicas} replicas are needed and {alive} are known alive"),
        _ => format!("{alive} of {replicas} replicas are known alive ({lacks})"),
    }
}

fn too_few_answered(got: u8, wanted: u8, lacks: &str) -> String {
    match lacks {
        "" => format!("{got} of the {wanted} replicas that are needed answered in time"),
        _ if got == 1 => format!("1 replica answered in time ({lacks})"),
        _ => format!("{got} replicas answered in time ({lacks})"),
    }
}

/// What is left of a request that met its level, and was worth too little.
fn remains(receipt: &Receipt) -> &'static str {
    match receipt.dot {
        Some(_) => {
            "the write is at the replicas in the receipt, may be at others, and is not undone"
        }
        None => "nothing was changed",
    }
}

/// Why a request is not acceptable. The text tells what to do.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Refusal {
    /// The name or key cannot exist.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// There is no such keyspace.
    #[error("there is no keyspace {0}; create it with PUT /v1/keyspaces/{0}")]
    UnknownKeyspace(Name),
    /// There is no such table in the keyspace.
    #[error(
        "there is no table {table} in keyspace {keyspace}; create it with PUT /v1/keyspaces/{keyspace}/tables/{table}"
    )]
    UnknownTable {
        /// The keyspace, which exists.
        keyspace: Name,
        /// The table, which does not.
        table: Name,
    },
    /// The name exists with another contract, which cannot be changed.
    #[error("{what} {name} exists with another contract: {difference}")]
    Exists {
        /// `keyspace` or `table`.
        what: &'static str,
        /// Its name.
        name: Name,
        /// What differs.
        difference: String,
    },
    /// The contract cannot be kept.
    #[error("{0}")]
    Contract(String),
    /// A level that no number of answers can meet.
    #[error("{what}={asked} is out of range: there are {replicas} {of}")]
    Level {
        /// Which option.
        what: &'static str,
        /// The number it comes to.
        asked: u8,
        /// How many there are.
        replicas: u8,
        /// Of what: `replicas`, `votes` or `zones`.
        of: &'static str,
    },
    /// A level of the coordinator's region, which keeps no replicas.
    #[error(
        "{what}={level} is about the region of the node that was asked, and {region} keeps no replicas of this keyspace; ask a node of a region that does, or use a level of all regions"
    )]
    NotLocal {
        /// Which option.
        what: &'static str,
        /// What it says.
        level: String,
        /// The region of the node that was asked.
        region: Region,
    },
    /// The table allows no request as weak as this.
    #[error("{what}={asked} is weaker than {weakest}, the weakest that the table allows")]
    Weak {
        /// Which option.
        what: &'static str,
        /// What it says.
        asked: Level,
        /// The least that it may say.
        weakest: Level,
    },
    /// A table at whose levels writes can be missed, and that does not say so.
    #[error(
        "{what} at the table's level can miss a write: one could be answered by {}, and the other by {}. Choose levels that meet, or declare may_miss", names(.nodes), names(.written)
    )]
    MayMiss {
        /// What can miss a write: `a read` or `a write`.
        what: &'static str,
        /// Replicas that suffice for it.
        nodes: Vec<NodeId>,
        /// Replicas that suffice for the write, and none of which is among the others.
        written: Vec<NodeId>,
    },
    /// The value has too many bytes.
    #[error("the value has {bytes} bytes, the most is {max}")]
    LargeValue {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// A write without a context would add one more concurrent value than the key may hold.
    #[error(
        "the key holds {siblings} concurrent values, the most is {max}; read it, and write with the context"
    )]
    ManySiblings {
        /// How many it holds.
        siblings: usize,
        /// How many it may hold.
        max: usize,
    },
    /// A write without a context would make the concurrent values of the key too large to
    /// travel together, and the key could never be read again.
    #[error(
        "the concurrent values of the key would have {bytes} bytes together, the most is {max}; read it, and write with the context"
    )]
    LargeObject {
        /// How many they would have.
        bytes: usize,
        /// How many they may have.
        max: usize,
    },
    /// The table takes no write without a context to a key that holds a value.
    #[error(
        "the key holds {siblings} values, and the table takes no put that has not read them; read it, and write with the context"
    )]
    BlindPut {
        /// How many it holds.
        siblings: usize,
    },
    /// A delete removes exactly what its context names.
    #[error(
        "a delete removes what its context names, and this one has none; read the key, and delete it with the context of that read"
    )]
    EmptyDelete,
    /// The token is older than retries may be.
    #[error(
        "the idempotency key was made {seconds} s ago by the clock of this node, and is taken for at most {max} s; ask for the outcome, or read, and write with a new one"
    )]
    TokenExpired {
        /// How old it is.
        seconds: u64,
        /// How old it may be.
        max: u64,
    },
    /// The token is of a time that has not come.
    #[error(
        "the idempotency key is of a time {seconds} s from now by the clock of this node, at most {max} s are accepted; check the clocks"
    )]
    TokenFromFuture {
        /// How far ahead it is.
        seconds: u64,
        /// How far ahead it may be.
        max: u64,
    },
    /// The token has named another write.
    #[error(
        "the idempotency key was used for another write to this key: other bytes, another type or another context; use a new one for each write"
    )]
    TokenReused,
    /// So many writes to the key have come after the token that nobody remembers it.
    #[error(
        "more than {max} writes to this key are younger than the idempotency key, and whether it was used before is not known any more; read the key, and write with a new one"
    )]
    TokenForgotten {
        /// How many are remembered.
        max: usize,
    },
    /// The node has as much to do as it can bear.
    #[error(
        "the node has as much to do as it can bear (at most {max} requests at once); retry after a moment"
    )]
    Overloaded {
        /// How many it may coordinate at once.
        max: usize,
    },
    /// The disk of the node is new, and is being made whole: it takes no part until then.
    #[error(
        "the disk of {node} is not the one that it is to serve with, or not whole yet; nothing was changed, ask another node"
    )]
    Joining {
        /// Which node.
        node: NodeId,
    },
    /// No replica has taken the write, and nodes that could stand in have no room for what they
    /// would have to keep.
    #[error(
        "{} for what is kept for replicas that are away: {} keeps {kept} of at most {max} bytes, and the write needs {needs} more; no other node took it and nothing was changed. Bring a replica back, raise hint_bytes_max, or retry at another node", no_room(.nodes), names(.nodes.get(..1).unwrap_or_default())
    )]
    HintsFull {
        /// Which nodes have no room. The numbers are those of the first.
        nodes: Vec<NodeId>,
        /// How many bytes it keeps.
        kept: u64,
        /// How many more the write would come to.
        needs: u64,
        /// How many it keeps at most.
        max: u64,
    },
    /// A write that the watcher was not told of is no longer in the log of any replica that answers.
    #[error(
        "what has changed since the position is not remembered any more: shard {shard} has writes that came after it and were settled longer ago than changes_retention, or were more than log_entries_max. List or scan the table and follow it from now, or follow it from the beginning"
    )]
    CursorExpired {
        /// The shard.
        shard: u16,
    },
    /// The node's own disk failed it.
    #[error("the node cannot read or write its disk: {0}")]
    Disk(String),
    /// The catalog cannot be changed while most nodes are away.
    #[error(
        "{alive} of {nodes} nodes are known alive; declaring keyspaces and tables needs a majority. Data in existing tables is not affected"
    )]
    NoMajority {
        /// How many nodes are known alive.
        alive: usize,
        /// How many there are.
        nodes: usize,
    },
    /// A disk that may still serve is not salvaged: what it holds comes with its node.
    #[error(
        "{node} has not given up the disk {disk}, or it is none of this cluster: if it may serve again, start {node} with it; if it will not, say `merganser evict {node}` first. Nothing was changed"
    )]
    DiskNotRetired {
        /// Which node.
        node: NodeId,
        /// Which disk. It would make every failure larger.
        disk: Box<DiskId>,
    },
    /// What may have been deleted is not salvaged.
    #[error(
        "{dots} writes that were found have idempotency keys: their clients may have sent them again, and what came of that may have been deleted and forgotten; if the value is still wanted, read it on the disk and write it anew. Nothing was changed"
    )]
    MayBeDeleted {
        /// How many writes.
        dots: u64,
    },
    /// A node does one repair at a time.
    #[error(
        "repair {id:016x} is under way at this node, and there is one at a time; wait for its end, or cancel it with DELETE /v1/repair"
    )]
    RepairRuns {
        /// The one that is under way.
        id: u64,
    },
    /// There is no such shard in the keyspace.
    #[error("keyspace {keyspace} has no shard {shard}: they are numbered from 0 to {}", .shards.saturating_sub(1))]
    NoSuchShard {
        /// The keyspace, which exists.
        keyspace: Name,
        /// The shard, which does not.
        shard: u16,
        /// How many it has.
        shards: u16,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_votes_are_too_few_nobody_is_told_that_enough_replicas_are_too_few() {
        let failure = |lacks: &str| {
            let (wanted, alive, replicas, lacks) = (2, 2, 3, lacks.to_owned());
            Failure::NotAttempted { wanted, alive, replicas, lacks }.to_string()
        };
        assert!(failure("").contains("2 of 3 replicas are needed and 2 are known alive;"));
        let told = failure("2 of 3 votes");
        assert!(told.contains("2 of 3 replicas are known alive (2 of 3 votes);"), "{told}");
        assert_eq!(
            too_few_answered(2, 1, "1 of 2 votes"),
            "2 replicas answered in time (1 of 2 votes)"
        );
    }
}
