//! Changes as server-sent events.
//!
//! ```text
//! retry: 1000
//! id: AQID..                        the cursor, as soon as there is one
//!
//! event: change
//! data: {"key":"tea","deleted":false,"context":"..","values":[..]}
//!
//! id: AQIE..                        with the last change of a page
//! event: change
//! data: {"key":"rum","deleted":true,"context":".."}
//!
//! : nothing has changed              after fifteen seconds, so that nobody on the way gives up
//! ```
//!
//! The cursor comes with the last event of a page, and alone if there is no event. A client takes
//! an `id` for all events that follow it, so one that is cut off in the middle of a page goes on
//! with the page before, and is told some of it twice. A cursor has some thousand
//! characters: with every event it would be most of what is sent.
//!
//! The next page is asked for when the client has taken the last one. A slow client is
//! therefore told less often, and then the state of each key once: what it did not see is superseded.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use model::Watched;
use serde::Serialize;

use super::{Feed, Stopping};
use crate::Node;
use crate::budget::Share;
use crate::problem::{NOSNIFF, Problem};

/// How long nothing is sent at the most. Proxies close what is silent for a minute, and some earlier.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long nothing is asked after a problem that may be over then.
const PAUSE: Duration = Duration::from_secs(1);

/// How much is handed on at once: the library keeps what it is given.
const PIECE_BYTES: usize = 64 << 10;

/// Begins a stream with what there is, so that what cannot be begun is refused with its status.
pub(super) async fn begin<N: Node>(mut feed: Feed<N>) -> Result<Response, Problem> {
    let is_reading = feed.position.reading.is_some();
    let first = feed.page(Duration::ZERO).await?;
    let cursor = feed.cursor()?;
    let mut teller = Teller { feed, is_reading, silent: 0, cursor: String::new(), is_over: false };
    let mut text = "retry: 1000\n".to_owned();
    teller.tell(&first, cursor, &mut text);
    let share = teller.feed.door.answers.share();
    let begun = Told { teller, text: text.into(), share };
    let next: Telling<N> = Box::pin(std::future::ready(begun));
    let events = Events { next: Some(next), piece: Bytes::new(), share: None };
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    Ok(response)
}

/// What was told, and who tells the next.
struct Told<N> {
    teller: Teller<N>,
    text: Bytes,
    /// What it takes of the memory for answers, as far as there was any.
    share: Share,
}

type Telling<N> = Pin<Box<dyn Future<Output = Told<N>> + Send>>;

/// Turns pages into events.
struct Teller<N> {
    feed: Feed<N>,
    /// Whether the table is being read from its beginning.
    is_reading: bool,
    /// How many shards were silent the last time.
    silent: u16,
    /// The cursor that was told last.
    cursor: String,
    is_over: bool,
}

impl<N: Node> Teller<N> {
    async fn next(mut self) -> Told<N> {
        let mut text = String::new();
        let page = match self.feed.page(HEARTBEAT).await {
            Ok(watched) => self.feed.cursor().map(|cursor| (watched, cursor)),
            Err(problem) => Err(problem),
        };
        match page {
            Ok((watched, cursor)) => self.tell(&watched, cursor, &mut text),
            Err(problem) if problem.status() == 503 => {
                let _ = writeln!(text, ": {}\n", problem.code());
                let stopping = Stopping::stopped(self.feed.stopping.as_mut());
                tokio::select! { () = stopping => {} () = tokio::time::sleep(PAUSE) => {} }
            }
            Err(problem) => {
                event("problem", &problem.into_json(), &mut text);
                self.is_over = true;
            }
        }
        let stopping = self.feed.stopping.as_ref();
        self.is_over |= stopping.is_some_and(|Stopping(stopping)| *stopping.borrow());
        let mut share = self.feed.door.answers.share();
        // What is read is in memory already: without room for it nothing would be won by waiting.
        share.take(text.len());
        Told { teller: self, text: text.into(), share }
    }

    /// Writes a page as events, the last of them with the cursor.
    fn tell(&mut self, watched: &Watched, cursor: String, text: &mut String) {
        if watched.rewound != 0 {
            event("rewound", &Rewound { writes: watched.rewound }, text);
        }
        if std::mem::replace(&mut self.silent, watched.silent) != watched.silent {
            event("silent", &Silent { shards: watched.silent }, text);
        }
        let is_new = self.cursor != cursor;
        let last = watched.changes.len().wrapping_sub(1);
        for (index, changed) in watched.changes.iter().enumerate() {
            if index == last && is_new {
                let _ = writeln!(text, "id: {cursor}");
            }
            event("change", &self.feed.change(changed), text);
        }
        match (watched.changes.is_empty(), is_new) {
            (true, true) => drop(writeln!(text, "id: {cursor}\n")),
            (true, false) => text.push_str(": nothing has changed\n\n"),
            (false, _) => {}
        }
        self.cursor = cursor;
        if self.is_reading && self.feed.position.reading.is_none() {
            self.is_reading = false;
            event("live", &Live {}, text);
        }
    }
}

/// Writes between the told and its place were taken back.
#[derive(Serialize)]
struct Rewound {
    writes: u64,
}

/// So many shards do not answer; none any more if it is zero.
#[derive(Serialize)]
struct Silent {
    shards: u16,
}

/// All that there was has been told.
#[derive(Serialize)]
struct Live {}

/// Appends an event. JSON has no line breaks in it.
fn event<T: Serialize>(name: &str, data: &T, text: &mut String) {
    let data = serde_json::to_string(data).expect("our own types are plain data");
    let _ = writeln!(text, "event: {name}\ndata: {data}\n");
}

/// The body of a stream.
struct Events<N> {
    next: Option<Telling<N>>,
    /// What was told and not handed on.
    piece: Bytes,
    share: Option<Share>,
}

impl<N: Node> HttpBody for Events<N> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        while self.piece.is_empty() {
            self.share = None;
            let Some(next) = self.next.as_mut() else { return Poll::Ready(None) };
            let Told { teller, text, share } = ready!(next.as_mut().poll(cx));
            self.next = if teller.is_over { None } else { Some(Box::pin(teller.next())) };
            (self.piece, self.share) = (text, Some(share));
        }
        let bytes = self.piece.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(bytes)))))
    }
}
