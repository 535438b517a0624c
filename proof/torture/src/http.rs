//! Requests of the harness itself, apart from the client under test.
//!
//! The client gives up soon after the deadline that it tells the server. To see whether a
//! server keeps the deadline one has to wait longer.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a server said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// What a header line says.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(said, _)| said.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What an answer calls the problem, if it is one.
    pub fn code(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(problem.get("code")?.as_str()?.to_owned())
    }
}

/// Asks once, over a connection of its own.
///
/// # Errors
///
/// There is no connection, or nothing is said for as long as `patience`.
pub fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: &str,
    patience: Duration,
) -> io::Result<Answer> {
    ask_with(address, method, target, &[], body, patience)
}

/// The same with header lines.
///
/// # Errors
///
/// As for [`ask`].
pub fn ask_with(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
    patience: Duration,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let length = body.len();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close");
    for (name, value) in headers {
        head += &format!("\r\n{name}: {value}");
    }
    stream.write_all(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    read(&answer).ok_or_else(|| io::Error::other(format!("no HTTP: {answer:?}")))
}

fn read(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_known_by_its_code_and_a_value_has_none() {
        let problem = read("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{\"code\":\"x\"}");
        assert_eq!(problem.as_ref().map(|answer| answer.status), Some(503));
        assert_eq!(problem.and_then(|answer| answer.code()), Some("x".to_owned()));
        let value = read("HTTP/1.1 200 OK\r\n\r\n17").expect("this is an answer");
        assert_eq!((value.code(), value.body.as_str()), (None, "17"));
        assert_eq!(read("nonsense"), None);
    }
}
