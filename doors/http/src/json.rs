//! JSON forms that several requests share.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use causality::Dot;
use model::{Level, Object, Value};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::params::{LEVEL_PATTERN, LEVEL_WORDS};
use crate::problem::Problem;
use crate::receipt::ReceiptJson;

/// One of the concurrent values of a key.
#[derive(Serialize, ToSchema)]
#[schema(as = Value)]
pub(crate) struct ValueJson {
    /// The media type that its writer gave.
    content_type: String,
    /// The bytes, in base64.
    #[schema(content_encoding = "base64")]
    value: String,
    /// The write that made it.
    #[schema(example = "00c0ffee00c0ffee:4")]
    dot: String,
    /// Whether only a disk had it that does not come back, from which it was taken in later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    recovered: bool,
}

impl ValueJson {
    fn new(dot: Dot, value: &Value, recovered: bool) -> Self {
        Self {
            content_type: String::from_utf8_lossy(&value.content_type).into_owned(),
            value: STANDARD.encode(&value.body),
            dot: dot.to_string(),
            recovered,
        }
    }

    /// The bytes of all values of an object, roughly, as JSON.
    pub(crate) fn bytes(object: &Object) -> usize {
        let bytes = |value: &Value| value.content_type.len() + value.body.len().div_ceil(3) * 4;
        object.values().values().map(bytes).sum()
    }

    /// Every value of an object.
    pub(crate) fn all(object: &Object) -> Vec<Self> {
        let value =
            |(dot, value): (&Dot, &Value)| Self::new(*dot, value, object.is_recovered(*dot));
        object.values().iter().map(value).collect()
    }
}

/// What a key holds.
#[derive(Serialize, ToSchema)]
#[schema(as = Values)]
pub(crate) struct ValuesJson {
    /// The concurrent values: at least one.
    pub(crate) values: Vec<ValueJson>,
    /// What to pass when writing the key again, as one token for all values.
    pub(crate) context: String,
    /// Who took part, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) receipt: Option<ReceiptJson>,
}

/// What a write came to.
#[derive(Serialize, ToSchema)]
#[schema(as = Written)]
pub(crate) struct WrittenJson {
    /// What to pass when writing the key again without reading it.
    pub(crate) context: String,
    /// Whether the write had come before, with the same idempotency key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) repeated: bool,
    /// Who took part.
    pub(crate) receipt: ReceiptJson,
}

/// Bytes that are text if they can be.
pub(crate) struct TextOrBase64 {
    /// The bytes, if they are UTF-8.
    pub(crate) text: Option<String>,
    /// The bytes in base64, if they are not.
    pub(crate) base64: Option<String>,
}

impl From<&Bytes> for TextOrBase64 {
    fn from(bytes: &Bytes) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self { text: Some(text.to_owned()), base64: None },
            Err(_) => Self { text: None, base64: Some(STANDARD.encode(bytes)) },
        }
    }
}

/// Reads bytes out of a pair of fields such as `key` and `key_base64`.
///
/// # Errors
///
/// `malformed_request` if both are there, or the second is no base64.
pub(crate) fn bytes(
    field: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Bytes>, Problem> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(base64)) => decode_base64(&format!("{field}_base64"), &base64).map(Some),
        (Some(_), Some(_)) => {
            let detail = format!("give {field} or {field}_base64, not both");
            Err(Problem::malformed(detail))
        }
    }
}

/// Reads bytes out of a base64 field.
///
/// # Errors
///
/// `malformed_request` if it is no base64.
pub(crate) fn decode_base64(field: &str, base64: &str) -> Result<Bytes, Problem> {
    let bytes = STANDARD.decode(base64);
    let bytes = bytes.map_err(|error| Problem::malformed(format_args!("{field}: {error}")))?;
    Ok(bytes.into())
}

/// A `T` that must be written as an object. What derives its form would take an array of its
/// fields as well, in the order in which they happen to be declared.
pub(crate) struct FromObject<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = FromObject<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FromObject<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(FromObject)
    }
}

/// A level: `"QUORUM"`, `"2"` or `2`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LevelJson(pub(crate) Level);

impl<'de> Deserialize<'de> for LevelJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LevelVisitor)
    }
}

struct LevelVisitor;

impl Visitor<'_> for LevelVisitor {
    type Value = LevelJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(LEVEL_WORDS)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<LevelJson, E> {
        let unexpected = || E::invalid_value(de::Unexpected::Str(text), &self);
        Level::parse(text).map(LevelJson).ok_or_else(unexpected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<LevelJson, E> {
        let unexpected = |_| E::invalid_value(de::Unexpected::Unsigned(number), &self);
        u8::try_from(number).map(|count| LevelJson(Level::Count(count))).map_err(unexpected)
    }
}

impl PartialSchema for LevelJson {
    fn schema() -> RefOr<Schema> {
        let name = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(LEVEL_PATTERN))
            .min_length(Some(1))
            .examples(["QUORUM"]);
        let count = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(1))
            .maximum(Some(255));
        OneOfBuilder::new()
            .item(name)
            .item(count)
            .description(Some(format!("Whose answers are awaited: {LEVEL_WORDS}.")))
            .into()
    }
}

impl ToSchema for LevelJson {
    fn name() -> std::borrow::Cow<'static, str> {
        "Level".into()
    }
}
