//! What reads the answers of servers, for proof/fuzz to throw bytes at. Not for anybody else.

use bytes::Bytes;
use hyper::Response;

use crate::list::RawPage;
use crate::table::parse;
use crate::{
    Answer, Error, Key, KeyspaceInfo, Operation, Outcome, Page, Problem, ReadOptions, Receipt,
    Status, TableInfo, WriteOptions,
};

/// The answer to a read of one key.
///
/// # Errors
///
/// As [`Table::get`](crate::Table::get).
pub fn answer(answer: &Response<Bytes>, full: bool) -> Result<Answer, Error> {
    Answer::read(answer, full)
}

/// The answers to a read and a delete in one batch.
///
/// # Errors
///
/// As [`Client::batch`](crate::Client::batch).
pub fn outcomes(body: &Bytes) -> Result<Vec<Result<Outcome, Error>>, Error> {
    let key = Key::new("k");
    let read = Operation::get("ks", "t", &key, &ReadOptions::default());
    let context = crate::Context::new("AQ")?;
    let delete = Operation::delete("ks", "t", &key, Some(&context), &WriteOptions::default());
    crate::batch::outcomes(&[read, delete], body)
}

/// A page of a list.
///
/// # Errors
///
/// As [`Pages::next`](crate::Pages::next).
pub fn page(body: &[u8]) -> Result<Page, Error> {
    parse::<RawPage>(body)?.read()
}

/// What a node says of itself.
///
/// # Errors
///
/// As [`Client::status`](crate::Client::status).
pub fn status(body: &[u8]) -> Result<Status, Error> {
    parse(body)
}

/// A keyspace.
///
/// # Errors
///
/// As [`Client::keyspace`](crate::Client::keyspace).
pub fn keyspace(body: &[u8]) -> Result<KeyspaceInfo, Error> {
    parse(body)
}

/// A table.
///
/// # Errors
///
/// As [`Client::table_info`](crate::Client::table_info).
pub fn table(body: &[u8]) -> Result<TableInfo, Error> {
    parse(body)
}

/// The receipt in a header.
pub fn receipt(text: &str) -> Option<Receipt> {
    Receipt::from_header(text)
}

/// What a refusal says.
pub fn problem(status: u16, body: &[u8]) -> Problem {
    Problem::read(status, body)
}
