//! placeholder
mod ballot;
mod declared;
pub use ballot::{Acceptor, Ballot};
pub use declared::Catalog;
