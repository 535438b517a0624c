//! What became of a write that was not answered.

use hyper::StatusCode;
use serde::Deserialize;

use crate::send::Call;
use crate::table::{parse, refused};
use crate::{Error, Key, Receipt, Table, Token};

/// What became of a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It took place, and is in effect.
    Applied,
    /// It took place, and was overwritten or deleted since.
    Superseded,
    /// Nobody who answered has heard of it.
    NotSeen {
        /// Whether it never will be. Else it may be on its way, and may be sent again under
        /// its token.
        is_final: bool,
    },
    /// Its token is taken no more, and whether it was taken is not known.
    Expired,
    /// Something that this client does not know.
    Other(String),
}

/// What a client is told of its write.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// What became of it.
    pub fate: Fate,
    /// The replicas that have it, and what a write to these is worth.
    pub receipt: Option<Receipt>,
    /// Guests that keep it for replicas which were away.
    pub guests: Vec<u16>,
    /// Nodes that answered and have not heard of it.
    pub without: Vec<u16>,
    /// Nodes that did not answer.
    pub silent: Vec<u16>,
}

#[derive(Deserialize)]
struct RawRecalled {
    outcome: String,
    #[serde(rename = "final", default)]
    is_final: bool,
    receipt: Option<Receipt>,
    #[serde(default)]
    guests: Vec<u16>,
    #[serde(default)]
    without: Vec<u16>,
    #[serde(default)]
    silent: Vec<u16>,
}

impl Table {
    /// Asks what became of the write to this key that had this token.
    ///
    /// # Errors
    ///
    /// See [`Error`]. That nobody has heard of it is no error.
    pub async fn outcome(&self, key: &Key, token: Token) -> Result<Recalled, Error> {
        let target = self.path_of(&format!("/v1/outcome/{token}/"), key);
        let call = Call { tells_timeout: true, ..Call::look(target) };
        let answer = self.client().send(&call).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(&answer));
        }
        let raw: RawRecalled = parse(answer.body())?;
        let RawRecalled { outcome, is_final, receipt, guests, without, silent } = raw;
        let fate = match outcome.as_str() {
            "applied" => Fate::Applied,
            "superseded" => Fate::Superseded,
            "not_seen" => Fate::NotSeen { is_final },
            "expired" => Fate::Expired,
            _ => Fate::Other(outcome),
        };
        Ok(Recalled { fate, receipt, guests, without, silent })
    }
}
