//! How requests of clients reach the node.

use std::future::Future;
use std::sync::Arc;

use model::{Reply, Request};

use super::mailbox::Mailbox;

/// The node, as doors know it.
#[derive(Clone)]
pub(super) struct Asker(pub(super) Arc<Mailbox>);

impl http::Node for Asker {
    fn ask(&self, request: Request) -> impl Future<Output = Reply> + Send {
        let mailbox = Arc::clone(&self.0);
        async move { mailbox.ask(request).await }
    }
}
