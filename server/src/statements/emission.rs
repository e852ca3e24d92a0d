//! When the rows of a view appear, among the options that are kept of it.

use millrace_functions::casts::interval_of;
use millrace_planner::lower::Emission;
use millrace_planner::parse::CreateMaterializedView;
use millrace_types::{Result, SqlError, SqlState};

/// The options that say it. Nobody can write them: they hold blanks.
const EMIT: &str = "emit on";
const IDLE_TIMEOUT: &str = "emit idle timeout";
const ON_CLOSE: &str = "window close";
/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// What CREATE MATERIALIZED VIEW says of it, as options.
///
/// # Errors
/// `22023` for an option or a value that there is not.
pub fn options(create: &CreateMaterializedView) -> Result<Vec<(String, String)>> {
    let Some(given) = &create.on_close else { return Ok(vec![]) };
    let mut options = vec![(EMIT.to_owned(), ON_CLOSE.to_owned())];
    for (name, value) in given {
        if name != "idle_timeout" {
            let message = format!("unrecognized option \"{name}\" of EMIT ON WINDOW CLOSE");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("The option of EMIT ON WINDOW CLOSE is idle_timeout."));
        }
        micros(value)?;
        options.push((IDLE_TIMEOUT.to_owned(), value.clone()));
    }
    Ok(options)
}

/// What the options of a view say of it.
///
/// # Errors
/// As [`options`]; none for options that were made by it.
pub fn of(options: &[(String, String)]) -> Result<Emission> {
    let value = |wanted: &str| options.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    match value(EMIT) {
        Some(ON_CLOSE) => Ok(Emission::OnClose { idle: value(IDLE_TIMEOUT).map(micros).transpose()? }),
        _ => Ok(Emission::Changes),
    }
}

fn micros(text: &str) -> Result<i64> {
    let invalid = || {
        let message = format!("invalid value for option \"idle_timeout\": \"{text}\"");
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .with_hint("It is a span of time such as '30s' or '5 minutes'.")
    };
    let interval = interval_of(text).map_err(|_| invalid())?;
    let days = i64::from(interval.days).checked_mul(DAY).filter(|_| interval.months == 0);
    let micros = days.and_then(|days| days.checked_add(interval.nanoseconds / 1000));
    micros.filter(|micros| *micros > 0).ok_or_else(invalid)
}
