//! Log lines, to standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogConfig, LogFormat};

/// Begins to log. Colours only if a person is looking.
///
/// # Errors
///
/// The filter makes no sense.
pub(super) fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| ConfigError::Wrong {
        option: "log_level",
        problem: format!(
            "{:?} is no filter: {error}; write error, warn, info, debug or trace",
            config.filter
        ),
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(is_terminal).init();
        }
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
