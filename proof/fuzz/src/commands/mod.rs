//! The commands of `merganser` as far as they read files, in modules named as there.

#[path = "../../../../apps/merganser/src/commands/error.rs"]
pub(crate) mod error;
pub(crate) mod import;
