//! `WATERMARK FOR column AS expression WITH (...)` of a source or table, and statements that move time in test mode.

use super::answer::done;
use super::context::Context;
use super::select::constant;
use crate::coordinator::{TimeChange, Timed};
use crate::session::Session;
use arrow::array::ArrayRef;
use arrow::datatypes::{IntervalMonthDayNano, SchemaRef};
use datafusion::scalar::ScalarValue;
use millrace_catalog::{Late, Relation, Watermark};
use millrace_connectors::options::nearest;
use millrace_functions::casts::interval_of;
use millrace_planner::bind::{WatermarkExpression, micros};
use millrace_planner::parse::{SetTime, WatermarkDefinition, fold, name_parts};
use millrace_planner::sql_error;
use millrace_types::{EventTime, Result, SqlError, SqlState, SqlType};
use millrace_wire::Response;
use std::sync::Arc;

const OPTIONS: [&str; 3] = ["idle_timeout", "max_future_skew", "late"];
/// Microseconds in a day.
const DAY: i64 = 86_400_000_000;

/// What a statement says of the watermark of a relation with these columns: its definition, with the event time.
pub fn defined(definition: &WatermarkDefinition, columns: &SchemaRef) -> Result<(Watermark, usize)> {
    let name = fold(&definition.column);
    let column = columns.fields().iter().position(|field| *field.name() == name).ok_or_else(|| {
        SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" named in watermark does not exist"))
    })?;
    let mut watermark = Watermark {
        sql: definition.expression.clone(),
        idle_timeout: None,
        max_future_skew: None,
        late: Late::default(),
    };
    for (option, value) in &definition.options {
        match option.as_str() {
            "idle_timeout" => watermark.idle_timeout = Some(span(option, value)?),
            "max_future_skew" => watermark.max_future_skew = Some(span(option, value)?),
            "late" => watermark.late = late(value)?,
            _ => return Err(unknown(option)),
        }
    }
    Ok((watermark, column))
}

fn late(word: &str) -> Result<Late> {
    let all = [Late::Window, Late::Drop, Late::Keep];
    all.into_iter().find(|late| late.word().eq_ignore_ascii_case(word)).ok_or_else(|| {
        let message = format!("invalid value for the option \"late\" of a watermark: \"{word}\"");
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint("It is window, drop or keep.")
    })
}

fn unknown(option: &str) -> SqlError {
    let message = format!("unknown option \"{option}\" of a watermark");
    let hint = match nearest(option, OPTIONS.into_iter()) {
        Some(known) => format!("Perhaps you meant \"{known}\"."),
        None => format!("The options are {}.", OPTIONS.join(", ")),
    };
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(hint)
}

fn span(option: &str, text: &str) -> Result<i64> {
    let invalid = |hint: &str| {
        let message = format!("invalid value for the option \"{option}\" of a watermark: \"{text}\"");
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(hint)
    };
    let interval = interval_of(text).map_err(|_| invalid("It is a span of time such as '30s' or '5 minutes'."))?;
    match micros_of(interval) {
        Some(micros) if micros > 0 => Ok(micros),
        Some(_) => Err(invalid("It must be longer than nothing.")),
        None => Err(invalid("Months have no fixed length: give it in days or less.")),
    }
}

/// The length of a span without months.
fn micros_of(interval: IntervalMonthDayNano) -> Option<i64> {
    let days = i64::from(interval.days).checked_mul(DAY)?;
    (interval.months == 0).then_some(days)?.checked_add(interval.nanoseconds / 1000)
}

/// The watermark of a relation, ready to be computed; `None` when it has none.
pub fn timed(context: &Context, relation: &Relation, columns: &SchemaRef) -> Result<Option<Arc<Timed>>> {
    let (Some(definition), Some(column)) = (&relation.watermark, relation.event_time) else { return Ok(None) };
    let (text, name) = (&definition.sql, &relation.name);
    let expression = WatermarkExpression::bind(text, column, name, columns, context, &context.functions)?;
    let width = columns.fields().len();
    Ok(Some(Arc::new(Timed { expression, definition: definition.clone(), column, width })))
}

/// ALTER SYSTEM SET CLOCK and ADVANCE.
pub async fn set_time(session: &mut Session, statement: &SetTime) -> Result<Response> {
    let (change, tag) = match statement {
        SetTime::Clock(to) => (TimeChange::Clock(moment(session, to).await?), "ALTER SYSTEM"),
        SetTime::ClockBy(by) => {
            let value = constant(session, by, &SqlType::Interval).await?;
            let interval = match ScalarValue::try_from_array(&value, 0).map_err(sql_error)? {
                ScalarValue::IntervalMonthDayNano(Some(interval)) => micros_of(interval),
                _ => None,
            };
            let by = interval.filter(|by| *by >= 0).ok_or_else(|| {
                SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "the clock goes on by a span of time without months")
            })?;
            (TimeChange::ClockBy(by), "ADVANCE")
        }
        SetTime::Watermark { relation, to } => {
            let context = Context::new(session, session.published(), "");
            let id = context.resolve(&name_parts(relation))?.id;
            (TimeChange::Watermark(id, moment(session, to).await?), "ADVANCE")
        }
    };
    session.database.clone().coordinator.set_time(change).await?;
    done(tag)
}

async fn moment(session: &mut Session, expression: &sqlparser::ast::Expr) -> Result<EventTime> {
    let value: ArrayRef = constant(session, expression, &SqlType::Timestamptz).await?;
    let moment = micros(&value)?.iter().next().flatten();
    moment.map(EventTime).ok_or_else(|| SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "the moment must not be NULL"))
}
