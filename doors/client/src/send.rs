//! Getting one request answered: which endpoint next, how often, how long.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, HeaderMap};
use hyper::{Method, Request, Response, Uri};
use tokio::time::Instant;

use crate::connection::Broken;
use crate::endpoint::Endpoint;
use crate::retry::{self, Outcome, Safety, Verdict};
use crate::{Client, Error, Order, Problem};

/// How much longer than the server the client waits: the server's own "not in time" tells
/// more than silence, and it has to get here.
const GRACE: Duration = Duration::from_millis(250);

/// One request, apart from whom it is sent to.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) safety: Safety,
    /// Whether the server takes `timeout` in the query.
    pub(crate) tells_timeout: bool,
}

impl Call {
    /// A read of something other than data.
    pub(crate) fn look(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            safety: Safety::Repeatable,
            tells_timeout: false,
        }
    }

    fn request(&self, endpoint: &Endpoint, left: Duration) -> Result<Request<Full<Bytes>>, Error> {
        let mut target = self.target.clone();
        if self.tells_timeout {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str("timeout=");
            target.push_str(&millis(left).to_string());
        }
        let uri = Uri::try_from(target).map_err(|err| Error::protocol(err.to_string()))?;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(HOST, endpoint.host());
        Ok(request)
    }
}

/// The time that is left as the server understands it.
pub(crate) fn millis(left: Duration) -> u128 {
    left.as_millis().clamp(1, 60_000)
}

impl Client {
    /// Sends the request until it is answered, cannot be repeated, or the time is up.
    ///
    /// Answers of any status below 500 are given back; the caller tells refusals from
    /// what it asked for.
    pub(crate) async fn send(&self, call: &Call) -> Result<Response<Bytes>, Error> {
        let options = &self.shared.options;
        let endpoints = &self.shared.endpoints;
        let deadline = Instant::now() + options.timeout;
        let mut next = self.first_endpoint();
        let mut attempts = 0;
        loop {
            let endpoint = endpoints.get(next % endpoints.len()).expect("a client has endpoints");
            let attempt = self.attempt(call, endpoint, deadline).await?;
            attempts += 1;
            match attempt.verdict(call.safety) {
                Verdict::Done => return attempt.into_answer(),
                Verdict::Unknown => return Err(attempt.into_error(call.safety)),
                Verdict::Again if attempts >= options.attempts_max => {
                    return Err(attempt.into_error(call.safety));
                }
                Verdict::Again => next += 1,
            }
            // A fresh endpoint is tried at once; a second round waits.
            let rounds = attempts / u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
            let pause =
                if rounds == 0 { Duration::ZERO } else { retry::jittered(retry::pause(rounds)) };
            if deadline <= Instant::now() + pause {
                return Err(attempt.into_error(call.safety));
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Where to begin: as the options say, but not at an endpoint that was away just now
    /// if there is another.
    fn first_endpoint(&self) -> usize {
        let endpoints = &self.shared.endpoints;
        let first = match self.shared.options.order {
            Order::AsGiven => 0,
            Order::RoundRobin => self.shared.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len(),
        };
        let from_first = endpoints.iter().enumerate().cycle().skip(first).take(endpoints.len());
        let good = from_first.into_iter().find(|(_, endpoint)| !endpoint.is_avoided());
        good.map_or(first, |(index, _)| index)
    }

    async fn attempt(
        &self,
        call: &Call,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<Attempt, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let request = call.request(endpoint, left)?;
        let came_of = match tokio::time::timeout(left, endpoint.connect()).await {
            Err(_) => Err(Broken::Unsent("cannot connect: no answer in time".to_owned())),
            Ok(Err(broken)) => Err(broken),
            Ok(Ok(mut connection)) => {
                let exchange = connection.exchange(request, self.shared.options.answer_bytes_max);
                match tokio::time::timeout_at(deadline + GRACE, exchange).await {
                    Ok(Ok(answer)) => {
                        if connection.is_ready() {
                            endpoint.keep(connection);
                        }
                        Ok(answer)
                    }
                    Ok(Err(broken)) => Err(broken),
                    Err(_) => Err(Broken::Lost("no answer in time".to_owned())),
                }
            }
        };
        match &came_of {
            Ok(_) | Err(Broken::TooLong { .. }) => endpoint.welcome(),
            Err(Broken::Unsent(_) | Broken::Lost(_)) => endpoint.avoid(),
        }
        Ok(Attempt::new(endpoint.url(), came_of))
    }
}

/// What came of one attempt.
#[derive(Debug)]
enum Attempt {
    Unsent(String),
    Lost(String),
    TooLong(String),
    Answered(Response<Bytes>),
    Failed(Box<Problem>),
}

impl Attempt {
    fn new(url: &str, came_of: Result<Response<Bytes>, Broken>) -> Self {
        match came_of {
            Ok(answer) if answer.status().is_server_error() => {
                Self::Failed(Box::new(Problem::read(answer.status().as_u16(), answer.body())))
            }
            Ok(answer) => Self::Answered(answer),
            Err(Broken::Unsent(why)) => Self::Unsent(format!("{url}: {why}")),
            Err(Broken::Lost(why)) => Self::Lost(format!("{url}: {why}")),
            Err(Broken::TooLong { bytes_max }) => {
                Self::TooLong(format!("{url}: it has more than {bytes_max} bytes"))
            }
        }
    }

    fn verdict(&self, safety: Safety) -> Verdict {
        retry::judge(
            safety,
            match self {
                Self::Unsent(_) => Outcome::Unsent,
                Self::Lost(_) => Outcome::Lost,
                Self::TooLong(_) => Outcome::Answered { status: 200, code: "" },
                Self::Answered(answer) => {
                    Outcome::Answered { status: answer.status().as_u16(), code: "" }
                }
                Self::Failed(problem) => {
                    Outcome::Answered { status: problem.status, code: &problem.code }
                }
            },
        )
    }

    fn into_answer(self) -> Result<Response<Bytes>, Error> {
        match self {
            Self::Answered(answer) => Ok(answer),
            Self::TooLong(why) => Err(Error::protocol(why)),
            Self::Unsent(_) | Self::Lost(_) | Self::Failed(_) => Err(self.into_error(Safety::Once)),
        }
    }

    fn into_error(self, safety: Safety) -> Error {
        match self {
            Self::Unsent(why) => Error::Connect { why },
            Self::Lost(why) => no_outcome(safety, why, None),
            Self::Failed(problem) if retry::says_unchanged(problem.status, &problem.code) => {
                Error::NotAttempted(problem)
            }
            Self::Failed(problem) => no_outcome(safety, problem.to_string(), Some(problem)),
            Self::TooLong(why) => Error::protocol(why),
            Self::Answered(_) => Error::protocol("an answer that was not looked at"),
        }
    }
}

fn no_outcome(safety: Safety, why: String, problem: Option<Box<Problem>>) -> Error {
    match safety {
        Safety::Repeatable => Error::NoAnswer { why, problem },
        Safety::Once => Error::Unknown { why, problem },
    }
}
