//! Bodies of answers on their way to clients that may be slow to take them.
//!
//! A client can ask for large values on many connections and read none of them. Each answer
//! then stays in memory until the connection is given up, and all of them together are more
//! than the node has. So large bodies take their bytes from a [`Budget`], and give them back
//! when the last piece was handed on. It is another one than that of requests, so that who
//! reads slowly keeps nobody from writing. An answer without room is refused as overload: nothing
//! was changed by a read.
//!
//! The body goes out in pieces, because the library takes whatever it is given and keeps it: a
//! whole value would be off the books while it is still in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::budget::{Budget, Share};
use crate::problem::{Code, Problem};

/// Smaller bodies are not counted: a connection's own buffers are larger.
const COUNTED_BYTES_MIN: usize = 16 << 10;

/// How much is handed on at once.
const PIECE_BYTES: usize = 64 << 10;

/// Sends an answer, if there is room for its body beside others.
///
/// # Errors
///
/// `overloaded` if there is none.
pub(crate) fn within(budget: &Arc<Budget>, response: Response) -> Result<Response, Problem> {
    let bytes = size(&response);
    let mut share = budget.share();
    if COUNTED_BYTES_MIN <= bytes && !share.take(bytes) {
        let detail = "the node has no memory for another large answer; retry after a moment";
        return Err(Problem::new(Code::Overloaded, detail));
    }
    Ok(holding(share, response))
}

/// Sends an answer whose bytes were taken from the budget before.
pub(crate) fn holding(share: Share, response: Response) -> Response {
    if size(&response) < COUNTED_BYTES_MIN {
        return response;
    }
    response.map(|body| Body::new(Sent { body, piece: Bytes::new(), _share: share }))
}

fn size(response: &Response) -> usize {
    usize::try_from(response.body().size_hint().lower()).unwrap_or(usize::MAX)
}

/// A body that goes out in pieces and has its share until the last one.
struct Sent {
    body: Body,
    /// What was taken from the body and not handed on.
    piece: Bytes,
    _share: Share,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.piece.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(None);
            };
            match frame?.into_data() {
                Ok(data) => self.piece = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let bytes = self.piece.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.body.size_hint();
        let mut hint = SizeHint::new();
        let here = self.piece.len() as u64;
        hint.set_lower(inner.lower() + here);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + here);
        }
        hint
    }
}
