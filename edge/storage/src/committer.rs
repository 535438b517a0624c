//! Writing groups, here or on a thread that may wait.
//!
//! `fsync` takes between a tenth of a millisecond and a second, and the event loop must
//! not wait for it. One thread does: it takes a group, writes it, and says so. One thread
//! and not several, because the database syncs under the lock of its journal, and because
//! groups must become durable in the order in which they were staged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use model::Durability;

use crate::engine::Engine;
use crate::group::Group;
use crate::tail::Records;
use crate::witness::{Mark, Witness};
use crate::{FlushError, OpenError};

/// Told what became of a group.
pub type Done = Box<dyn FnOnce(Result<(), FlushError>) + Send>;

/// Numbers the groups and writes them, until one fails.
pub(crate) struct Writer {
    engine: Engine,
    mark: Mark,
    /// The number of the last group written.
    written: u64,
    /// The last group known to be on disk.
    synced: u64,
    /// Never taken back: see [`FlushError`].
    failed: Arc<AtomicBool>,
}

impl Writer {
    /// Goes on after the group `written`, which was recovered and has been synced.
    pub(crate) fn new(engine: Engine, mark: Mark, written: u64) -> Self {
        Self { engine, mark, written, synced: written, failed: Arc::default() }
    }

    /// Writes one group. After a failure it does nothing but fail: see [`FlushError`].
    pub(crate) fn write(
        &mut self,
        group: &Group,
        durability: Durability,
    ) -> Result<(), FlushError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(FlushError::Poisoned);
        }
        if group.is_empty() && durability == Durability::Buffered {
            return Ok(());
        }
        let number = self.written + 1;
        let witness = Witness { mark: self.mark, number, synced: self.synced };
        let written = self.engine.write(group, &witness, durability);
        written.inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        self.written = number;
        match durability {
            Durability::Synced => self.synced = number,
            Durability::Buffered => {}
        }
        Ok(())
    }

    /// Says in the journal that what was recovered is on disk, so that its loss is noticed:
    /// from now on this replica acknowledges it. A disk that failed to sync it in a former
    /// life may say now that all is well, and lose it with the next loss of power. With that go the
    /// records that lacked something.
    pub(crate) fn vouch(&mut self, late: Records) -> Result<(), FlushError> {
        if self.written == 0 && late.is_empty() {
            return Ok(());
        }
        self.write(&Group::of(late), Durability::Synced)
    }

    /// Leaves a database that opens quickly.
    pub(crate) fn settle(&mut self) -> Result<(), FlushError> {
        // Speaks of the last group, whose loss would not be noticed otherwise.
        self.write(&Group::default(), Durability::Synced)?;
        self.engine.settle()
    }
}

/// A [`Writer`], and the thread that uses it when somebody would have to wait.
pub(crate) struct Committer {
    writer: Arc<Mutex<Writer>>,
    failed: Arc<AtomicBool>,
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    group: Arc<Group>,
    durability: Durability,
    done: Done,
}

impl Committer {
    pub(crate) fn start(writer: Writer, dir: &Path) -> Result<Self, OpenError> {
        let failed = Arc::clone(&writer.failed);
        let writer = Arc::new(Mutex::new(writer));
        // Bounded by its user: at most one group is in flight.
        let (jobs, received) = channel();
        let thread = std::thread::Builder::new().name("committer".to_owned()).spawn({
            let writer = Arc::clone(&writer);
            move || run(&writer, &received)
        });
        let thread = thread.map_err(OpenError::io("start the committer of", dir))?;
        Ok(Self { writer, failed, jobs: Some(jobs), thread: Some(thread) })
    }

    /// Returns whether a group has failed, so that no other will succeed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Hands a group to the thread.
    pub(crate) fn commit(&self, group: Arc<Group>, durability: Durability, done: Done) {
        let job = Job { group, durability, done };
        let jobs = self.jobs.as_ref().expect("only a storage that is closed ends its thread");
        if let Err(refused) = jobs.send(job) {
            (refused.0.done)(Err(FlushError::Poisoned));
        }
    }

    /// Waits for the group in flight, and ends the thread.
    pub(crate) fn join(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committer panicked; its last group was not reported done");
        }
    }

    /// The writer, for use on this thread.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Writer> {
        lock(&self.writer)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.join();
    }
}

fn run(writer: &Mutex<Writer>, jobs: &Receiver<Job>) {
    for job in jobs {
        let write = || lock(writer).write(&job.group, job.durability);
        let result = catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|_| {
            drop(lock(writer));
            Err(FlushError::Failed("the database gave up; its reason is above".to_owned()))
        });
        (job.done)(result);
    }
}

/// If a writer was left in the middle of a write, nobody knows what was written.
fn lock(writer: &Mutex<Writer>) -> MutexGuard<'_, Writer> {
    writer.lock().unwrap_or_else(|left| {
        let writer = left.into_inner();
        writer.failed.store(true, Ordering::Release);
        writer
    })
}
