//! placeholder
mod store;
pub use store::{Change, Page, PageNeed, Span, Store, StoreError};
