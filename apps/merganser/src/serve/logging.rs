//! Log lines, to standard error.
//!
//! The filter's own parser takes any word that is no level for the name of a target, so a
//! misspelt `inof` would mean: log what the target `inof` has to say, and nothing else. A node
//! that is silent for ever because of one letter is worse than one that does not start, so
//! levels and targets are checked against what there is.
//!
//! A line that cannot be written, because the disk of the log is full, is lost and nothing
//! else: the library would complain about it to standard error, which is what has just
//! failed, and panic in the middle of whatever was logging.

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogConfig, LogFormat};

/// How much is logged.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The crates of this program that log. Below each are its modules.
const TARGETS: [&str; 4] = ["http_door", "merganser", "storage", "transport"];

/// Begins to log. Colours only if a person is looking.
///
/// # Errors
///
/// The filter makes no sense.
pub(super) fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let filter = parse(&config.filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match config.format {
        LogFormat::Text => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(is_terminal).init();
        }
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}

/// A filter of which every directive is a level, or a target that exists and its level.
fn parse(text: &str) -> Result<EnvFilter, ConfigError> {
    let wrong = |problem: String| ConfigError::Wrong {
        option: "log_level",
        problem: format!(
            "{problem}; write {}, or a filter such as info,transport=debug with the targets {}",
            LEVELS.join(", "),
            TARGETS.join(", ")
        ),
    };
    for directive in text.split(',') {
        let (target, level) = match directive.split_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        if !LEVELS.contains(&level) {
            return Err(wrong(format!("{level:?} is no level")));
        }
        if let Some(target) = target.filter(|target| !is_target(target)) {
            return Err(wrong(format!("{target:?} is no target")));
        }
    }
    EnvFilter::try_new(text).map_err(|error| wrong(format!("{text:?} is no filter: {error}")))
}

fn is_target(target: &str) -> bool {
    let name = target.split_once("::").map_or(target, |(name, _module)| name);
    TARGETS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_levels_and_the_targets_of_this_program_make_a_filter() {
        for right in ["error", "warn", "info", "debug", "trace", "info,transport=debug"]
            .into_iter()
            .chain(["transport=trace", "warn,merganser::serve=debug,storage=info,http_door=error"])
        {
            assert!(parse(right).is_ok(), "{right}");
        }
        for (text, problem) in [
            ("inof", "\"inof\" is no level; write error, warn, info, debug, trace"),
            ("", "\"\" is no level"),
            ("info,", "\"\" is no level"),
            ("debug,transport", "\"transport\" is no level"),
            ("info,transport=dbug", "\"dbug\" is no level"),
            ("info,trnsport=debug", "\"trnsport\" is no target"),
            ("info,transports=debug", "\"transports\" is no target"),
        ] {
            let said = parse(text).expect_err(text).to_string();
            assert!(said.starts_with(&format!("log_level: {problem}")), "{text}: {said}");
        }
    }
}
