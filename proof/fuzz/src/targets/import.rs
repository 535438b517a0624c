//! What the import takes from files: JSON Lines, CSV, orbital elements.

use client::{Key, Value};

use super::Target;
use crate::commands::import::entry::{Entry, Record};
use crate::commands::import::{csv, jsonl, tle};

pub(super) const TARGETS: &[Target] = &[
    Target {
        seeds: jsonl_seeds,
        dictionary: JSON_WORDS,
        per_byte: 256,
        ..Target::new("import-jsonl", from_jsonl)
    },
    Target { seeds: csv_seeds, per_byte: 1024, ..Target::new("import-csv", from_csv) },
    Target { seeds: tle_seeds, per_byte: 512, ..Target::new("import-tle", from_tle) },
];

const JSON_WORDS: &[&str] = &[
    "{\"key\":\"",
    "\"key_base64\":\"",
    "\"sort\":\"",
    "\"sort_base64\":\"",
    "\"value\":",
    "\"value_base64\":\"",
    "\"values\":[{",
    "\"content_type\":\"",
    "null",
    "\\u0000",
    "\\ud800",
    "application/json",
    "\n",
    "[[[[",
];

fn jsonl_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"key":"alice","sort":"2024-01-31","value":"milk","content_type":"text/plain"}"#,
        r#"{"key":"bob","value":{"milk":2}}"#,
        r#"{"key_base64":"/wA=","value_base64":"AAEC"}"#,
        r#"{"key":"carol","values":[{"value":"tea"},{"value":"milk","content_type":"text/plain"}]}"#,
        "{\"key\":\"d\",\"value\":null}\r\n\n{\"key\":\"e\",\"value\":[1, 2]}\nnonsense\n",
        r#"{"key":"f","value":" \u00e9\n","content_type":"application/json"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A line that is read can be written, and is then read as the same.
fn from_jsonl(input: &[u8]) {
    for record in checked(jsonl::entries(input)) {
        let value = |content: &client::Content| Value {
            content_type: content.content_type().to_owned(),
            body: content.body.clone(),
            dot: None,
            recovered: false,
        };
        let values: Vec<Value> = record.contents.iter().map(value).collect();
        let line = jsonl::line(&record.key, &values);
        assert!(!line.contains('\n'), "{line}");
        let again = jsonl::record(line.as_bytes()).expect("a line that was just written");
        assert_eq!(again.key, record.key, "{line}");
        let again: Vec<Value> = again.contents.iter().map(value).collect();
        let plain = |values: &[Value]| {
            values
                .iter()
                .map(|value| (value.content_type.clone(), value.body.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(&again), plain(&values), "{line}");
    }
}

fn csv_seeds() -> Vec<Vec<u8>> {
    [
        "id,name,at\r\n7,\"Skagen, \"\"N\"\"\",x\r\n8,\"a\nb\",y\r\n9,c,z\r\n",
        "id,name\n1,a\n2\n,b\n3,c\n",
        "id,name\n1,a\n2,\"b\n3,c\n4,d\n",
        "a,a\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A row is stored as an object with a member per column.
fn from_csv(input: &[u8]) {
    let Ok(entries) = csv::entries(input, &csv::Columns::default()) else { return };
    for record in checked(entries) {
        let content = record.contents.first().expect("a row has one value");
        let json: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&content.body).expect("a row is stored as JSON");
        let first = json.values().filter_map(serde_json::Value::as_str);
        assert!(first.clone().count() == json.len(), "a member that is no text");
        assert!(first.clone().any(|text| text.as_bytes() == record.key.partition));
    }
}

fn tle_seeds() -> Vec<Vec<u8>> {
    let first = "1 00005U 58002B   00179.78495062  .00000023  00000-0  28098-4 0  4753";
    let second = "2 00005  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413667";
    [
        format!("# c\r\nVANGUARD 1\r\n{first}\r\n\r\n# d\r\n{second}    0.0  9.0\r\n2 SHORT NAME\n{first}\n{second}\n"),
        format!("{first}\n{second}\n"),
        format!("{second}\n{first}\n"),
        format!("{first}\nNAME\n{second}\n"),
    ]
    .map(String::into_bytes)
    .into()
}

/// What is stored is the two lines, and reads back as the same record.
fn from_tle(input: &[u8]) {
    for record in checked(tle::entries(input)) {
        let content = record.contents.first().expect("elements are one value");
        let again: Vec<(Key, _)> = tle::entries(&content.body[..])
            .filter_map(|entry| entry.expect("bytes in memory").parsed.ok())
            .map(|record| (record.key, record.contents.first().map(|content| content.body.clone())))
            .collect();
        assert_eq!(again, [(record.key, Some(content.body.clone()))]);
    }
}

/// The records, after a look at the lines of all entries.
fn checked(entries: impl Iterator<Item = std::io::Result<Entry>>) -> impl Iterator<Item = Record> {
    let mut last = 0;
    entries.filter_map(move |entry| {
        let entry = entry.expect("bytes in memory");
        assert!(0 < entry.line && entry.line <= entry.end, "{entry:?}");
        assert!(last <= entry.end, "line {} comes behind {last}", entry.end);
        last = entry.end;
        let record = entry.parsed.ok()?;
        assert!(!record.key.partition.is_empty() && !record.contents.is_empty());
        Some(record)
    })
}
