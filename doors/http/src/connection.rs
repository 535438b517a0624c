//! What the library beneath cannot see or say about a connection.
//!
//! The HTTP library counts the time a client takes for its headers from the end of the
//! last request, so it would close a quiet connection of a pool as if it were a slow one.
//! [`Progress`] tells the two apart: a *quiet* connection has sent nothing since its last
//! answer, a *slow* one has begun a request and not ended its headers.
//!
//! And a request that is no HTTP the library answers by itself, without a body.
//! [`Watched`] puts a problem in place of that answer on its way out, so that every
//! refusal that a client sees says what was wrong in the same form.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::problem::{Code, PROBLEM_JSON, Problem};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Nothing was heard since the last answer.
    Quiet,
    /// A request has begun, or none was ever made.
    Headers,
    /// A request is being answered.
    Answering,
}

/// What a connection is doing, and since when.
///
/// Shared by the stream and the service of one connection, which one task runs.
pub(crate) struct Progress {
    start: Instant,
    /// Milliseconds after `start`, times four, plus the phase.
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

    /// Notes a change of phase.
    pub(crate) fn enter(&self, phase: Phase) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        self.state.store(millis << 2 | phase as u64, Ordering::Relaxed);
    }

    /// What the connection is doing.
    pub(crate) fn phase(&self) -> Phase {
        match self.state.load(Ordering::Relaxed) & 3 {
            0 => Phase::Quiet,
            1 => Phase::Headers,
            _ => Phase::Answering,
        }
    }

    /// For how long it has been doing that.
    pub(crate) fn lasted(&self) -> Duration {
        let since = Duration::from_millis(self.state.load(Ordering::Relaxed) >> 2);
        self.start.elapsed().saturating_sub(since)
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
        if let Some(refusal) = refusal(buf) {
            self.refusal = refusal;
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = bufs
            && let Some(refusal) = refusal(head)
        {
            self.refusal = refusal;
            return Poll::Ready(Ok(head.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
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
}
