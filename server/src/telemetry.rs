//! Logs: structured, on standard error, one line each.

use crate::config::{Config, LogFormat};
use millrace_types::{Result, SqlError, SqlState};
use tracing_subscriber::EnvFilter;

/// Starts logging as configured.
///
/// # Errors
/// `F0000` for a filter that cannot be read.
pub fn start(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|error| SqlError::new(SqlState::CONFIG_FILE_ERROR, format!("invalid log filter: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match config.log_format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
