//! `merganser backup`: what one node holds, kept elsewhere.
//!
//! A node whose disk is lost needs none of this: it is started with an empty directory, and the other
//! replicas give it everything. A backup is for the day when no replica is left, or when all of
//! them hold what somebody wrote by mistake.

pub(crate) mod depot;

mod take;

use std::collections::{BTreeMap, BTreeSet};

use backup::manifest::{Manifest, Part};
use client::{Client, Options};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::depot::{DEPOT_FAILED, Depot, Found, Place};
use super::connect::block_on;
use super::error::{CliError, Exit};
use super::print;
use crate::config::ByteSize;

/// Keep what one node holds at this moment in a depot, or look at what is kept there.
///
/// The node goes on serving. What the depot has already is not sent again. A cluster is backed up
/// by backing up each of its nodes.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Backup {
    #[command(subcommand)]
    action: Option<Action>,
    /// The node.
    #[arg(
        long,
        value_name = "URL",
        env = "MERGANSER_NODE",
        default_value = "http://127.0.0.1:7001"
    )]
    node: String,
    /// The depot: a directory, or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "DEST", required = true)]
    to: Option<Place>,
    /// The most that is read in a second, as in 50MiB.
    #[arg(long, value_name = "SIZE")]
    rate: Option<ByteSize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the backups in a depot.
    List {
        #[command(flatten)]
        at: At,
    },
    /// Read every chunk of all backups, or of one, and check every record.
    Verify {
        #[command(flatten)]
        at: At,
        /// Only this one.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct At {
    /// The depot: a directory, or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "DEST")]
    at: Place,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Backup {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        match self.action {
            None => {
                let place = self.to.ok_or_else(|| CliError::failed("name a depot with --to"))?;
                let client = Client::new([&self.node], Options::default())?;
                let depot = Depot::create(&place)?;
                let rate = self.rate.map(|ByteSize(bytes)| bytes);
                block_on(take::take(&client, &depot, rate))?.tell(self.json)
            }
            Some(Action::List { at }) => {
                let depot = Depot::open(&at.at)?;
                list(&block_on(depot.manifests())?, at.json)
            }
            Some(Action::Verify { at, id }) => {
                let depot = Depot::open(&at.at)?;
                block_on(verify(&depot, id.as_deref()))?.tell(at.json)
            }
        }
    }
}

fn list(found: &BTreeMap<String, Found>, as_json: bool) -> Result<(), CliError> {
    if as_json {
        let backup = |(id, found): (&String, &Found)| match found {
            Err(error) => json!({ "id": id, "error": error }),
            Ok(manifest) => json!({
                "id": id,
                "cluster": manifest.of.cluster,
                "node": manifest.of.node,
                "disk": manifest.of.disk,
                "taken": manifest.taken,
                "catalog_version": manifest.of.catalog_version,
                "objects": manifest.counts.objects,
                "bytes": manifest.bytes(),
                "chunks": manifest.chunks.len(),
                "unreadable": manifest.unreadable,
            }),
        };
        return print::json(&json!({ "backups": found.iter().map(backup).collect::<Vec<_>>() }));
    }
    let mut table =
        print::table(&["id", "cluster", "node", "taken", "objects", "size", "unreadable"]);
    for (id, found) in found {
        match found {
            Err(error) => eprintln!("{id}: {error}"),
            Ok(manifest) => {
                table.add_row([
                    id.clone(),
                    manifest.of.cluster.to_string(),
                    format!("n{}", manifest.of.node),
                    manifest.taken.clone(),
                    manifest.counts.objects.to_string(),
                    print::size(usize::try_from(manifest.bytes()).unwrap_or(usize::MAX)),
                    manifest.unreadable.to_string(),
                ]);
            }
        }
    }
    if found.is_empty() { print::line("there are no backups here") } else { print::line(table) }
}

/// What was checked, and what is wrong with it.
#[derive(Default)]
struct Verified {
    backups: u64,
    chunks: u64,
    records: u64,
    bytes: u64,
    /// By backup.
    damaged: Vec<(String, String)>,
}

/// The backups that are meant: one, or all.
///
/// # Errors
///
/// There is none of this name.
fn named(
    found: BTreeMap<String, Found>,
    id: Option<&str>,
) -> Result<BTreeMap<String, Found>, CliError> {
    let Some(id) = id else { return Ok(found) };
    let one: BTreeMap<String, Found> = found.into_iter().filter(|(name, _)| name == id).collect();
    if one.is_empty() {
        let text = format!("there is no backup {id}");
        return Err(CliError::new(Exit::NotFound, text).remedy("see `merganser backup list`"));
    }
    Ok(one)
}

async fn verify(depot: &Depot, id: Option<&str>) -> Result<Verified, CliError> {
    let found = named(depot.manifests().await?, id)?;
    let chunks = found.values().flatten().map(|manifest| manifest.chunks.len() as u64).sum();
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} chunks, {eta}");
    let bar = ProgressBar::new(chunks).with_style(style.expect("the template is well formed"));
    let (mut verified, mut good) = (Verified::default(), BTreeSet::new());
    for (id, manifest) in found {
        verified.backups += 1;
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                verified.damaged.push((id, format!("its manifest: {error}")));
                continue;
            }
        };
        for part in &manifest.chunks {
            bar.inc(1);
            // Chunks that several backups share are read once.
            if good.contains(&part.name) {
                continue;
            }
            match check(depot, part).await {
                Ok(()) => {
                    good.insert(part.name.clone());
                    verified.chunks += 1;
                    verified.records += part.records;
                    verified.bytes += part.bytes;
                }
                // Who cannot read says nothing about what is there.
                Err(error) if error.has_code(DEPOT_FAILED) => return Err(error),
                Err(error) => verified.damaged.push((id.clone(), error.what().to_owned())),
            }
        }
        if let Some(why) = contradiction(&manifest) {
            verified.damaged.push((id, why));
        }
    }
    bar.finish_and_clear();
    Ok(verified)
}

async fn check(depot: &Depot, part: &Part) -> Result<(), CliError> {
    for record in depot.records(part).await? {
        record.check().map_err(|error| {
            CliError::failed(format!("chunk {}: a record cannot be used: {error}", part.name))
        })?;
    }
    Ok(())
}

/// What in a manifest does not fit together.
fn contradiction(manifest: &Manifest) -> Option<String> {
    if let Err(error) = manifest.of.origin() {
        return Some(format!("its manifest: {error}"));
    }
    let (counted, there) =
        (manifest.counts.all(), manifest.chunks.iter().map(|part| part.records).sum::<u64>());
    (counted != there).then(|| format!("its manifest counts {counted} records, and names {there}"))
}

impl Verified {
    fn tell(&self, as_json: bool) -> Result<(), CliError> {
        let Self { backups, chunks, records, bytes, damaged } = self;
        if as_json {
            let damage = |(id, what): &(String, String)| json!({ "id": id, "what": what });
            print::json(&json!({
                "backups": backups,
                "chunks": chunks,
                "records": records,
                "bytes": bytes,
                "damaged": damaged.iter().map(damage).collect::<Vec<_>>(),
            }))?;
        }
        if damaged.is_empty() {
            let size = print::size(usize::try_from(*bytes).unwrap_or(usize::MAX));
            return if as_json {
                Ok(())
            } else {
                print::line(format_args!(
                    "{backups} backups are whole: {records} records, {size} in {chunks} chunks"
                ))
            };
        }
        let told: Vec<String> = damaged.iter().map(|(id, what)| format!("{id}: {what}")).collect();
        Err(CliError::failed(format!("not everything can be restored: {}", told.join("; ")))
            .code("backup_damaged")
            .remedy("remove the chunks that are named and back up again: what the node still holds is kept anew"))
    }
}
