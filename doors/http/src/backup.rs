//! Sending everything that the node's disk holds, for `merganser backup`.
//!
//! The door does not know what the bytes mean. It hands them on as they come, and takes the next
//! when the client has taken those before: whoever reads slowly holds up nobody but himself,
//! and costs a few pieces of memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc::Receiver;

use crate::Node;
use crate::door::Door;
use crate::openapi::BackupProblems;
use crate::params::Query;
use crate::problem::{Code, NOSNIFF, Problem};

/// The media type of a checkpoint.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.merganser.backup");

/// Why a node does not send what it holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoBackup {
    /// It does so for somebody else.
    UnderWay,
    /// Its disk does not hold all that the node has to hold, as this says.
    NotWhole(String),
    /// The disk cannot be read, as this says.
    Disk(String),
}

impl From<NoBackup> for Problem {
    fn from(none: NoBackup) -> Self {
        match none {
            NoBackup::UnderWay => {
                let detail = "the node sends a backup to somebody already, and one at a time; retry when that has ended";
                Self::new(Code::BackupUnderWay, detail)
            }
            NoBackup::NotWhole(detail) => Self::new(Code::NodeJoining, detail),
            NoBackup::Disk(detail) => Self::new(Code::DiskFailed, detail),
        }
    }
}

/// Pieces that come from elsewhere.
struct Pieces(Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Take everything that the node's disk holds at this moment.
///
/// For operators: the bytes are those of `docs/formats.md`, with checksums, and are complete only
/// with their last frame. One at a time.
#[utoipa::path(
    get,
    path = "/v1/backup",
    operation_id = "backup",
    tag = "node",
    responses(
        (status = 200, description = "A checkpoint of the node.", body = Vec<u8>,
            content_type = "application/vnd.merganser.backup"),
        BackupProblems,
    ),
)]
pub(crate) async fn backup<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let pieces = door.backup().await?;
    let mut response = Response::new(Body::new(Pieces(pieces)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    Ok(response)
}
