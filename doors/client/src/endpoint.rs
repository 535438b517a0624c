//! One node's HTTP door: where it is, the idle connections to it, and whether it answered
//! when last asked.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::time::Instant;

use crate::Error;
use crate::connection::{Broken, Connection};

/// How long an endpoint that could not be reached is asked only after the others. Long
/// enough that a dead node does not cost every request an attempt, short enough that a
/// restarted one gets its share again at once.
const AVOIDED_FOR: Duration = Duration::from_secs(1);

/// A connection that has been idle longer than this is not used again: the other end, or
/// something between, may have given it up without telling.
const IDLE_FOR_MAX: Duration = Duration::from_secs(30);

/// A connection that has been idle longer than this may well have ended, so the runtime is
/// made to look first. Shorter, and the look would cost every request of a busy client.
const IDLE_FOR_LOOK: Duration = Duration::from_millis(50);

/// Where a node listens for clients.
#[derive(Debug)]
pub(crate) struct Endpoint {
    url: String,
    address: String,
    host: HeaderValue,
    idle: Mutex<Vec<Idle>>,
    idle_max: usize,
    born: Instant,
    /// Milliseconds since `born` until which this endpoint is asked last.
    avoided_until: AtomicU64,
    /// Milliseconds since `born` until which it has asked not to be asked.
    rests_until: AtomicU64,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Endpoint {
    /// Reads `http://HOST[:PORT]` or `HOST:PORT`; without a port, 80.
    pub(crate) fn parse(text: &str, idle_max: usize) -> Result<Self, Error> {
        let refuse = |why: &str| Error::Endpoint { endpoint: text.to_owned(), why: why.to_owned() };
        if text.starts_with("https://") {
            return Err(refuse("TLS is not supported; put http://"));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(refuse("it has to be http://HOST:PORT"));
        }
        let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
        let address = match after_host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
            Some(_) => return Err(refuse("the port has to be a number up to 65535")),
            None => format!("{authority}:80"),
        };
        let host = HeaderValue::from_str(authority).map_err(|_| refuse("it is no host name"))?;
        Ok(Self {
            url: format!("http://{authority}"),
            address,
            host,
            idle: Mutex::default(),
            idle_max,
            born: Instant::now(),
            avoided_until: AtomicU64::new(0),
            rests_until: AtomicU64::new(0),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn host(&self) -> HeaderValue {
        self.host.clone()
    }

    /// Lends an idle connection that still lives, or opens one.
    ///
    /// # Errors
    ///
    /// [`Broken::Unsent`] if none can be opened.
    pub(crate) async fn connect(&self) -> Result<Connection, Broken> {
        while let Some(mut idle) = self.take() {
            let idle_for = idle.since.elapsed();
            if IDLE_FOR_LOOK < idle_for {
                // The runtime learns of closed sockets when it has nothing to do, or when
                // a task yields.
                tokio::task::yield_now().await;
            }
            if idle_for < IDLE_FOR_MAX && idle.connection.is_usable().await {
                return Ok(idle.connection);
            }
        }
        Connection::open(&self.address).await
    }

    /// Keeps a connection for the next request; beyond the bound it is closed.
    pub(crate) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.idle_max {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    fn take(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Notes that the endpoint did not answer.
    pub(crate) fn avoid(&self) {
        let until = self.born.elapsed() + AVOIDED_FOR;
        self.avoided_until.store(millis(until), Ordering::Relaxed);
    }

    /// Notes that the endpoint answered.
    pub(crate) fn welcome(&self) {
        if self.avoided_until.load(Ordering::Relaxed) != 0 {
            self.avoided_until.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that the endpoint has asked to be left alone for a while.
    pub(crate) fn rest(&self, time: Duration) {
        self.rests_until.store(millis(self.born.elapsed() + time), Ordering::Relaxed);
    }

    /// How long it still wants to be left alone.
    pub(crate) fn rests_for(&self) -> Duration {
        let until = self.rests_until.load(Ordering::Relaxed);
        if until == 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(until.saturating_sub(millis(self.born.elapsed())))
    }

    /// Whether others should be asked first.
    pub(crate) fn is_avoided(&self) -> bool {
        let until = self.avoided_until.load(Ordering::Relaxed);
        until != 0 && millis(self.born.elapsed()) < until
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn endpoints_are_read_as_people_write_them() {
        for (text, url, address) in [
            ("http://127.0.0.1:7001", "http://127.0.0.1:7001", "127.0.0.1:7001"),
            ("127.0.0.1:7001", "http://127.0.0.1:7001", "127.0.0.1:7001"),
            ("http://node-1/", "http://node-1", "node-1:80"),
            ("http://[::1]:7001", "http://[::1]:7001", "[::1]:7001"),
            ("http://[::1]", "http://[::1]", "[::1]:80"),
        ] {
            let endpoint = Endpoint::parse(text, 1).unwrap();
            assert_eq!((endpoint.url(), endpoint.address.as_str()), (url, address), "{text}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_cannot_be_one_is_refused() {
        for text in ["", "http://", "https://a:1", "a:b", "a:70000", "http://a:1/v1", "u@h:1"] {
            assert!(matches!(Endpoint::parse(text, 1), Err(Error::Endpoint { .. })), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_is_avoided_for_a_second_or_until_it_answers() {
        let endpoint = Endpoint::parse("a:1", 1).unwrap();
        assert!(!endpoint.is_avoided());
        endpoint.avoid();
        assert!(endpoint.is_avoided());
        tokio::time::advance(Duration::from_millis(1_001)).await;
        assert!(!endpoint.is_avoided());
        endpoint.avoid();
        endpoint.welcome();
        assert!(!endpoint.is_avoided());
    }
}
