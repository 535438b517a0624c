//! A connection that speaks just enough HTTP to be cheap.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection, with one request under way.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Whether the server said that it closes the connection.
    pub(crate) is_closing: bool,
}

/// What matters of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) has_retry_after: bool,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), is_closing: false })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        loop {
            if let Some((answer, bytes, is_closing)) = parse(&self.buffer)? {
                self.buffer.drain(..bytes);
                self.is_closing = is_closing;
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Reads an answer once it is complete: what it says, its bytes, and whether it is the last.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize, bool)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let head = bytes.get(..end).and_then(|head| str::from_utf8(head).ok()).ok_or_else(wrong)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
    let (mut length, mut has_retry_after, mut is_closing) = (0, false, false);
    for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
        match name {
            "content-length" => length = value.parse().map_err(|_| wrong())?,
            "retry-after" => has_retry_after = true,
            "connection" => is_closing = value == "close",
            _ => {}
        }
    }
    let whole = end + 4 + length;
    let answer = Answer { status, has_retry_after };
    Ok((whole <= bytes.len()).then_some((answer, whole, is_closing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_the_last_byte_of_its_body() {
        let text = b"HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\nno";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]).unwrap(), None, "{end}");
        }
        let answer = Answer { status: 503, has_retry_after: true };
        assert_eq!(parse(text).unwrap(), Some((answer, text.len(), false)));
        let empty = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\nHTTP";
        let answer = Answer { status: 204, has_retry_after: false };
        assert_eq!(parse(empty).unwrap(), Some((answer, empty.len() - 4, true)));
    }
}
