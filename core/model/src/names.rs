//! Names of things and of places.

use std::fmt;
use std::sync::Arc;

use crate::Malformed;

/// Declares a newtype over an integer that prints as a prefix and the number.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the number.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number, for encoding.
            pub const fn number(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

id! {
    /// One node of the cluster, chosen by the operator and never given to another.
    NodeId(u16), "n"
}
id! {
    /// One keyspace. Numbers are handed out by the catalog and never used again.
    KeyspaceId(u32), "ks"
}
id! {
    /// One table, unique over all keyspaces. Never used again, so that the data of a
    /// dropped table cannot appear in one of the same name.
    TableId(u32), "t"
}
id! {
    /// One cluster. Nodes of different clusters refuse to talk to each other.
    ClusterId(u64), "c"
}

/// One data directory: drawn when it was made, and never again. A node that comes back with
/// another one has lost what it had.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DiskId(u128);

impl DiskId {
    /// Wraps the bits.
    pub const fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits, for encoding.
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {self}")
    }
}

/// One of the equal slices of a keyspace's hash space: the unit of placement.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ShardId {
    /// The keyspace that is sliced.
    pub keyspace: KeyspaceId,
    /// Which slice, from 0 to below the keyspace's number of shards.
    pub index: u16,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.keyspace, self.index)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The name of a keyspace, table, region or zone: 1 to 64 characters out of `a-z`, `0-9`,
/// `_`, `-` and `.`, beginning with a letter or digit. Such a name needs no escaping in a
/// URL, a file name or a shell.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Arc<str>);

/// The name of a site, as in `eu-west` or `svalbard`.
pub type Region = Name;

/// The name of a failure domain in a region, as in a rack or a room.
pub type Zone = Name;

impl Name {
    /// Accepts a name.
    ///
    /// # Errors
    ///
    /// [`Malformed::Name`] if it is empty, too long, or has other characters.
    pub fn new(name: &str) -> Result<Self, Malformed> {
        let fits = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-' | '.');
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if starts_well && name.len() <= 64 && name.chars().all(fits) {
            Ok(Self(name.into()))
        } else {
            Err(Malformed::Name(name.chars().take(80).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
