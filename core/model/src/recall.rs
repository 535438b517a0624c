//! What became of a write, for a client that was not told.
//!
//! A client whose write ended unknown has its token. A token belongs to a key, and its mark is
//! kept in the object under that key, so the question is a read of that object at everybody
//! who may hold it, and the answer is as good as they are complete:
//!
//! | fate | what is known |
//! | --- | --- |
//! | applied | the write is in effect at those who have it |
//! | superseded | it was in effect, and somebody who had read it has written since |
//! | not seen | those who answered have not heard of it; others may have, and it may yet arrive |
//! | expired | it is too long ago: nobody remembers, and nobody will take it any more |
//!
//! That nobody has seen it is final only when nobody takes the token any more and everybody
//! who could have it was heard.

use std::time::Duration;

use crdt::Token;

use crate::{Key, Name, NodeId, Receipt};

/// Ask what became of a write. Changes nothing, but for repairs of replicas that are behind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recall {
    /// In which keyspace it was.
    pub keyspace: Name,
    /// In which table.
    pub table: Name,
    /// Under which key.
    pub key: Key,
    /// What the client had called it.
    pub token: Token,
    /// How long the client waits for those who do not answer.
    pub timeout: Duration,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It took place, and nothing has superseded it. Of a delete only the first is said: it
    /// leaves nothing that could be superseded.
    Applied,
    /// It took place, and was overwritten or deleted since.
    Superseded,
    /// Nobody who answered has heard of it.
    NotSeen {
        /// Whether it never will be: everybody who could have it has answered, and the token
        /// is not taken any more. Otherwise it may be on its way.
        is_final: bool,
    },
    /// Whether it took place is not remembered any more. It is taken for new by nobody.
    Expired,
}

/// What a client is told of its write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recalled {
    /// What became of it.
    pub fate: Fate,
    /// The replicas that have it, and what a write to these is worth. Nothing if nobody who
    /// answered has heard of it.
    pub receipt: Option<Receipt>,
    /// Guests that keep it for replicas which were away.
    pub guests: Vec<NodeId>,
    /// Replicas and guests that answered and have not heard of it.
    pub without: Vec<NodeId>,
    /// Replicas and guests that have not answered.
    pub silent: Vec<NodeId>,
}
