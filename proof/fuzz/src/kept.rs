//! The inputs that are kept, as text: one line of hexadecimal for each.
//!
//! libFuzzer wants a file for every input, and a thousand binary files are nothing to keep
//! in a repository. `corpus/TARGET.hex` has what covers most, the shortest first, within a
//! budget; `found/TARGET.hex` has what once made the target panic, each below a line that
//! begins with `#` and says what it was.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Target, all};

/// The most bytes of one target's kept inputs, as text. All targets together stay below
/// 300 KiB.
const BYTES_MAX: usize = 11 << 10;

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn path_of(folder: &str, target: &Target) -> PathBuf {
    home().join(folder).join(format!("{}.hex", target.name))
}

/// The inputs that are kept for a target: seeds, corpus, and what was found.
///
/// # Panics
///
/// If a file has a line that is neither hexadecimal nor a remark.
pub fn kept(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    for folder in ["corpus", "found"] {
        // Most targets have none in one of the two; a name of no target is found by the test.
        let text = fs::read_to_string(path_of(folder, target)).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        inputs.extend(lines.map(|line| from_hex(line).expect("a line of hexadecimal")));
    }
    inputs
}

/// Writes the kept inputs of all targets into `dir`, a file for each, and a dictionary beside.
///
/// # Errors
///
/// That of the file system.
pub fn unpack(dir: &Path) -> io::Result<()> {
    for target in all() {
        let corpus = dir.join(target.name);
        fs::create_dir_all(&corpus)?;
        for (index, input) in kept(target).iter().enumerate() {
            fs::write(corpus.join(format!("kept-{index:04}")), input)?;
        }
        let mut words = String::new();
        for word in target.dictionary {
            let escaped = word.bytes().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "\\x{byte:02x}");
                text
            });
            let _ = writeln!(words, "\"{escaped}\"");
        }
        fs::write(dir.join(format!("{}.dict", target.name)), words)?;
    }
    Ok(())
}

/// Keeps what is in `dir`, the shortest inputs first, within the budget of each target.
/// Seeds are made anew each time, and not kept.
///
/// # Errors
///
/// That of the file system.
pub fn pack(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(home().join("corpus"))?;
    for target in all() {
        let seeds: BTreeSet<Vec<u8>> = (target.seeds)().into_iter().collect();
        let mut inputs = Vec::new();
        for entry in fs::read_dir(dir.join(target.name))? {
            inputs.push(fs::read(entry?.path())?);
        }
        inputs.sort_by_key(|input| (input.len(), input.clone()));
        inputs.dedup();
        let mut text = String::new();
        for input in inputs.iter().filter(|input| !seeds.contains(*input)) {
            if text.len() + 2 * input.len() < BYTES_MAX {
                text += &to_hex(input);
                text.push('\n');
            }
        }
        fs::write(path_of("corpus", target), text)?;
    }
    Ok(())
}

/// A line of hexadecimal.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(line: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> =
        line.trim().chars().map(|digit| digit.to_digit(16)).collect::<Option<_>>()?;
    let pair =
        |pair: &[u32]| u8::try_from(pair.iter().fold(0, |byte, digit| byte * 16 + digit)).ok();
    digits.chunks(2).map(pair).collect()
}
