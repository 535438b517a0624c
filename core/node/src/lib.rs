//! placeholder
mod message;
mod step;
pub use message::{
    Cause, Digest, Fetch, Fetched, Forward, Forwarded, Found, Merge, Merged, Message, RequestId,
    Scan, Scanned, Verdict, Want,
};
pub use step::{After, Disk, Effect, Input, Ticket};
