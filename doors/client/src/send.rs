//! Getting one request answered: which endpoint next, how often, how long.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use tokio::time::Instant;

use crate::connection::Broken;
use crate::endpoint::Endpoint;
use crate::retry::{self, Outcome, Safety, Verdict};
use crate::{Client, Error, Order, Problem};

/// Says of a write with a token that an earlier attempt may have been applied, and of an answer
/// that it was. Nodes remember such a write for longer.
pub(crate) const REPEATED: HeaderName = HeaderName::from_static("merganser-repeated");

/// How much longer than the server the client waits: the server's own "not in time" tells
/// more than silence, and it has to get here.
const GRACE: Duration = Duration::from_millis(250);

/// The least that one attempt may take where another could follow: longer than a write through
/// a crowded disk, or a value over a slow line, so that it is not given up for nothing.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);

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

    /// The request, `is_repeated` if an earlier one may have been applied.
    fn request(
        &self,
        endpoint: &Endpoint,
        left: Duration,
        is_repeated: bool,
    ) -> Result<Request<Full<Bytes>>, Error> {
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
        if is_repeated {
            request.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
        }
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
        let count = u32::try_from(self.shared.endpoints.len()).unwrap_or(u32::MAX);
        let deadline = Instant::now() + options.timeout;
        let (mut next, mut attempts, mut is_unsure) = (self.first_endpoint(), 0, false);
        loop {
            let endpoint = self.endpoint(next);
            let until = self.until(call, deadline, attempts + 1 < options.attempts_max);
            let attempt = self.attempt(call, endpoint, until, is_unsure).await?;
            attempts += 1;
            let verdict = attempt.verdict(call.safety);
            let was_unsure = is_unsure;
            is_unsure |= attempt.may_be_applied(call.safety);
            match verdict {
                Verdict::Done if was_unsure => return attempt.into_answer_at_last(),
                Verdict::Done => return attempt.into_answer(),
                Verdict::Unknown => return Err(attempt.into_error(call.safety, is_unsure)),
                Verdict::Again if attempts >= options.attempts_max => {
                    return Err(attempt.into_error(call.safety, is_unsure));
                }
                Verdict::Again => {}
            }
            let (then, rest) = self.next_endpoint(next + 1);
            next = then;
            let pause = rest + retry::jittered(retry::pause(attempts, count));
            if deadline <= Instant::now() + pause {
                return Err(attempt.into_error(call.safety, is_unsure));
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    fn endpoint(&self, index: usize) -> &Endpoint {
        let endpoints = &self.shared.endpoints;
        endpoints.get(index % endpoints.len()).expect("a client has endpoints")
    }

    /// Until when an attempt may take. A node that hangs must not use up all the time that
    /// another could answer in, where there is another and the request may go there.
    fn until(&self, call: &Call, deadline: Instant, is_not_last: bool) -> Instant {
        let now = Instant::now();
        let left = deadline.saturating_duration_since(now);
        let may_go_on = call.tells_timeout
            && call.safety != Safety::Once
            && is_not_last
            && 1 < self.shared.endpoints.len();
        if may_go_on { now + left.min((left / 2).max(ATTEMPT_MIN)) } else { deadline }
    }

    /// The next endpoint from `first` on that has not asked to be left alone, and how long that
    /// is if all have.
    fn next_endpoint(&self, first: usize) -> (usize, Duration) {
        let all = first..first + self.shared.endpoints.len();
        let rests = all.map(|index| (index, self.endpoint(index).rests_for()));
        rests.min_by_key(|(index, rest)| (*rest, *index)).expect("a client has endpoints")
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
        let is_good = |(_, endpoint): &(usize, &Arc<Endpoint>)| {
            !endpoint.is_avoided() && endpoint.rests_for().is_zero()
        };
        let good = from_first.into_iter().find(is_good);
        good.map_or(first, |(index, _)| index)
    }

    async fn attempt(
        &self,
        call: &Call,
        endpoint: &Endpoint,
        until: Instant,
        is_repeated: bool,
    ) -> Result<Attempt, Error> {
        let left = until.saturating_duration_since(Instant::now());
        let request = call.request(endpoint, left, is_repeated)?;
        let came_of = match tokio::time::timeout(left, endpoint.connect()).await {
            Err(_) => Err(Broken::Unsent("cannot connect: no answer in time".to_owned())),
            Ok(Err(broken)) => Err(broken),
            Ok(Ok(mut connection)) => {
                let exchange = connection.exchange(request, self.shared.options.answer_bytes_max);
                match tokio::time::timeout_at(until + GRACE, exchange).await {
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
        if let Some(rest) = came_of.as_ref().ok().and_then(retry_after) {
            endpoint.rest(rest);
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

    /// Whether a write may have been applied by this attempt, if it was not answered with
    /// success.
    fn may_be_applied(&self, safety: Safety) -> bool {
        safety == Safety::Known
            && match self {
                Self::Unsent(_) => false,
                Self::Lost(_) => true,
                Self::Failed(problem) => !retry::says_unchanged(problem.status, &problem.code),
                Self::TooLong(_) | Self::Answered(_) => false,
            }
    }

    fn into_answer(self) -> Result<Response<Bytes>, Error> {
        match self {
            Self::Answered(answer) => Ok(answer),
            Self::TooLong(why) => Err(Error::protocol(why)),
            Self::Unsent(_) | Self::Lost(_) | Self::Failed(_) => {
                Err(self.into_error(Safety::Once, false))
            }
        }
    }

    /// The answer to a write of which an earlier attempt may have been applied. A refusal is
    /// about this attempt only.
    fn into_answer_at_last(self) -> Result<Response<Bytes>, Error> {
        let answer = self.into_answer()?;
        if !answer.status().is_client_error() {
            return Ok(answer);
        }
        let problem = Problem::read(answer.status().as_u16(), answer.body());
        let why = format!("an earlier attempt was not answered, and the last one was: {problem}");
        Err(Error::Unknown { why, problem: Some(Box::new(problem)), token: None })
    }

    /// What to say of it as the last attempt, if an earlier one `may` have been applied.
    fn into_error(self, safety: Safety, may: bool) -> Error {
        match self {
            Self::Unsent(why) if may => no_outcome(safety, why, None),
            Self::Failed(problem) if may => no_outcome(safety, problem.to_string(), Some(problem)),
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
        Safety::Known | Safety::Once => Error::Unknown { why, problem, token: None },
    }
}

/// The longest that anybody is left alone: it may be a proxy that asks for a day.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long a server that has too much to do wants to be left alone. A date is not understood.
fn retry_after(answer: &Response<Bytes>) -> Option<Duration> {
    let line = answer.headers().get(RETRY_AFTER).filter(|_| answer.status().is_server_error())?;
    let time = Duration::from_secs(line.to_str().ok()?.trim().parse().ok()?);
    Some(time.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_left_alone_for_longer_than_a_minute() {
        let asks = |status: u16, line: &str| {
            let answer = Response::builder().status(status).header(RETRY_AFTER, line);
            retry_after(&answer.body(Bytes::new()).unwrap())
        };
        assert_eq!(asks(503, "7"), Some(Duration::from_secs(7)));
        assert_eq!(asks(503, " 86400 "), Some(Duration::from_secs(60)));
        for (status, line) in [(503, "Sun, 22 Nov 2026 08:00:00 GMT"), (503, "-1"), (200, "7")] {
            assert_eq!(asks(status, line), None, "{status} {line}");
        }
    }
}
