//! Network namespaces, and the names of those that their makers left behind.
//!
//! A namespace has a name in the file system, which outlives a process that was killed. So
//! the name tells the process: `merganser-PID-SUBNET-PORT`. Whoever makes namespaces first
//! removes those whose process is no more.

use std::path::Path;
use std::process::Command;

use crate::Error;

/// How the names of all our namespaces begin.
const PREFIX: &str = "merganser-";

/// A network namespace. Dropping it removes its name; it is gone when its last process is.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn create(subnet: u16, port: usize) -> Result<Self, Error> {
        let name = format!("{PREFIX}{}-{subnet}-{port}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, arguments: &[&str]) -> Result<(), Error> {
        let mut words = vec!["-n", &self.name];
        words.extend(arguments);
        ip(&words).map(|_| ())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // There is nobody to tell, and the next run tries again.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// Removes what processes left behind that are no more.
pub(crate) fn remove_leftovers() -> Result<(), Error> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another run may be quicker.
            let _ = ip(&["netns", "del", name]);
        }
    }
    Ok(())
}

/// The process that made a namespace, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// Runs `ip` and returns what it wrote.
pub(crate) fn ip(arguments: &[&str]) -> Result<String, Error> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|err| Error::Unavailable(format!("ip (iproute2): {err}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = format!("ip {}: {}", arguments.join(" "), said.trim());
    let is_forbidden = ["not permitted", "denied", "Read-only"].iter().any(|no| said.contains(no));
    Err(if is_forbidden { Error::Unavailable(said) } else { Error::Failed(said) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_process_and_the_names_of_others_tell_nothing() {
        assert_eq!(owner("merganser-4711-17-3"), Some(4711));
        assert_eq!(owner("merganser-blue"), None);
        assert_eq!(owner("other-4711-17-3"), None);
    }
}
