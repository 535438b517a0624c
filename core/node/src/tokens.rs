//! What a client's token is worth: whether it may be used, and what it stands for.
//!
//! A token that comes again must not make a second write. That can be promised for as long
//! as the first is remembered, so a token has to be young: its own time says how old it is,
//! and no memory is needed to refuse one that is too old to be judged. One from the future
//! would stay young for too long.
//!
//! The wall clock is used for this and for nothing else. It is the time at which the process
//! started, and what has passed since on the monotonic clock, which stands still while a machine
//! sleeps. So a wall clock that goes ahead is followed; one that is set back is not, because a token
//! that was too old would be young again.

use std::time::Duration;

use model::{Address, Mark, Mutation, Now, Put, Refusal, Token};
use mutant::{Mutant, is};
use xxhash_rust::xxh3::Xxh3;

use crate::Node;

impl Node {
    /// The wall clock, in milliseconds after 1970.
    pub(crate) fn wall_millis(&self, now: Now) -> u64 {
        let since = u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.config.started_millis.saturating_add(since).saturating_add(self.ahead_millis)
    }

    /// The wall clock says so many milliseconds after 1970.
    pub fn tell_time(&mut self, now: Now, wall_millis: u64) {
        self.ahead_millis += wall_millis.saturating_sub(self.wall_millis(now));
    }

    /// Refuses a token that is too old, or not of this time.
    pub(crate) fn check_token(&self, token: Token, now: Now) -> Result<(), Refusal> {
        let (made, here) = (token.millis(), self.wall_millis(now));
        let (window, ahead) = (self.config.limits.retry_window, self.config.limits.token_ahead_max);
        let age = Duration::from_millis(here.saturating_sub(made));
        if window < age && !is(Mutant::ExpiredTokenTaken) {
            return Err(Refusal::TokenExpired { seconds: age.as_secs(), max: window.as_secs() });
        }
        let early = Duration::from_millis(made.saturating_sub(here));
        if ahead < early {
            let (seconds, max) = (early.as_secs(), ahead.as_secs());
            return Err(Refusal::TokenFromFuture { seconds, max });
        }
        Ok(())
    }
}

/// What a write is known by: its token, and a hash of all that the client has said about what
/// is to be stored where.
pub(crate) fn mark(token: Token, address: &Address, asked: &Put) -> Mark {
    let mut hash = Xxh3::new();
    let mut part = |bytes: &[u8]| {
        // With the length in front, no two lists of parts are the same bytes.
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(&address.table.number().to_le_bytes());
    part(address.key.partition());
    part(address.key.sort());
    if let Mutation::Store(value) = &asked.mutation {
        part(&value.content_type);
        part(&value.body);
    }
    for run in asked.context.runs() {
        part(&run.incarnation.bits().to_le_bytes());
        part(&run.first.to_le_bytes());
        part(&run.last.to_le_bytes());
    }
    let hash = if is(Mutant::FingerprintIgnored) { 0 } else { hash.digest() };
    let mark = Mark::new(token, hash, matches!(asked.mutation, Mutation::Delete));
    if asked.repeated { mark.sent_again() } else { mark }
}
