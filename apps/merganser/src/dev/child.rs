//! The process of one node, as the child of this one.

use std::fs::OpenOptions;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::Poll;
use std::time::Duration;

use tokio::process::{ChildStdin, Command};

use super::{DevError, Spec, within};

/// How long a node may take to stop before it is killed: it gives requests in progress five
/// seconds, and then brings everything to disk.
const STOP_MAX: Duration = Duration::from_secs(8);

/// One running node.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) spec: Spec,
    pub(super) pid: u32,
    process: tokio::process::Child,
    /// While it is open, the node runs.
    leash: Option<ChildStdin>,
}

/// This very program.
pub(super) fn program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("merganser"))
}

impl Child {
    /// Starts a node. It has its own process group, so that Ctrl-C reaches this process only,
    /// which then stops all of them.
    pub(super) fn start(spec: Spec) -> Result<Self, DevError> {
        let path = spec.log();
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.map_err(DevError::io("open", &path))?;
        let mut command = Command::new(program());
        command.arg("serve").arg("--config").arg(spec.config()).arg("--exit-with-parent");
        // The user's own settings for other nodes would beat the file that was written for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MERGANSER_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        command.process_group(0).kill_on_drop(true);
        let mut process = command.spawn().map_err(DevError::io("start", program()))?;
        let leash = process.stdin.take();
        Ok(Self { spec, pid: process.id().unwrap_or_default(), process, leash })
    }

    /// Waits until the process has ended.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }
}

/// Stops all nodes at once, and kills those that do not stop.
pub(super) async fn stop_all(mut children: Vec<Child>) {
    for child in &mut children {
        child.leash = None;
    }
    for child in &mut children {
        if within(STOP_MAX, child.process.wait()).await.is_none() {
            println!("n{} does not stop, killing it", child.spec.node);
            if let Err(error) = child.process.kill().await {
                println!("n{} cannot be killed: {error}", child.spec.node);
            }
        }
    }
}

/// The result of the future that is first to end.
pub(super) async fn first<T, F: Future<Output = T>>(mut futures: Vec<Pin<Box<F>>>) -> T {
    std::future::poll_fn(move |cx| {
        for future in &mut futures {
            if let Poll::Ready(result) = future.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
}
