//! Taking a backup: from the stream of a node to chunks in a depot, and a manifest.
//!
//! Nothing counts before the manifest is there. Whatever goes wrong before leaves chunks, which
//! the next backup finds and does not send again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use backup::cut::{Chunk, Cutter};
use backup::manifest::{Manifest, Part};
use backup::stream::{Counts, Frame, Frames, Head};
use client::{BackupBytes, Client};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use storage::Record;
use tokio::task::JoinSet;

use super::super::error::{CliError, Exit};
use super::super::print;
use super::depot::Depot;

/// Chunks that are on their way to the depot at once. Each is a few megabytes in memory.
const UPLOADS_MAX: usize = 4;

/// What a backup came to.
pub(super) struct Taken {
    pub(super) manifest: Manifest,
    new_chunks: u64,
    new_bytes: u64,
    took: Duration,
}

/// Takes a backup of the node at the first endpoint, at so many bytes a second at the most.
pub(super) async fn take(
    client: &Client,
    depot: &Depot,
    rate: Option<u64>,
) -> Result<Taken, CliError> {
    let begun = Instant::now();
    let kept = depot.chunks().await?;
    let stream = client.backup().await?;
    let mut taking = Taking::new(depot, kept);
    let taken = taking.read(stream, rate).await;
    taking.bar.finish_and_clear();
    let all = match taken {
        Ok(all) => all,
        Err(error) => return Err(taking.left(error)),
    };
    let Taking { unreadable, parts, new_chunks, new_bytes, .. } = taking;
    let manifest = Manifest::new(all.head, all.counts, unreadable, parts);
    depot.put_manifest(&manifest).await.map_err(|error| error.remains(REMAINS))?;
    Ok(Taken { manifest, new_chunks, new_bytes, took: begun.elapsed() })
}

const REMAINS: &str =
    "no backup was made; what was kept of it in the depot is used by the next one";

/// What the stream has said when it has said everything.
struct All {
    head: Head,
    /// Of what can be read.
    counts: Counts,
}

struct Taking<'a> {
    depot: &'a Depot,
    kept: BTreeMap<String, u64>,
    uploads: JoinSet<Result<(), CliError>>,
    parts: Vec<Part>,
    unreadable: u64,
    new_chunks: u64,
    new_bytes: u64,
    bar: ProgressBar,
}

impl<'a> Taking<'a> {
    fn new(depot: &'a Depot, kept: BTreeMap<String, u64>) -> Self {
        let template = "{spinner} {bytes} read, {bytes_per_sec}, {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        let bar = ProgressBar::new_spinner().with_style(style);
        let (uploads, parts) = (JoinSet::new(), Vec::new());
        Self { depot, kept, uploads, parts, unreadable: 0, new_chunks: 0, new_bytes: 0, bar }
    }

    /// Reads the stream to its end, and waits until all that is new is kept.
    async fn read(&mut self, mut stream: BackupBytes, rate: Option<u64>) -> Result<All, CliError> {
        let (mut frames, mut cutter) = (Frames::default(), Cutter::default());
        let (mut head, mut sent, mut counts) = (None, Counts::default(), Counts::default());
        let (begun, mut bytes) = (Instant::now(), 0);
        let end = 'stream: loop {
            let piece = stream.next_piece().await?;
            let piece = piece.ok_or_else(|| broken("it ended in the middle"))?;
            bytes += piece.len() as u64;
            self.bar.set_position(bytes);
            frames.push(&piece);
            while let Some(frame) = frames.next_frame().map_err(|error| broken(&error))? {
                match frame {
                    Frame::Head(of) => head = Some(of),
                    Frame::Failed(why) => return Err(broken(&why)),
                    Frame::End(end) => break 'stream end,
                    Frame::Records(records) => {
                        for record in records {
                            sent.add(record.section, 1);
                            if self.is_readable(&record) {
                                counts.add(record.section, 1);
                                for chunk in cutter.add(&record) {
                                    self.keep(chunk).await?;
                                }
                            }
                        }
                    }
                }
            }
            rest(begun, bytes, rate).await;
        };
        if end != sent {
            return Err(broken(format!("{sent:?} came of {end:?}")));
        }
        let head = head.ok_or_else(|| broken("it does not say of what it is"))?;
        // What cannot be restored is no backup: its catalog has to be readable.
        head.origin().map_err(|error| broken(&error))?;
        if let Some(chunk) = cutter.finish() {
            self.keep(chunk).await?;
        }
        while let Some(kept) = self.uploads.join_next().await {
            landed(kept)?;
        }
        Ok(All { head, counts })
    }

    fn is_readable(&mut self, record: &Record) -> bool {
        match record.check() {
            Ok(()) => true,
            Err(error) => {
                self.unreadable += 1;
                self.bar.suspend(|| eprintln!("left out: {error}"));
                false
            }
        }
    }

    /// Keeps a chunk that the depot does not have.
    async fn keep(&mut self, chunk: Chunk) -> Result<(), CliError> {
        let part = Part::of(&chunk);
        let is_kept = self.kept.get(&part.name) == Some(&part.bytes);
        if !is_kept {
            self.new_chunks += 1;
            self.new_bytes += part.bytes;
            self.kept.insert(part.name.clone(), part.bytes);
            if UPLOADS_MAX <= self.uploads.len()
                && let Some(kept) = self.uploads.join_next().await
            {
                landed(kept)?;
            }
            let (depot, Chunk { name, bytes, .. }) = (self.depot.clone(), chunk);
            self.uploads.spawn(async move { depot.put_chunk(name, bytes).await });
        }
        self.parts.push(part);
        self.bar.set_message(format!("{} of it new", print::size(size(self.new_bytes))));
        Ok(())
    }

    fn left(&self, error: CliError) -> CliError {
        let remedy = "see why, and do the same again: it goes on with what is kept";
        error.remains(REMAINS).remedy(remedy)
    }
}

fn landed(kept: Result<Result<(), CliError>, tokio::task::JoinError>) -> Result<(), CliError> {
    kept.unwrap_or_else(|error| Err(CliError::failed(format!("an upload gave up: {error}"))))
}

fn broken(why: impl std::fmt::Display) -> CliError {
    let text = format!("what the node sends cannot be used: {why}");
    CliError::new(Exit::NotAttempted, text).code("backup_broken_off")
}

/// Waits until so many bytes may have come.
async fn rest(begun: Instant, bytes: u64, rate: Option<u64>) {
    if let Some(rate) = rate.filter(|rate| 0 < *rate) {
        let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
        tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl Taken {
    /// Says what was done, and what is not in it.
    pub(super) fn tell(&self, as_json: bool) -> Result<(), CliError> {
        let Self { manifest, new_chunks, new_bytes, took } = self;
        let Manifest { id, counts, unreadable, chunks, .. } = manifest;
        if as_json {
            print::json(&json!({
                "id": id,
                "cluster": manifest.of.cluster,
                "node": manifest.of.node,
                "taken": manifest.taken,
                "objects": counts.objects,
                "hints": counts.hints,
                "bytes": manifest.bytes(),
                "chunks": chunks.len(),
                "new_bytes": new_bytes,
                "new_chunks": new_chunks,
                "unreadable": unreadable,
                "took_seconds": took.as_secs_f64(),
            }))?;
        } else {
            print::line(format_args!(
                "{id}: {} objects, {} in {} chunks, {} in {new_chunks} of them new; {:.1} s",
                counts.objects,
                print::size(size(manifest.bytes())),
                chunks.len(),
                print::size(size(*new_bytes)),
                took.as_secs_f64(),
            ))?;
        }
        if *unreadable == 0 {
            return Ok(());
        }
        let text = format!("{unreadable} records of the node cannot be read, and are not in {id}");
        Err(CliError::new(Exit::BadLines, text).code("records_left_out").remedy(
            "back up the other replicas too: they have copies, and a restored cluster takes them from there",
        ))
    }
}
