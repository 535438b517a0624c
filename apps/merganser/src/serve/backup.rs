//! Sending a checkpoint of the disk, beside the loop.
//!
//! Reading a whole disk takes minutes, and the loop must not wait for it. So a thread of its own
//! reads, from a checkpoint that nothing changes any more, and hands on what it has read; it rests
//! while the client has not taken that. What it costs the others is the disk's time, and a few
//! pieces of memory.

use std::sync::Arc;

use backup::stream::{self, Counts, Head};
use bytes::Bytes;
use http::NoBackup;
use storage::{Checkpoint, CheckpointError, Checkpoints};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::millis_now;

/// Pieces that were read and not taken. More would only be memory.
const PIECES_MAX: usize = 4;

/// How much is read before it is handed on. A piece has one record more at the most.
const PIECE_BYTES: usize = 256 << 10;

/// Who takes checkpoints of the disk, one at a time.
#[derive(Clone)]
pub(super) struct Backups {
    checkpoints: Checkpoints,
    place: Arc<Semaphore>,
}

impl Backups {
    /// Of this disk.
    pub(super) fn of(checkpoints: Checkpoints) -> Self {
        Self { checkpoints, place: Arc::new(Semaphore::new(1)) }
    }

    /// Takes a checkpoint, and begins to send it.
    ///
    /// # Cancellation
    ///
    /// The thread that reads finds at its next piece that nobody takes it, and ends.
    pub(super) async fn begin(&self) -> Result<Receiver<Bytes>, NoBackup> {
        let place = Arc::clone(&self.place).try_acquire_owned();
        let place = place.map_err(|_| NoBackup::UnderWay)?;
        let (pieces, received) = channel(PIECES_MAX);
        let (tell, told) = oneshot::channel();
        let checkpoints = self.checkpoints.clone();
        // Not waited for: it ends with whoever takes the pieces, and the process ends without it.
        tokio::task::spawn_blocking(move || match checkpoints.take() {
            Ok(checkpoint) => {
                if tell.send(Ok(())).is_ok() {
                    send(&checkpoint, &pieces, place);
                }
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        });
        match told.await {
            Ok(Ok(())) => Ok(received),
            Ok(Err(error)) => Err(why(&error)),
            Err(_) => {
                Err(NoBackup::Disk("the database gave up; see the log of the node".to_owned()))
            }
        }
    }
}

fn why(error: &CheckpointError) -> NoBackup {
    match error {
        CheckpointError::NotWhole(_) | CheckpointError::Retired(_) => {
            NoBackup::NotWhole(error.to_string())
        }
        CheckpointError::Disk(_) => NoBackup::Disk(error.to_string()),
    }
}

/// Sends all of it, unless nobody takes it any more. The place is free when this ends.
fn send(checkpoint: &Checkpoint, pieces: &Sender<Bytes>, _place: OwnedSemaphorePermit) {
    let origin = checkpoint.origin();
    let head = Head::new(origin, millis_now(), env!("CARGO_PKG_VERSION"));
    tracing::info!(catalog = origin.catalog.version, "a backup begins");
    let mut counts = Counts::default();
    let (mut waiting, mut bytes) = (Vec::new(), 0);
    let mut is_taken = pieces.blocking_send(stream::begin(&head)).is_ok();
    for record in checkpoint.records() {
        let record = match record {
            Ok(record) if is_taken => record,
            Ok(_) => break,
            Err(error) => {
                tracing::error!(%error, "a backup ends in the middle");
                let _ = pieces.blocking_send(stream::failed(&error.to_string()));
                return;
            }
        };
        counts.add(record.section, 1);
        bytes += record.key.len() + record.value.len();
        waiting.push(record);
        if PIECE_BYTES <= bytes {
            is_taken = pieces.blocking_send(stream::records(&waiting)).is_ok();
            waiting.clear();
            bytes = 0;
        }
    }
    let is_taken = is_taken
        && pieces.blocking_send(stream::records(&waiting)).is_ok()
        && pieces.blocking_send(stream::end(&counts)).is_ok();
    if is_taken {
        tracing::info!(records = counts.all(), "a backup was sent");
    } else {
        tracing::warn!(
            records = counts.all(),
            "a backup was not taken to its end; whoever wanted it has gone"
        );
    }
}
