//! What the library beneath cannot see or say about a connection.
//!
//! The HTTP library counts the time a client takes for its headers from the end of the
//! last request, so it would close a quiet connection of a pool as if it were a slow one.
//! And it waits for ever for a client that asks and then does not read. [`Progress`] tells
//! what a connection is doing and since when, so that each of these has its own limit.
//!
//! ```text
//!          request        handler ends      body ends       last byte sent
//! Headers ────────► Answering ────► Writing ────────► Ending ────► Quiet
//!    ▲                                                               │
//!    └────────────────────── a byte is heard ────────────────────────┘
//! ```
//!
//! A request that is no HTTP the library answers by itself, without a body. [`Watched`]
//! puts a problem in place of that answer on its way out, so that refusals have the same
//! form wherever they come from. It looks only at what is written in the phases `Headers`
//! and `Quiet`, when no byte of an answer of ours is under way: a value that reads like
//! such an answer is never touched. So there is one case in which the library's answer
//! goes out bare: behind another answer that the client has not taken yet.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::problem::{Code, PROBLEM_JSON, Problem};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Nothing was heard since the last answer.
    Quiet,
    /// A request has begun, or none was ever made.
    Headers,
    /// A handler is at work.
    Answering,
    /// An answer is being sent.
    Writing,
    /// An answer is there in full, and some of it may not be sent yet.
    Ending,
}

/// What a connection is doing, and since when.
///
/// Shared by the stream and the service of one connection, which one task runs.
pub(crate) struct Progress {
    start: Instant,
    /// Milliseconds after `start`, times eight, plus the phase.
    state: AtomicU64,
}

impl Progress {
    /// A connection that was made now, and must now send its first request.
    pub(crate) fn new() -> Self {
        let headers = AtomicU64::new(Phase::Headers as u64);
        Self { start: Instant::now(), state: headers }
    }

    /// Notes that bytes came in.
    fn heard(&self) {
        if self.phase() == Phase::Quiet {
            self.enter(Phase::Headers);
        }
    }

    /// Notes that the client took bytes.
    fn wrote(&self) {
        let phase = self.phase();
        if matches!(phase, Phase::Writing | Phase::Ending) {
            self.enter(phase);
        }
    }

    /// Notes that the body of an answer is complete.
    fn ended(&self) {
        if self.phase() == Phase::Writing {
            self.enter(Phase::Ending);
        }
    }

    /// Notes that nothing waits to be sent. The library flushes when it has handed on all
    /// that it had.
    fn flushed(&self) {
        if self.phase() == Phase::Ending {
            self.enter(Phase::Quiet);
        }
    }

    /// Whether what is written can only be the library's own.
    fn is_between_answers(&self) -> bool {
        matches!(self.phase(), Phase::Headers | Phase::Quiet)
    }

    /// Notes a change of phase.
    pub(crate) fn enter(&self, phase: Phase) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 3);
        self.state.store(millis << 3 | phase as u64, Ordering::Relaxed);
    }

    /// What the connection is doing.
    pub(crate) fn phase(&self) -> Phase {
        match self.state.load(Ordering::Relaxed) & 7 {
            0 => Phase::Quiet,
            1 => Phase::Headers,
            2 => Phase::Answering,
            3 => Phase::Writing,
            _ => Phase::Ending,
        }
    }

    /// For how long it has been doing that; while an answer is sent, since the client last
    /// took some of it.
    pub(crate) fn lasted(&self) -> Duration {
        let since = Duration::from_millis(self.state.load(Ordering::Relaxed) >> 3);
        self.start.elapsed().saturating_sub(since)
    }
}

/// The body of an answer, whose end is noted.
pub(crate) struct Noted {
    body: Body,
    progress: Arc<Progress>,
}

impl Noted {
    /// Notes that the answer is now being sent, and later that it is complete.
    pub(crate) fn answer(response: Response, progress: Arc<Progress>) -> Response<Self> {
        progress.enter(Phase::Writing);
        response.map(|body| Self { body, progress })
    }
}

impl Drop for Noted {
    /// The library drops a body as soon as it has taken the last of it.
    fn drop(&mut self) {
        self.progress.ended();
    }
}

impl HttpBody for Noted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose progress is noted, and whose library's own refusals become problems.
pub(crate) struct Watched<S> {
    stream: S,
    progress: Arc<Progress>,
    /// A refusal on its way out. Nothing follows it.
    refusal: Bytes,
}

impl<S> Watched<S> {
    /// Watches `stream`.
    pub(crate) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress, refusal: Bytes::new() }
    }

    /// Gives the stream back.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Takes `head` for a refusal of the library, if it is one, and has ours sent instead.
    fn replaces(&mut self, head: &[u8]) -> bool {
        if !self.progress.is_between_answers() {
            return false;
        }
        let Some(refusal) = refusal(head) else { return false };
        self.refusal = refusal;
        true
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if before < buf.filled().len() {
            self.progress.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.replaces(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.progress.wrote();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = bufs
            && self.replaces(head)
        {
            return Poll::Ready(Ok(head.len()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        self.progress.wrote();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.progress.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The problem to send instead of `head`, if that is a refusal without a body. Our own
/// refusals always have one.
fn refusal(head: &[u8]) -> Option<Bytes> {
    let rest = head.strip_prefix(b"HTTP/1.1 4")?;
    let is_bare = rest.windows(21).any(|line| line == b"\r\ncontent-length: 0\r\n");
    let (code, detail) = match rest.get(..2).filter(|_| is_bare)? {
        b"00" => (Code::MalformedRequest, "this is no HTTP/1.1 request"),
        b"14" => (Code::KeyTooLarge, "the path and query are longer than 65,534 bytes"),
        b"31" => (Code::HeadersTooLarge, "the headers have too many lines or bytes"),
        _ => return None,
    };
    Some(last_words(Problem::new(code, detail)))
}

/// A problem as the last answer on a connection, as bytes.
pub(crate) fn last_words(problem: Problem) -> Bytes {
    let status = StatusCode::from_u16(problem.status()).expect("the table has statuses only");
    let retry = if status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
    let body = serde_json::to_string(&problem.into_json()).expect("a problem is plain data");
    let length = body.len();
    Bytes::from(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {length}\r\n\
         {retry}connection: close\r\n\r\n{body}"
    ))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn only_a_refusal_without_a_body_is_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
            content-length: 0\r\ndate: x\r\n\r\n";
        let replaced = String::from_utf8(refusal(bare).unwrap().to_vec()).unwrap();
        assert!(replaced.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
        assert!(replaced.contains("\"code\":\"headers_too_large\""), "{replaced}");
        for head in [
            &b"HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 4",
            b"",
        ] {
            assert_eq!(refusal(head), None, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn a_connection_that_sends_again_is_no_longer_quiet() {
        let progress = Progress::new();
        assert_eq!(progress.phase(), Phase::Headers);
        progress.enter(Phase::Answering);
        progress.heard();
        assert_eq!(progress.phase(), Phase::Answering);
        progress.enter(Phase::Quiet);
        progress.heard();
        assert_eq!(progress.phase(), Phase::Headers);
    }

    #[test]
    fn a_connection_is_quiet_when_the_last_byte_is_sent_and_not_before() {
        let progress = Arc::new(Progress::new());
        progress.enter(Phase::Answering);
        progress.flushed();
        assert_eq!(progress.phase(), Phase::Answering);
        let answer = Noted::answer(Response::default(), Arc::clone(&progress));
        progress.flushed();
        assert_eq!(progress.phase(), Phase::Writing);
        drop(answer);
        progress.heard();
        assert_eq!(progress.phase(), Phase::Ending);
        progress.flushed();
        assert_eq!(progress.phase(), Phase::Quiet);
    }

    #[tokio::test]
    async fn a_value_that_reads_like_a_refusal_is_sent_as_it_is() {
        let value = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        for phase in [Phase::Answering, Phase::Writing, Phase::Ending] {
            let progress = Arc::new(Progress::new());
            progress.enter(phase);
            let mut watched = Watched::new(Vec::new(), progress);
            watched.write_all(value).await.unwrap();
            let written = watched.write_vectored(&[IoSlice::new(value)]).await.unwrap();
            assert_eq!(written, value.len());
            assert_eq!(watched.into_inner(), value.repeat(2), "{phase:?}");
        }
    }
}
