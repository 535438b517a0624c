//! How requests of clients, and of those who look after it, reach the node.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{NoBackup, Vitals};
use model::{Reply, Request};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::backup::Backups;
use super::driver::Examined;
use super::mailbox::Mailbox;
use super::metrics::{Scrape, disk_free};

/// How long the driver may take to say how the node is. It does so at each of its turns,
/// which take milliseconds.
const EXAMINATION_MAX: Duration = Duration::from_secs(1);

/// The node, as doors know it.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) data_dir: PathBuf,
    /// What this node knows of the layout, in one number.
    pub(super) layout: u64,
    /// How old the idempotency key of a write may be.
    pub(super) retry_window: Duration,
    pub(super) backups: Backups,
}

impl Asker {
    async fn examine(&self) -> Option<Examined> {
        timeout(EXAMINATION_MAX, self.mailbox.examine()).await.ok().flatten()
    }
}

impl http::Node for Asker {
    fn ask(&self, request: Request) -> impl Future<Output = Reply> + Send {
        let mailbox = Arc::clone(&self.mailbox);
        async move { mailbox.ask(request).await }
    }

    async fn vitals(&self) -> Option<Vitals> {
        let examined = self.examine().await?;
        Some(Vitals {
            status: Box::new(examined.status),
            tables: examined.tables,
            disk_waits: examined.disk_waits,
            disk_free: disk_free(&self.data_dir),
            is_overloaded: self.mailbox.load().is_overloaded,
        })
    }

    async fn metrics(&self) -> Option<String> {
        let examined = self.examine().await?;
        let (load, disk_free) = (self.mailbox.load(), disk_free(&self.data_dir));
        let (layout, retry_window) = (self.layout, self.retry_window);
        Some(Scrape { examined, load, disk_free, layout, retry_window }.text())
    }
    async fn backup(&self) -> Result<Receiver<Bytes>, NoBackup> {
        self.backups.begin().await
    }
}
