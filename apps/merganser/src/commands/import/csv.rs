//! CSV with a header line: each row is stored as a JSON object with a member per column.
//!
//! ```text
//! id,name,port          key "7"   value {"id":"7","name":"Skagen","port":"DKSKA"}
//! 7,Skagen,DKSKA
//! ```
//!
//! CSV has no types, so every member is text. The columns keep their order.

use std::io;

use ::csv::{ByteRecord, ErrorKind, ReaderBuilder};
use client::{Content, Key};

use super::entry::{Entry, Record};
use super::quotes::Quotes;
use crate::commands::error::CliError;

/// Which columns make the key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// The partition key; without it the first column.
    pub(crate) key: Option<String>,
    /// The sort key; without it none.
    pub(crate) sort: Option<String>,
}

/// Reads the rows of a CSV file.
///
/// # Errors
///
/// If the header cannot be read, names a column twice, or lacks a column of the key:
/// nothing in the file would mean what it should.
pub(crate) fn entries<R: io::BufRead>(
    from: R,
    columns: &Columns,
) -> Result<impl Iterator<Item = io::Result<Entry>> + use<R>, CliError> {
    let mut reader = ReaderBuilder::new().from_reader(Quotes::new(from));
    let unreadable =
        |err: ::csv::Error| CliError::failed(format!("the header is unreadable: {err}"));
    let header: Vec<String> =
        reader.headers().map_err(unreadable)?.iter().map(str::to_owned).collect();
    if let Some((opened, _)) = reader.get_ref().open_at_end() {
        return Err(CliError::failed(format!(
            "the header is unreadable: line {opened}: {UNCLOSED}"
        )));
    }
    let header = Header::new(header, columns)?;
    let mut rows = reader.into_byte_records();
    let next = move || {
        let entry = entry(&header, rows.next()?).transpose();
        // The library reads on only when it has used up what it has, so at the end of the
        // file this is the last row, and the one that has swallowed all others.
        let unclosed = rows.reader().get_ref().open_at_end();
        let fault = |(line, end)| Ok(Entry { line, end, parsed: Err(UNCLOSED.to_owned()) });
        Some(unclosed.map_or(entry, |lines| Some(fault(lines))))
    };
    Ok(std::iter::from_fn(next).flatten())
}

const UNCLOSED: &str = "the quote that opens here is not closed before the end of the file";

struct Header {
    names: Vec<String>,
    key: usize,
    sort: Option<usize>,
}

impl Header {
    fn new(names: Vec<String>, columns: &Columns) -> Result<Self, CliError> {
        for (index, name) in names.iter().enumerate() {
            if names.iter().take(index).any(|earlier| earlier == name) {
                return Err(CliError::failed(format!("the header names {name:?} twice")));
            }
        }
        let find = |wanted: &String| {
            names.iter().position(|name| name == wanted).ok_or_else(|| {
                CliError::failed(format!("there is no column {wanted:?}"))
                    .remedy(format!("the columns are: {}", names.join(", ")))
            })
        };
        let key = columns.key.as_ref().map_or(Ok(0), find)?;
        let sort = columns.sort.as_ref().map(find).transpose()?;
        Ok(Self { names, key, sort })
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library may add kinds of errors")]
fn entry(header: &Header, row: ::csv::Result<ByteRecord>) -> io::Result<Option<Entry>> {
    match row {
        Ok(row) => {
            let line = row.position().map_or(0, ::csv::Position::line);
            let breaks: usize = row.as_slice().iter().filter(|byte| **byte == b'\n').count();
            let parsed = record(header, &row);
            Ok(Some(Entry { line, end: line + breaks as u64, parsed }))
        }
        Err(err) => {
            let line = err.position().map_or(0, ::csv::Position::line);
            let what = err.to_string();
            match err.into_kind() {
                ErrorKind::Io(err) => Err(err),
                ErrorKind::UnequalLengths { expected_len, len, .. } => {
                    let what = format!("it has {len} columns, the header has {expected_len}");
                    Ok(Some(Entry::at(line, Err(what))))
                }
                _ => Ok(Some(Entry::at(line, Err(what)))),
            }
        }
    }
}

fn record(header: &Header, row: &ByteRecord) -> Result<Record, String> {
    let part = |column: usize| row.get(column).unwrap_or_default().to_vec();
    let key = Key::with_sort(part(header.key), header.sort.map(part).unwrap_or_default());
    if key.partition.is_empty() {
        return Err("its key is empty".to_owned());
    }
    // By hand, because the columns have an order and a map has none.
    let mut json = String::from("{");
    for (name, field) in header.names.iter().zip(row) {
        let field = std::str::from_utf8(field).map_err(|_| format!("{name} is no UTF-8"))?;
        if json.len() > 1 {
            json.push(',');
        }
        json += &serde_json::Value::from(name.as_str()).to_string();
        json.push(':');
        json += &serde_json::Value::from(field).to_string();
    }
    json.push('}');
    Ok(Record::new(key, Content::json(json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        text: &str,
        key: Option<&str>,
        sort: Option<&str>,
    ) -> Vec<(u64, Result<String, String>)> {
        let columns = Columns { key: key.map(str::to_owned), sort: sort.map(str::to_owned) };
        let entries = entries(text.as_bytes(), &columns).unwrap();
        let shown = |record: Record| {
            format!("{} = {}", record.key, String::from_utf8_lossy(&record.contents[0].body))
        };
        entries.map(Result::unwrap).map(|entry| (entry.line, entry.parsed.map(shown))).collect()
    }

    #[test]
    fn a_row_becomes_an_object_in_the_order_of_the_columns() {
        let text = "id,name,at\r\n7,\"Skagen, \"\"N\"\"\",x\r\n8,\"a\nb\",y\r\n9,c,z\r\n";
        let rows = read(text, None, None);
        assert_eq!(
            rows[0],
            (2, Ok(r#"7 = {"id":"7","name":"Skagen, \"N\"","at":"x"}"#.to_owned()))
        );
        assert_eq!(rows[1], (3, Ok(r#"8 = {"id":"8","name":"a\nb","at":"y"}"#.to_owned())));
        assert_eq!(rows[2].0, 5);
        assert!(read(text, Some("name"), Some("id"))[2].1.as_ref().unwrap().starts_with("c / 9 ="));
    }

    #[test]
    fn a_bad_row_is_reported_with_its_line_and_the_next_is_read() {
        let rows = read("id,name\n1,a\n2\n,b\n3,c\n", None, None);
        let says = |index: usize| rows[index].1.as_ref().unwrap_err().as_str();
        assert_eq!((rows[1].0, says(1)), (3, "it has 1 columns, the header has 2"));
        assert_eq!((rows[2].0, says(2)), (4, "its key is empty"));
        assert!(rows[3].1.is_ok());
    }

    #[test]
    fn a_lone_carriage_return_ends_a_row_and_no_line() {
        let rows = read("id,name\r\n6,a\r7,b\r\n8,\"c\nd\"\r9,e\n", None, None);
        assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [2, 2, 3, 4]);
        assert!(rows.iter().all(|row| row.1.is_ok()), "{rows:?}");
    }

    #[test]
    fn a_quote_that_is_never_closed_is_reported_where_it_opens() {
        for line_end in ["\n", "\r\n"] {
            let text = "id,name\n1,a\n2,\"b\n3,c\n4,d\n".replace('\n', line_end);
            let rows = read(&text, None, None);
            assert_eq!(rows.len(), 2, "{rows:?}");
            let (line, fault) = &rows[1];
            assert!(*line == 3 && fault.as_ref().unwrap_err().contains("not closed"), "{rows:?}");
        }
        let header = entries(&b"id,\"name\n1,a\n"[..], &Columns::default()).map(drop);
        assert!(header.unwrap_err().to_string().contains("not closed"));
    }

    #[test]
    fn a_header_that_does_not_fit_ends_it() {
        let fails = |text: &str, key: &str| {
            let columns = Columns { key: Some(key.to_owned()), sort: None };
            entries(text.as_bytes(), &columns).map(drop).unwrap_err().to_string()
        };
        assert!(fails("a,b\n", "c").contains("the columns are: a, b"));
        assert!(fails("a,a\n", "a").contains("twice"));
    }
}
