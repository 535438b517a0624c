//! Whether a node answers, and whether the nodes have found each other.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::within;

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// How long one try may take.
const TRY_MAX: Duration = Duration::from_secs(2);

/// The most bytes of an answer: a status lists every keyspace and table.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// How much of a log is shown.
const TAIL_LINES: usize = 15;

/// Waits until `GET /health` is answered with 200.
///
/// # Cancellation
///
/// Nothing is lost.
pub(super) async fn healthy(http: SocketAddr) {
    while ask(http, "/health").await.is_none() {
        sleep(PAUSE).await;
    }
}

/// Waits until a node believes so many nodes to be alive: before, a keyspace cannot be
/// declared, and the first command of a newcomer would fail.
///
/// # Cancellation
///
/// Nothing is lost.
pub(super) async fn acquainted(http: SocketAddr, nodes: usize) {
    #[derive(Deserialize)]
    struct Status {
        nodes: Vec<Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        alive: bool,
    }
    loop {
        let status = ask(http, "/v1/status").await;
        let status = status.and_then(|body| serde_json::from_slice::<Status>(&body).ok());
        let alive =
            status.map_or(0, |status| status.nodes.iter().filter(|node| node.alive).count());
        if nodes <= alive {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The body of an answer with status 200 to a `GET`, or nothing.
async fn ask(http: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let answer = within(TRY_MAX, exchange(http, path)).await?.ok()?;
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    answer.starts_with(b"HTTP/1.1 200 ").then(|| answer.get(body..).map(<[u8]>::to_vec))?
}

async fn exchange(http: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The last lines of a log file.
pub(super) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    if lines.is_empty() {
        return "  (empty)".to_owned();
    }
    lines.iter().skip(skipped).map(|line| format!("  {line}\n")).collect()
}
