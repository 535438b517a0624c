//! Connections: who may have one, for how long, and how it ends.
//!
//! A node must outlive clients that behave badly: such as send one byte of a request every
//! few seconds, open thousands of connections, or send a hundred megabytes that nobody asked
//! for. Every connection therefore has a deadline for the headers of a request, their
//! number has a limit, and no more is read than a route allows.
//!
//! When all places are taken, those who look after the node must still learn that. Some places
//! beyond the limit are therefore spare: whoever gets one has a second to ask one question about
//! the node, and anything else is refused.
//!
//! A connection that we end is not simply closed: a client that is still sending would
//! then lose our last answer to the reset that follows. We say that we are done, and read
//! on for a moment without keeping anything.
//!
//! HTTP/1.1 only: with keep-alive and pipelining, and without upgrades.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::HeaderValue;
use axum::http::Request;
use axum::http::header::{CONNECTION, DATE};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::changes::Stopping;
use crate::connection::{Noted, Phase, Progress, Watched, last_words};
use crate::date;
use crate::gate::{Gate, Gatekeeper};
use crate::problem::{Code, Problem};

/// What [`serve`] grants to clients.
#[derive(Clone, Copy, Debug)]
pub struct ServeLimits {
    /// The most connections at once. Further ones are answered 503 and closed, but for some
    /// that ask how the node is.
    pub connections_max: usize,
    /// The time from the first byte of a request, or from the beginning of a connection,
    /// to the end of the headers.
    pub header_timeout: Duration,
    /// The time that a connection may be quiet between two requests, and the time that a
    /// client may take none of its answer.
    pub quiet_timeout: Duration,
    /// The time that requests under way get to end when the server stops.
    pub drain_timeout: Duration,
}

impl Default for ServeLimits {
    /// 10,000 connections, of some 10 KiB each; 5 s for headers, which fit into one packet
    /// as a rule; 2 minutes of quiet, longer than clients keep connections in a pool; 10 s
    /// to end, twice the time that a request takes at the most unless it says otherwise.
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_timeout: Duration::from_secs(5),
            quiet_timeout: Duration::from_secs(120),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// The most bytes of the headers of one request, the request line included: the longest
/// path that HTTP libraries take, and the longest context.
const HEADER_BYTES_MAX: usize = 136 * 1024;

/// How long the listener rests after it could not accept, as when the process has run out
/// of file descriptors. Without a rest it would take a whole core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long we read on after our last word.
const LINGER: Duration = Duration::from_secs(5);

/// Connections beyond the limit. Each is over within some seconds at the most, and at once when its
/// client takes the refusal and hangs up, so that clients which are turned away and come back as
/// they are told, every second, leave room for some probes.
const SPARE_MAX: usize = 128;

/// What a spare connection may take for its one request, and for reading our last word.
const SPARE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves `router` on `listener` until `shutdown` is ready. Then no more connections are
/// accepted, quiet ones are closed, and requests under way have
/// [`drain_timeout`](ServeLimits::drain_timeout) to end.
///
/// # Cancellation
///
/// Dropping the future closes every connection at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    gate: Arc<dyn Gate>,
    shutdown: impl Future<Output = ()>,
) {
    let gate = Arc::new(Gatekeeper::new(gate));
    let places = Places::new(limits);
    let mut shutdown = pin!(shutdown);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match places.take() {
                Some((grant, place)) => {
                    let stopping = stopping.clone();
                    let (router, gate) = (router.clone(), Arc::clone(&gate));
                    connections.spawn(async move {
                        let _held_until_the_end = place;
                        converse(stream, router, gate, grant, stopping).await;
                    });
                }
                None => turn_away(stream, limits.connections_max),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection, will go on after a moment");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(limits.drain_timeout, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests did not end in time, closing");
        connections.shutdown().await;
    }
}

/// The places that there are for connections. The spare ones are counted for themselves: were all
/// counted together, each that lives would take the next ordinary place that comes free.
struct Places {
    limits: ServeLimits,
    ordinary: Arc<Semaphore>,
    spare: Arc<Semaphore>,
}

impl Places {
    fn new(limits: ServeLimits) -> Self {
        let ordinary = limits.connections_max.min(Semaphore::MAX_PERMITS);
        let (ordinary, spare) = (Semaphore::new(ordinary), Semaphore::new(SPARE_MAX));
        Self { limits, ordinary: Arc::new(ordinary), spare: Arc::new(spare) }
    }

    /// A place for one connection, which has it as long as it keeps the permit. An ordinary one
    /// if there is one.
    fn take(&self) -> Option<(Grant, OwnedSemaphorePermit)> {
        let of = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        if let Some(place) = of(&self.ordinary) {
            return Some((Grant::ordinary(self.limits), place));
        }
        of(&self.spare).map(|place| (Grant::spare(self.limits), place))
    }
}

/// What one connection may do.
#[derive(Clone, Copy, Debug)]
struct Grant {
    limits: ServeLimits,
    /// How long we read on after our last word.
    linger: Duration,
    /// Whether it is one beyond the limit, which may ask once how the node is.
    is_spare: bool,
}

impl Grant {
    fn ordinary(limits: ServeLimits) -> Self {
        Self { limits, linger: LINGER, is_spare: false }
    }

    fn spare(limits: ServeLimits) -> Self {
        let limits = ServeLimits {
            header_timeout: limits.header_timeout.min(SPARE_TIMEOUT),
            quiet_timeout: limits.quiet_timeout.min(SPARE_TIMEOUT),
            ..limits
        };
        Self { limits, linger: LINGER.min(SPARE_TIMEOUT), is_spare: true }
    }

    /// The refusal, if a request for this path is not for such a connection.
    fn refuses(&self, path: &str) -> Option<Response> {
        let is_question =
            matches!(path, "/metrics" | "/v1/status" | "/health") || path.starts_with("/health/");
        let is_refused = self.is_spare && !is_question;
        is_refused.then(|| no_place(self.limits.connections_max).into_response())
    }
}

fn no_place(max: usize) -> Problem {
    let detail = format!("the node has {max} connections already; retry after a moment");
    Problem::new(Code::Overloaded, detail)
}

/// Says why there is no connection for this client, if that can be said without waiting.
fn turn_away(stream: TcpStream, max: usize) {
    let words = last_words(no_place(max));
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(&words);
    }
}

/// How a conversation came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// One side closed the connection, or spoke no HTTP.
    Closed,
    /// The client did not end its headers in time.
    Slow,
    /// The client had nothing to say for too long, or did not take what it asked for.
    Quiet,
}

async fn converse(
    stream: TcpStream,
    router: Router,
    gate: Arc<Gatekeeper>,
    grant: Grant,
    stopping: watch::Receiver<bool>,
) {
    // Answers are written whole. Waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let progress = Arc::new(Progress::new());
    let service = Guarded {
        router: TowerToHyperService::new(router),
        gate,
        grant,
        stopping: stopping.clone(),
        refused: Arc::default(),
        progress: Arc::clone(&progress),
    };
    let stream = TokioIo::new(Watched::new(stream, Arc::clone(&progress)));
    let mut connection = http1::Builder::new()
        .half_close(false)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(2 * HEADER_BYTES_MAX)
        .header_read_timeout(None)
        .serve_connection(stream, service);
    let end = drive(&mut connection, &progress, grant.limits, stopping).await;
    let mut stream = connection.into_parts().io.into_inner().into_inner();
    if end == End::Slow {
        let detail = "the headers did not arrive in time";
        let words = last_words(Problem::new(Code::RequestTimeout, detail));
        let _ = timeout(grant.linger, stream.write_all(&words)).await;
    }
    let _ = timeout(grant.linger, linger(stream)).await;
}

async fn drive(
    connection: &mut http1::Connection<TokioIo<Watched<TcpStream>>, Guarded>,
    progress: &Progress,
    limits: ServeLimits,
    mut stopping: watch::Receiver<bool>,
) -> End {
    let mut ticks = interval(limits.header_timeout.min(limits.quiet_timeout) / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            result = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a client's connection ended");
                }
                return End::Closed;
            }
            _ = stopping.wait_for(|stop| *stop), if !told => {
                told = true;
                Pin::new(&mut *connection).graceful_shutdown();
            }
            _ = ticks.tick() => match progress.phase() {
                // The node and the time for a body limit this one.
                Phase::Answering => {}
                Phase::Headers if limits.header_timeout <= progress.lasted() => return End::Slow,
                Phase::Headers => {}
                Phase::Quiet | Phase::Writing | Phase::Ending => {
                    if limits.quiet_timeout <= progress.lasted() {
                        return End::Quiet;
                    }
                }
            },
        }
    }
}

/// Says that we are done, and throws away what the client still sends.
async fn linger(mut stream: TcpStream) {
    let mut rubbish = vec![0; 64 * 1024];
    if stream.shutdown().await.is_ok() {
        while stream.read(&mut rubbish).await.is_ok_and(|bytes| 0 < bytes) {}
    }
}

/// The router, as the service of one connection.
///
/// A panic in a handler is a mistake of ours. The client is told so, and neither its
/// connection nor the requests behind it are lost.
struct Guarded {
    router: TowerToHyperService<Router>,
    gate: Arc<Gatekeeper>,
    grant: Grant,
    /// Tells those who wait for long that the server stops.
    stopping: watch::Receiver<bool>,
    /// When this client is listened to again, if its last request was refused for want of room.
    refused: Arc<Mutex<Option<Instant>>>,
    progress: Arc<Progress>,
}

/// Takes when the client is listened to again, which is once only.
fn take(refused: &Mutex<Option<Instant>>) -> Option<Instant> {
    refused.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Service<Request<Incoming>> for Guarded {
    type Response = Response<Noted>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.progress.enter(Phase::Answering);
        let progress = Arc::clone(&self.progress);
        if let Some(again_at) = take(&self.refused) {
            return self.call_again(request, again_at);
        }
        if let Some(mut refusal) = self.grant.refuses(request.uri().path()) {
            dress(&mut refusal, self.grant);
            return Box::pin(std::future::ready(Ok(Noted::answer(refusal, progress))));
        }
        if let Some(refusal) = self.gate.refuses(request.uri().path()) {
            let refusal = self.refuse(refusal);
            return Box::pin(std::future::ready(Ok(refusal)));
        }
        request.extensions_mut().insert(Stopping(self.stopping.clone()));
        let (answer, grant) = (self.router.call(request), self.grant);
        Box::pin(async move {
            let mut answer = guard(answer).await;
            dress(&mut answer, grant);
            Ok(Noted::answer(answer, progress))
        })
    }
}

/// What every answer has; that of a spare connection is its last.
fn dress(answer: &mut Response, grant: Grant) {
    answer.headers_mut().insert(DATE, date::now());
    if grant.is_spare {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

impl Guarded {
    /// Answers with a refusal, and remembers it.
    fn refuse(&self, mut refusal: Response) -> Response<Noted> {
        let again_at = Some(self.gate.again_at());
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = again_at;
        refusal.headers_mut().insert(DATE, date::now());
        Noted::answer(refusal, Arc::clone(&self.progress))
    }

    /// Answers a client that was refused the last time, when it is its turn.
    fn call_again(&self, request: Request<Incoming>, again_at: Instant) -> Answering {
        let guarded = Self {
            router: self.router.clone(),
            gate: Arc::clone(&self.gate),
            grant: self.grant,
            stopping: self.stopping.clone(),
            refused: Arc::clone(&self.refused),
            progress: Arc::clone(&self.progress),
        };
        Box::pin(async move {
            tokio::time::sleep_until(again_at.into()).await;
            guarded.call(request).await
        })
    }
}

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Noted>, Infallible>> + Send>>;

async fn guard(answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        // Whatever the panic left half done is dropped with the future and never seen.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(response))) => Poll::Ready(response),
            Err(_) => Poll::Ready(Problem::internal("a handler panicked").into_response()),
        }
    })
    .await
}
