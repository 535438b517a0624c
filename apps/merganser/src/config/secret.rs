//! What the nodes of a cluster share and nobody else knows.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{ConfigError, wrong};

/// The fewest bytes of a secret: 128 bits cannot be guessed if they are random.
const SECRET_BYTES_MIN: usize = 16;

/// The most bytes of a secret. More is surely the wrong file.
const SECRET_BYTES_MAX: usize = 4_096;

/// The shared secret of a cluster, as a key: it proves to other nodes that a node belongs,
/// and seals the contexts handed to clients. Never printed.
#[derive(Clone)]
pub(crate) struct Secret([u8; 32]);

impl Secret {
    /// Reads a secret from its file; a line break at the end does not belong to it.
    ///
    /// # Errors
    ///
    /// The file is missing, may be read by others than its owner, or is too short.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display();
        let unreadable = |source| wrong("secret_file", format!("cannot read {shown}: {source}"));
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let problem =
                format!("others may read {shown} (mode {mode:03o}): run chmod 600 {shown}");
            return Err(wrong("secret_file", problem));
        }
        let mut bytes = fs::read(path).map_err(unreadable)?;
        while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            bytes.pop();
        }
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            let problem = format!(
                "{shown} has {} bytes, a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}: \
                 make one with (umask 077; head -c 32 /dev/urandom | base64 > {shown})",
                bytes.len()
            );
            return Err(wrong("secret_file", problem));
        }
        Ok(Self(blake3::derive_key("merganser 2026 cluster secret", &bytes)))
    }

    /// The key that other keys are derived from.
    pub(crate) fn key(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
