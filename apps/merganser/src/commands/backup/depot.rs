//! Where backups are kept: a directory, or a bucket.
//!
//! ```text
//! manifests/n1-20261122T093000.120Z-4fa1     text, one per backup
//! chunks/3f/3fa1...                      by the first two digits of the name
//! ```
//!
//! Several nodes may have one depot, and share what they hold alike.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use backup::chunk::{self, Name};
use backup::manifest::{Manifest, Part};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use storage::Record;

use super::super::error::{CliError, Exit};

/// What programs are told when a depot cannot be reached, read or written to.
pub(crate) const DEPOT_FAILED: &str = "depot_failed";

/// Where it is, as an operator writes it.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Directory(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err("write s3://BUCKET/PREFIX".to_owned());
            }
            let prefix = prefix.trim_matches('/').to_owned();
            return Ok(Self::Bucket { bucket: bucket.to_owned(), prefix });
        }
        match text.split_once("://") {
            Some((scheme, _)) => {
                Err(format!("{scheme}:// is not known: name a directory or s3://"))
            }
            None if text.is_empty() => Err("name a directory, or s3://BUCKET/PREFIX".to_owned()),
            None => Ok(Self::Directory(text.into())),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// A depot that can be read, and written to.
#[derive(Clone)]
pub(crate) struct Depot {
    place: Place,
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

impl Depot {
    /// Opens one that is there.
    pub(crate) fn open(place: &Place) -> Result<Self, CliError> {
        let (store, prefix) = match place {
            Place::Directory(path) => (directory(path)?, Path::default()),
            Place::Bucket { bucket, prefix } => {
                (self::bucket(bucket)?, Path::from(prefix.as_str()))
            }
        };
        Ok(Self { place: place.clone(), store, prefix })
    }

    /// The same, and makes the directory if it is not there.
    pub(crate) fn create(place: &Place) -> Result<Self, CliError> {
        if let Place::Directory(path) = place {
            let made = std::fs::create_dir_all(path);
            made.map_err(|error| {
                CliError::failed(format!("cannot make {}: {error}", path.display()))
            })?;
        }
        Self::open(place)
    }

    /// The chunks that are there, and how many bytes each has.
    pub(crate) async fn chunks(&self) -> Result<BTreeMap<String, u64>, CliError> {
        self.list("chunks").await
    }

    /// Keeps a chunk. It is there whole, or not at all.
    pub(crate) async fn put_chunk(&self, name: Name, bytes: Bytes) -> Result<(), CliError> {
        let kept = self.store.put(&self.chunk_path(&name.to_string()), bytes.into()).await;
        kept.map(drop).map_err(|error| self.failed("keep a chunk in", &error))
    }

    /// Makes all chunks of a backup a backup.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), CliError> {
        let path = self.path("manifests").join(manifest.id.as_str());
        let kept = self.store.put(&path, manifest.to_text().into()).await;
        kept.map(drop).map_err(|error| self.failed("keep the manifest in", &error))
    }

    /// All backups, those of one node after each other, the oldest first. A manifest that cannot be
    /// read is given with the reason.
    pub(crate) async fn manifests(&self) -> Result<BTreeMap<String, Found>, CliError> {
        let mut found = BTreeMap::new();
        for (name, _) in self.list("manifests").await? {
            let path = self.path("manifests").join(name.as_str());
            let bytes = self.get(&path).await?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            found.insert(name, Manifest::parse(&text).map_err(|error| error.to_string()));
        }
        Ok(found)
    }

    /// The records of a chunk.
    ///
    /// # Errors
    ///
    /// Names the chunk, if it is not what the manifest says.
    pub(crate) async fn records(&self, part: &Part) -> Result<Vec<Record>, CliError> {
        let damaged = |why: &dyn fmt::Display| {
            CliError::failed(format!("chunk {} in {}: {why}", part.name, self.place))
                .code("backup_damaged")
                .remedy("restore an older backup, or the one of another node; remove the chunk, so that the next backup keeps it anew")
        };
        let name = part.name().map_err(|error| damaged(&error))?;
        let path = self.chunk_path(&part.name);
        let bytes = match self.store.get(&path).await {
            Err(object_store::Error::NotFound { .. }) => return Err(damaged(&"it is not there")),
            Err(error) => return Err(self.failed("read", &error)),
            Ok(found) => found.bytes().await.map_err(|error| self.failed("read", &error))?,
        };
        let records = chunk::decode(name, &bytes).map_err(|error| damaged(&error))?;
        if records.len() as u64 != part.records {
            let found = records.len();
            return Err(damaged(&format!("{found} records, the manifest says {}", part.records)));
        }
        Ok(records)
    }

    async fn get(&self, path: &Path) -> Result<Bytes, CliError> {
        let read = async { self.store.get(path).await?.bytes().await };
        read.await.map_err(|error| self.failed("read", &error))
    }

    /// What is below a folder: the last part of each name, and how many bytes there are.
    async fn list(&self, folder: &str) -> Result<BTreeMap<String, u64>, CliError> {
        use std::future::poll_fn;
        let mut found = self.store.list(Some(&self.path(folder)));
        let mut names = BTreeMap::new();
        while let Some(entry) = poll_fn(|cx| found.as_mut().poll_next(cx)).await {
            let entry = entry.map_err(|error| self.failed("list", &error))?;
            if let Some(name) = entry.location.filename() {
                names.insert(name.to_owned(), entry.size);
            }
        }
        Ok(names)
    }

    fn path(&self, folder: &str) -> Path {
        self.prefix.clone().join(folder)
    }

    fn chunk_path(&self, name: &str) -> Path {
        self.path("chunks").join(name.get(..2).unwrap_or_default()).join(name)
    }

    fn failed(&self, doing: &str, error: &object_store::Error) -> CliError {
        CliError::failed(format!("cannot {doing} {}: {error}", self.place)).code(DEPOT_FAILED)
    }
}

/// A backup, or why its manifest cannot be read.
pub(crate) type Found = Result<Manifest, String>;

/// What is written is synced, as a bucket does: a backup that a loss of power takes away is none.
fn directory(path: &PathBuf) -> Result<Arc<dyn ObjectStore>, CliError> {
    let store = object_store::local::LocalFileSystem::new_with_prefix(path);
    let store = store.map_err(|_| {
        CliError::new(Exit::NotFound, format!("there is no directory {}", path.display()))
    })?;
    Ok(Arc::new(store.with_fsync(true)))
}

#[cfg(feature = "s3")]
fn bucket(name: &str) -> Result<Arc<dyn ObjectStore>, CliError> {
    let store = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(name).build();
    let store = store.map_err(|error| {
        CliError::failed(format!("cannot use the bucket {name}: {error}")).remedy(
            "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; AWS_ENDPOINT for a store that is not Amazon's",
        )
    })?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "s3"))]
fn bucket(name: &str) -> Result<Arc<dyn ObjectStore>, CliError> {
    Err(CliError::failed(format!(
        "this program was built without buckets, and cannot use s3://{name}"
    ))
    .code("built_without_s3")
    .remedy("build it with `--features s3`, or back up into a directory and copy that"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_directories_or_buckets() {
        for (text, place) in
            [("/var/backups", "/var/backups"), ("s3://b", "s3://b/"), ("s3://b/a/c/", "s3://b/a/c")]
        {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), place);
        }
        for text in ["", "s3://", "ftp://b/a"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }
}
