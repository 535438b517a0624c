//! Whether a node answers.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::within;

/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(25);

/// How long one try may take.
const TRY_MAX: Duration = Duration::from_secs(2);

/// How much of a log is shown.
const TAIL_LINES: usize = 15;

/// Waits until `GET /health` is answered with 200.
///
/// # Cancellation
///
/// Nothing is lost.
pub(super) async fn healthy(http: SocketAddr) {
    while !matches!(within(TRY_MAX, ask(http)).await, Some(Ok(true))) {
        sleep(PAUSE).await;
    }
}

async fn ask(http: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
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
