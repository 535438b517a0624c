//! What `merganser import` reads.

#[path = "../../../../../apps/merganser/src/commands/import/csv.rs"]
pub(crate) mod csv;
#[path = "../../../../../apps/merganser/src/commands/import/entry.rs"]
pub(crate) mod entry;
#[path = "../../../../../apps/merganser/src/commands/import/jsonl.rs"]
pub(crate) mod jsonl;
#[path = "../../../../../apps/merganser/src/commands/import/quotes.rs"]
mod quotes;
#[path = "../../../../../apps/merganser/src/commands/import/tle.rs"]
pub(crate) mod tle;
