//! The time zone of a session: what casts between civil times and moments go by.

use crate::temporal::zone;
use arrow::array::timezone::Tz;
use datafusion::config::ConfigOptions;
use millrace_types::Result;

/// The session's time zone, UTC unless `execution.time_zone` says otherwise.
pub fn session_zone(options: &ConfigOptions) -> Result<Tz> {
    zone(options.execution.time_zone.as_deref().unwrap_or("UTC"))
}
