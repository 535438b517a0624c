//! Everything that one node holds, as it comes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::{Request, StatusCode, Uri};
use tokio::time::timeout;

use crate::connection::{Broken, Connection};
use crate::{Client, Error, Problem};

/// How long a node may send nothing. A disk that is slow takes seconds.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The longest explanation that is taken.
const PROBLEM_BYTES_MAX: usize = 1 << 20;

/// The bytes of a backup, in pieces. Dropping it ends the backup.
pub struct BackupBytes {
    connection: Connection,
    body: Incoming,
}

impl Client {
    /// Begins to take everything that the node at the first endpoint holds. It is not repeated
    /// elsewhere: another node holds something else.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if the node is not reached; [`Error::Refused`] or
    /// [`Error::NotAttempted`] with the node's reason if it does not send anything.
    pub async fn backup(&self) -> Result<BackupBytes, Error> {
        let endpoint = self.shared.endpoints.first().expect("a client has endpoints");
        let of_node = |broken| why(endpoint.url(), broken);
        let mut connection = endpoint.connect().await.map_err(of_node)?;
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = Uri::from_static("/v1/backup");
        request.headers_mut().insert(HOST, endpoint.host());
        let begun = timeout(SILENCE_MAX, connection.begin(request)).await;
        let (head, body) = begun.unwrap_or_else(|_| Err(silence())).map_err(of_node)?.into_parts();
        if head.status == StatusCode::OK {
            return Ok(BackupBytes { connection, body });
        }
        let body = connection.rest(Limited::new(body, PROBLEM_BYTES_MAX).collect()).await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let problem = Box::new(Problem::read(head.status.as_u16(), &body));
        let is_refused = head.status.is_client_error();
        Err(if is_refused { Error::Refused(problem) } else { Error::NotAttempted(problem) })
    }
}

impl BackupBytes {
    /// The next piece, or nothing at the end of the answer, which is not yet the end of a backup.
    ///
    /// # Errors
    ///
    /// [`Error::NoAnswer`] if the connection broke, or nothing came for two minutes.
    ///
    /// # Cancellation
    ///
    /// What had come of the piece is kept for the next call.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        let lost = |why: String| Error::NoAnswer { why, problem: None };
        loop {
            let frame = timeout(SILENCE_MAX, self.connection.rest(self.body.frame())).await;
            let Some(frame) = frame.map_err(|_| lost("nothing came for two minutes".to_owned()))?
            else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| lost(error.to_string()))?;
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
    }
}

fn silence() -> Broken {
    Broken::Lost("no answer in time".to_owned())
}

fn why(url: &str, broken: Broken) -> Error {
    match broken {
        Broken::Unsent(why) => Error::Connect { why: format!("{url}: {why}") },
        Broken::Lost(why) => Error::NoAnswer { why: format!("{url}: {why}"), problem: None },
        Broken::TooLong { bytes_max } => {
            let why = format!("{url}: an answer of more than {bytes_max} bytes");
            Error::NoAnswer { why, problem: None }
        }
    }
}
