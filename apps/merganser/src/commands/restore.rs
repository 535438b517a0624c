//! `merganser restore`: a data directory made of a backup.
//!
//! What is made is a node of *another* cluster. Into the same one a node must not come back from a
//! backup: others rely on what it has acknowledged since, of which it knows nothing. There it is
//! started with an empty directory, and copies from the others. Only if none of them is left is there nothing to contradict, and then the
//! operator has to say so.
//!
//! All nodes of the new cluster are made of backups of the old ones. Those are of different
//! moments; the nodes become equal as replicas do that have not seen each other for a while. They
//! all begin with one catalog, the latest that the depot has of the cluster: two that
//! began with different ones could change them in different ways.

use std::collections::BTreeMap;
use std::path::PathBuf;

use backup::manifest::Manifest;
use indicatif::{ProgressBar, ProgressStyle};
use model::ClusterId;
use serde_json::json;
use storage::{OpenError, Origin, RestoreError, Restoring};

use super::backup::depot::{Depot, Found, Place};
use super::connect::block_on;
use super::error::{CliError, Exit};
use super::print;

/// Make a data directory for a node of a new cluster out of a backup.
///
/// The node has the number that the one backed up had, and the same list of nodes (numbers, regions
/// and zones). A node of a cluster that still lives is not restored: start it with an empty
/// directory, and it copies everything from the others.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// The depot: a directory, or `s3://BUCKET/PREFIX`.
    #[arg(long, value_name = "DEST")]
    from: Place,
    /// Which backup; see `merganser backup list`. Without it the latest of the node.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Which node, if the depot has backups of several and `--id` does not say.
    #[arg(long, value_name = "N", conflicts_with = "id")]
    of: Option<u16>,
    /// The directory to make. It must be empty, or not be there.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// The number of the new cluster.
    #[arg(long, value_name = "NUMBER")]
    cluster: u64,
    /// Take the number of the cluster that was backed up. Only if all of its nodes are lost and all
    /// are restored: one that lives on, or comes back with its old disk, would lose writes and show
    /// what was deleted.
    #[arg(long)]
    same_cluster_all_lost: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Restore {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let depot = Depot::open(&self.from)?;
        block_on(async {
            let found = depot.manifests().await?;
            let manifest = self.chosen(&found)?;
            let origin = manifest.of.origin().map_err(|error| unusable(&manifest.id, &error))?;
            self.check_cluster(origin.cluster)?;
            let catalog = latest_catalog(&found, &origin);
            let options = storage::Options::new(
                &self.into,
                ClusterId::new(self.cluster),
                origin.node,
                origin.layout,
            );
            let was_there = self.into.exists();
            let restoring = Restoring::begin(&options).map_err(|error| refused(&error))?;
            let restored = fill(restoring, &depot, manifest, &catalog).await;
            let disk = restored.map_err(|error| self.clear(was_there, error))?;
            self.tell(manifest, &found, disk, catalog.version)
        })
    }

    /// The backup that is meant.
    fn chosen<'a>(&self, found: &'a BTreeMap<String, Found>) -> Result<&'a Manifest, CliError> {
        if let Some(id) = &self.id {
            return match found.get(id) {
                Some(Ok(manifest)) => Ok(manifest),
                Some(Err(error)) => Err(unusable(id, error)),
                None => Err(CliError::new(Exit::NotFound, format!("there is no backup {id}"))
                    .remedy("see `merganser backup list`")),
            };
        }
        let is_meant = |manifest: &&Manifest| self.of.is_none_or(|node| manifest.of.node == node);
        let meant: Vec<&Manifest> = found.values().flatten().filter(is_meant).collect();
        let whose = |manifest: &Manifest| (manifest.of.cluster, manifest.of.node);
        let latest = meant.iter().max_by_key(|manifest| manifest.of.taken_millis);
        let latest = latest.ok_or_else(|| {
            CliError::new(Exit::NotFound, format!("there is no such backup in {}", self.from))
        })?;
        if meant.iter().any(|manifest| whose(manifest) != whose(latest)) {
            return Err(CliError::failed("the depot has backups of several nodes or clusters")
                .remedy("say which one with --id, or of which node with --of"));
        }
        Ok(latest)
    }

    fn check_cluster(&self, of: ClusterId) -> Result<(), CliError> {
        if of.number() != self.cluster || self.same_cluster_all_lost {
            return Ok(());
        }
        let text = format!("the backup is of cluster {}, and nothing was restored", self.cluster);
        Err(CliError::failed(text).code("same_cluster").remedy(
            "a lost node of a cluster that lives is started with an empty directory, and copies from the others; \
             a new cluster has another number; if all nodes are lost, and all are restored, say --same-cluster-all-lost",
        ))
    }

    /// Takes away what was begun, so that no node is started with it.
    fn clear(&self, was_there: bool, error: CliError) -> CliError {
        let remove = |path: &PathBuf| match path.is_dir() {
            true => std::fs::remove_dir_all(path),
            false => std::fs::remove_file(path),
        };
        let cleared = if was_there {
            std::fs::read_dir(&self.into)
                .and_then(|mut entries| entries.try_for_each(|entry| remove(&entry?.path())))
        } else {
            remove(&self.into)
        };
        match cleared {
            Ok(()) => error.remains("nothing was restored, and the directory is as it was"),
            Err(_) => error.remains(format!("remove {}: it is of no use", self.into.display())),
        }
    }

    fn tell(
        &self,
        manifest: &Manifest,
        found: &BTreeMap<String, Found>,
        disk: model::DiskId,
        catalog: u64,
    ) -> Result<(), CliError> {
        let of_cluster = |other: &&Manifest| other.of.cluster == manifest.of.cluster;
        let mut nodes: Vec<u16> =
            found.values().flatten().filter(of_cluster).map(|other| other.of.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        if self.json {
            return print::json(&json!({
                "id": manifest.id,
                "node": manifest.of.node,
                "cluster": self.cluster,
                "disk": disk.to_string(),
                "catalog_version": catalog,
                "objects": manifest.counts.objects,
                "bytes": manifest.bytes(),
                "nodes_with_backups": nodes,
            }));
        }
        let nodes: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
        print::line(format_args!(
            "{} is n{} of cluster {}: {} objects of {}\nstart it with this number, and the list of nodes as it was; \
             the depot has backups of {}, each of which has to be restored before clients write",
            self.into.display(),
            manifest.of.node,
            self.cluster,
            manifest.counts.objects,
            manifest.taken,
            nodes.join(", "),
        ))
    }
}

/// The latest catalog that the depot has of a cluster.
fn latest_catalog(found: &BTreeMap<String, Found>, of: &Origin) -> catalog::Catalog {
    let origins = found.values().flatten().filter_map(|manifest| manifest.of.origin().ok());
    let of_cluster = origins.filter(|origin| origin.cluster == of.cluster);
    let latest = of_cluster.map(|origin| origin.catalog).max_by_key(|catalog| catalog.version);
    latest.unwrap_or_else(|| of.catalog.clone())
}

async fn fill(
    mut restoring: Restoring,
    depot: &Depot,
    manifest: &Manifest,
    catalog: &catalog::Catalog,
) -> Result<model::DiskId, CliError> {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta}");
    let style = style.expect("the template is well formed");
    let bar = ProgressBar::new(manifest.bytes()).with_style(style);
    for part in &manifest.chunks {
        for record in depot.records(part).await? {
            restoring.add(record).map_err(|error| refused(&error))?;
        }
        bar.inc(part.bytes);
    }
    bar.finish_and_clear();
    restoring.finish(catalog).map_err(|error| refused(&error))
}

fn unusable(id: &str, why: &dyn std::fmt::Display) -> CliError {
    CliError::failed(format!("{id} cannot be restored: {why}")).code("backup_damaged")
}

fn refused(error: &RestoreError) -> CliError {
    let code = match error {
        RestoreError::NotEmpty(_) => "not_empty",
        RestoreError::Record(_) => "backup_damaged",
        RestoreError::Open(OpenError::Io { .. }) | RestoreError::Write(_) => "disk_failed",
        RestoreError::Open(_) => "failed",
    };
    CliError::failed(error.to_string()).code(code)
}
