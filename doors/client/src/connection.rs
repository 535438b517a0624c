//! One keep-alive HTTP/1.1 connection, and what became of a request on it.
//!
//! Whether a request may be repeated depends on one fact: can the server have seen it? So a
//! failure says that and little else. The HTTP machinery runs inside the future of the
//! request itself and not in a task of its own: no wake-up travels between tasks, which is
//! a good part of what a small request costs. The price is that an idle connection learns
//! of its end only when it is looked at again, hence [`Connection::is_usable`].

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long opening a connection may take. Above a lost SYN and its first resend (1 s).
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The server cannot have seen the request.
    Unsent(String),
    /// The server may have seen it, in part or whole, and may have acted on it.
    Lost(String),
    /// The server answered, but with more bytes than the client takes.
    TooLong {
        /// The most it takes.
        bytes_max: usize,
    },
}

/// An open connection. Dropping it closes it, and with it the request under way.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; nothing once the connection has ended.
    driver: Option<Pin<Box<Driver>>>,
}

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

impl Connection {
    /// Opens a connection.
    pub(crate) async fn open(address: &str) -> Result<Self, Broken> {
        let opening = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = match opening.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(err)) => return Err(Broken::Unsent(format!("cannot connect: {err}"))),
            Err(_) => return Err(Broken::Unsent("cannot connect: no answer in time".to_owned())),
        };
        // Requests are written whole; waiting to fill a packet only delays them.
        let unsent = |err: &dyn std::error::Error| Broken::Unsent(err.to_string());
        stream.set_nodelay(true).map_err(|err| unsent(&err))?;
        let opened = http1::Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, driver) = opened.map_err(|err| unsent(&err))?;
        let mut connection = Self { sender, driver: Some(Box::pin(driver)) };
        connection.look().await;
        Ok(connection)
    }

    /// Returns whether a request may be tried on this idle connection.
    pub(crate) async fn is_usable(&mut self) -> bool {
        self.look().await;
        self.is_ready()
    }

    /// Returns whether the last exchange left the connection fit for another.
    pub(crate) fn is_ready(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Sends one request and takes the whole answer.
    ///
    /// # Cancellation
    ///
    /// The request may have been sent. The connection must not be used again.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, Broken> {
        let answering = self.sender.try_send_request(request);
        let answer = async {
            let answer = answering.await.map_err(|mut err| {
                let why = err.error().to_string();
                if err.take_message().is_some() { Broken::Unsent(why) } else { Broken::Lost(why) }
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, bytes_max).collect().await.map_err(|err| {
                if err.is::<LengthLimitError>() {
                    Broken::TooLong { bytes_max }
                } else {
                    Broken::Lost(err.to_string())
                }
            })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        drive(&mut self.driver, answer).await
    }

    /// Sends one request and takes the head of the answer. The body comes through [`rest`](Self::rest).
    ///
    /// # Cancellation
    ///
    /// As [`exchange`](Self::exchange).
    pub(crate) async fn begin(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Broken> {
        let answer = self.sender.send_request(request);
        drive(&mut self.driver, answer).await.map_err(|err| Broken::Lost(err.to_string()))
    }

    /// Lets the bytes move while something waits for them.
    pub(crate) async fn rest<T>(&mut self, waits: impl Future<Output = T>) -> T {
        drive(&mut self.driver, waits).await
    }

    /// Lets the driver notice what has happened, without waiting.
    async fn look(&mut self) {
        poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(cx).is_ready()
            {
                self.driver = None;
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// Runs `answer` with the driver beside it. A driver that ends is dropped, which fails the
/// answer if it is still open.
async fn drive<T>(driver: &mut Option<Pin<Box<Driver>>>, answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        if let Some(running) = driver
            && running.as_mut().poll(cx).is_ready()
        {
            *driver = None;
        }
        // The driver may have brought the answer just now: its wake-up would only come
        // round through the scheduler.
        answer.as_mut().poll(cx)
    })
    .await
}
