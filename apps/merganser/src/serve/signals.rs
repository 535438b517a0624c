//! Why a node stops when nothing is wrong, and a signal that must not stop it.

use std::io::{self, Read as _};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// SIGXFSZ, on Linux and the BSDs.
const FILE_TOO_LARGE: i32 = 25;

/// Lets a write beyond the limit for files (`ulimit -f`) fail. Without this, the kernel ends
/// the process there and then, and nobody learns why.
///
/// # Errors
///
/// Signals cannot be listened for.
pub(super) fn let_large_files_fail() -> io::Result<()> {
    // Whoever listens is not told: the write that fails says it all. The handler stays.
    signal(SignalKind::from_raw(FILE_TOO_LARGE)).map(drop)
}

/// Waits until somebody wants the process to end, and returns how he said it. With
/// `with_parent`, standard input is a pipe that the parent process holds open: when it
/// closes, the parent is gone, whatever killed it.
///
/// # Errors
///
/// Signals cannot be listened for.
///
/// # Cancellation
///
/// Nothing is lost.
pub(super) async fn wanted(with_parent: bool) -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let orphaned = orphaned(with_parent)?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = orphaned => "the parent process ended",
    })
}

fn orphaned(with_parent: bool) -> io::Result<impl Future<Output = ()>> {
    let (gone, is_gone) = oneshot::channel();
    if with_parent {
        // Reading a pipe blocks, and must not keep the runtime from ending: an own thread,
        // which ends with the process.
        std::thread::Builder::new().name("parent".to_owned()).spawn(move || {
            let mut stdin = io::stdin().lock();
            let mut ignored = [0; 64];
            while stdin.read(&mut ignored).is_ok_and(|read| 0 < read) {}
            // Nobody listens any more if the process is ending already.
            let _ = gone.send(());
        })?;
    } else {
        std::mem::forget(gone);
    }
    Ok(async {
        let _ = is_gone.await;
    })
}
