//! JSON Lines: one record per line. `import` reads it and `export` writes it.
//!
//! ```text
//! {"key":"alice","sort":"2024-01-31","value":"milk","content_type":"text/plain"}
//! {"key":"bob","value":{"milk":2}}
//! {"key_base64":"/wA=","value_base64":"AAEC"}
//! {"key":"carol","values":[{"value":"tea"},{"value":"milk","content_type":"text/plain"}]}
//! ```
//!
//! | field | meaning |
//! | --- | --- |
//! | `key` or `key_base64` | the partition key, as text or any bytes. Required |
//! | `sort` or `sort_base64` | the sort key; none without it |
//! | `value` | text: the bytes of the text. Any other JSON: the bytes as they stand in the line |
//! | `value_base64` | any bytes |
//! | `values` | siblings: objects of `value` or `value_base64`, and `content_type`. Exactly one of the three is required |
//! | `content_type` | what the value is. Without it `text/plain; charset=utf-8` for text, `application/json` for other JSON, `application/octet-stream` for base64 |
//!
//! Other fields are faults: a misspelt `sort` would store records on top of each other. An
//! exported line reads back as exactly the bytes that it was written from.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::{Content, Key, Value};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::entry::{Entry, Lines, Record, too_long};

/// A line, as JSON has it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_base64: Option<String>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<RawContent>>,
}

/// A value of a line that has several.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawContent {
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

/// Reads a member that is there: `null` is a value like any other.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// Reads the records of a JSON Lines file. Blank lines are skipped.
pub(crate) fn entries(from: impl BufRead) -> impl Iterator<Item = io::Result<Entry>> {
    Lines::new(from).filter_map(|line| match line {
        Ok((_, Some(line))) if line.trim_ascii().is_empty() => None,
        Ok((number, Some(line))) => Some(Ok(Entry::at(number, record(&line)))),
        Ok((number, None)) => Some(Ok(Entry::at(number, Err(too_long())))),
        Err(err) => Some(Err(err)),
    })
}

/// Reads one line.
pub(crate) fn record(line: &[u8]) -> Result<Record, String> {
    let raw: RawRecord = serde_json::from_slice(line).map_err(|err| err.to_string())?;
    let partition = part("key", raw.key, raw.key_base64)?.ok_or("it has no key")?;
    let sort = part("sort", raw.sort, raw.sort_base64)?.unwrap_or_default();
    if partition.is_empty() {
        return Err("its key is empty".to_owned());
    }
    let RawRecord { value, value_base64, content_type, .. } = raw;
    let single = RawContent { value, value_base64, content_type };
    let contents = match raw.values {
        None => vec![content(single)?],
        Some(_) if !single.is_empty() => return Err("it has a value and values".to_owned()),
        Some(values) => values.into_iter().map(content).collect::<Result<_, _>>()?,
    };
    if contents.is_empty() {
        return Err("it has no value".to_owned());
    }
    Ok(Record { key: Key { partition, sort }, contents })
}

impl RawContent {
    fn is_empty(&self) -> bool {
        self.value.is_none() && self.value_base64.is_none() && self.content_type.is_none()
    }
}

fn content(raw: RawContent) -> Result<Content, String> {
    let (body, default_type) = match (raw.value, raw.value_base64) {
        (Some(json), None) => value(&json)?,
        (None, Some(base64)) => (decode("value", &base64)?, "application/octet-stream"),
        (Some(_), Some(_)) => return Err("it has a value and a value_base64".to_owned()),
        (None, None) => return Err("it has no value".to_owned()),
    };
    let content_type = raw.content_type.as_deref().unwrap_or(default_type);
    Content::new(content_type, body).map_err(|err| err.to_string())
}

fn value(json: &RawValue) -> Result<(Bytes, &'static str), String> {
    let json = json.get();
    if json.starts_with('"') {
        let text: String = serde_json::from_str(json).map_err(|err| err.to_string())?;
        Ok((text.into(), "text/plain; charset=utf-8"))
    } else {
        Ok((json.to_owned().into(), "application/json"))
    }
}

fn part(name: &str, text: Option<String>, base64: Option<String>) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("it has a {name} and a {name}_base64")),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(base64)) => decode(name, &base64).map(Some),
        (None, None) => Ok(None),
    }
}

fn decode(name: &str, base64: &str) -> Result<Bytes, String> {
    let bytes = STANDARD.decode(base64).map_err(|err| format!("its {name}_base64: {err}"))?;
    Ok(bytes.into())
}

/// Writes the values of a key as a line, without the line's end.
pub(crate) fn line(key: &Key, values: &[Value]) -> String {
    let mut raw = RawRecord::default();
    (raw.key, raw.key_base64) = text_or_base64(&key.partition);
    if !key.sort.is_empty() {
        (raw.sort, raw.sort_base64) = text_or_base64(&key.sort);
    }
    if let [value] = values {
        let single = raw_content(value);
        (raw.value, raw.value_base64) = (single.value, single.value_base64);
        raw.content_type = single.content_type;
    } else {
        raw.values = Some(values.iter().map(raw_content).collect());
    }
    serde_json::to_string(&raw).expect("strings can be written as JSON")
}

fn raw_content(value: &Value) -> RawContent {
    let json = as_json(value);
    let base64 = json.is_none().then(|| STANDARD.encode(&value.body));
    let content_type = Some(value.content_type.clone());
    RawContent { value: json, value_base64: base64, content_type }
}

/// The value as JSON, if it then reads back as the same bytes.
fn as_json(value: &Value) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(&value.body).ok()?;
    if value.content_type == "application/json"
        && !text.contains(['\n', '\r'])
        && !text.starts_with(['"', ' ', '\t'])
        && let Ok(json) = serde_json::from_str::<Box<RawValue>>(text)
        && json.get() == text
    {
        return Some(json);
    }
    let quoted = serde_json::to_string(text).expect("a string can be written as JSON");
    RawValue::from_string(quoted).ok()
}

fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(line: &str) -> (Key, String, Vec<u8>) {
        let record = record(line.as_bytes()).unwrap();
        let [content] = record.contents.as_slice() else { panic!("{record:?} has one value") };
        (record.key, content.content_type().to_owned(), content.body.to_vec())
    }

    #[test]
    fn a_line_is_read_by_the_kind_of_its_value() {
        let (key, content_type, body) = stored(r#"{"key":"a","sort":"s","value":"x\ny"}"#);
        assert_eq!(key, Key::with_sort("a", "s"));
        assert_eq!(
            (content_type.as_str(), body.as_slice()),
            ("text/plain; charset=utf-8", &b"x\ny"[..])
        );
        let (_, content_type, body) =
            stored(r#"{"key":"a","value":{"z":1e2,"a":[12345678901234567890123]}}"#);
        // As it stands: no member moved, no number rounded.
        assert_eq!(body, br#"{"z":1e2,"a":[12345678901234567890123]}"#);
        assert_eq!(content_type, "application/json");
        let (key, content_type, body) = stored(r#"{"key_base64":"/wA=","value_base64":"AAEC"}"#);
        assert_eq!((&key.partition[..], body.as_slice()), (&[255, 0][..], &[0, 1, 2][..]));
        assert_eq!(content_type, "application/octet-stream");
    }

    #[test]
    fn a_line_that_could_be_meant_otherwise_is_a_fault() {
        for (line, says) in [
            (r#"{"value":1}"#, "no key"),
            (r#"{"key":"a"}"#, "no value"),
            (r#"{"key":"","value":1}"#, "empty"),
            (r#"{"key":"a","key_base64":"YQ==","value":1}"#, "key_base64"),
            (r#"{"key":"a","value":1,"value_base64":"YQ=="}"#, "value_base64"),
            (r#"{"key":"a","srot":"x","value":1}"#, "srot"),
            (r#"{"key":"a","value_base64":"?"}"#, "value_base64"),
            (r#"{"key":7,"value":1}"#, "string"),
            (r#"{"key":"a","value":1} x"#, "trailing"),
            (r#"{"key":"a","values":[]}"#, "no value"),
            (r#"{"key":"a","values":[{"value":1},{}]}"#, "no value"),
            (r#"{"key":"a","value":1,"values":[{"value":1}]}"#, "a value and values"),
            (r#"{"key":"a","values":[{"value":1,"dot":2}]}"#, "dot"),
            ("[1]", "invalid"),
        ] {
            let fault = record(line.as_bytes()).unwrap_err();
            assert!(fault.contains(says), "{line}: {fault}");
        }
    }

    #[test]
    fn an_exported_line_reads_back_as_the_same_bytes() {
        for (content_type, body) in [
            ("application/json", &br#"{"b":1,"a":1.50}"#[..]),
            ("application/json", b"{\n \"a\": 1}"),
            ("application/json", b" 1 "),
            ("application/json", br#""text""#),
            ("application/json", b"no json"),
            ("application/json", b"null"),
            ("text/plain", "ümlaut \u{0} \"x\"\r\n".as_bytes()),
            ("text/plain", b""),
            ("image/png", &[0xff, 0, 1]),
        ] {
            let key = Key::with_sort(&b"\xff\x00"[..], "s");
            let value = Value {
                content_type: content_type.to_owned(),
                body: Bytes::from_static(body),
                dot: None,
                recovered: false,
            };
            let line = line(&key, &[value]);
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(stored(&line), (key, content_type.to_owned(), body.to_vec()), "{line}");
        }
    }

    #[test]
    fn siblings_are_one_line_and_read_back_as_siblings() {
        let value = |content_type: &str, body: &'static [u8]| Value {
            content_type: content_type.to_owned(),
            body: Bytes::from_static(body),
            dot: None,
            recovered: false,
        };
        let values = [value("application/json", b"null"), value("image/png", b"\xff")];
        let line = line(&Key::new("k"), &values);
        let members = r#"[{"value":null,"content_type":"application/json"},{"value_base64":"/w==","content_type":"image/png"}]"#;
        assert_eq!(line, format!(r#"{{"key":"k","values":{members}}}"#));
        let record = record(line.as_bytes()).unwrap();
        let read =
            record.contents.iter().map(|content| (content.content_type(), &content.body[..]));
        let written = values.iter().map(|value| (value.content_type.as_str(), &value.body[..]));
        assert!(read.eq(written));
    }
}
