//! Levels and durabilities in files: as users write them.

/// See [`model::Level`].
pub(crate) mod level {
    use model::Level;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(level: &Level, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(level)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Level, D::Error> {
        let text = String::deserialize(from)?;
        Level::parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no level")))
    }
}

/// See [`model::Durability`].
pub(crate) mod durability {
    use model::Durability;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    pub(crate) fn serialize<S: Serializer>(it: &Durability, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(it.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Durability, D::Error> {
        let text = String::deserialize(from)?;
        Durability::parse(&text)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is no durability")))
    }
}
