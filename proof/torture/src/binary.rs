//! Whether the program under test is what its sources say.
//!
//! A build that is older than the sources proves nothing about them, and looks as if it did.
//! Cargo builds anew what is older than a file that went into it, and so can we tell: by the
//! times of the files. Tests do not go into a program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where a workspace has what goes into its program.
const PARTS: [&str; 4] = ["core", "edge", "doors", "apps"];

/// A source of the workspace at `root` that was changed after a program was built, if any was.
///
/// # Errors
///
/// There is no such program, or there are no sources.
pub fn newer_source(program: &Path, root: &Path) -> io::Result<Option<PathBuf>> {
    let built = program.metadata()?.modified()?;
    for part in PARTS {
        let newer = newer_below(&root.join(part), built)?;
        if newer.is_some() {
            return Ok(newer);
        }
    }
    Ok(None)
}

fn newer_below(dir: &Path, built: SystemTime) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let newer = if path.is_dir() {
            let is_of_tests = path.ends_with("tests") || path.ends_with("benches");
            if is_of_tests { None } else { newer_below(&path, built)? }
        } else {
            let changed = path.metadata()?.modified()?;
            (built < changed && is_source(&path)).then_some(path)
        };
        if newer.is_some() {
            return Ok(newer);
        }
    }
    Ok(None)
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_program_is_stale_if_a_source_is_newer_and_not_if_a_test_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, seconds_ago| {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::write(path(name), "").unwrap();
            let file = fs::OpenOptions::new().write(true).open(path(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
        };
        for part in PARTS {
            write(&format!("{part}/a/src/lib.rs"), 30);
        }
        let program = path("target/program");
        assert!(newer_source(&program, dir.path()).is_err(), "there is none");
        write("target/program", 20);
        write("edge/a/tests/test.rs", 10);
        write("edge/a/README.md", 10);
        assert_eq!(newer_source(&program, dir.path()).unwrap(), None);
        write("edge/a/src/deep/er.rs", 10);
        let newer = newer_source(&program, dir.path()).unwrap();
        assert_eq!(newer, Some(path("edge/a/src/deep/er.rs")));
        assert!(newer_source(&program, &path("target")).is_err(), "there are no sources");
    }
}
