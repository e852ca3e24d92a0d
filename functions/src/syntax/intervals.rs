//! Intervals whose type says their fields: `INTERVAL '1:30' MINUTE TO SECOND`, `x::interval(0)`.

use super::{call, cast, converted};
use crate::casts::{interval_of_fields, limited_interval};
use crate::format::write_interval;
use datafusion::sql::sqlparser::ast::{DataType, DateTimeField, Expr, Interval, Value, ValueWithSpan};

const INTERVAL: DataType = DataType::Interval { fields: None, precision: None };

/// All digits of seconds.
const DIGITS: u32 = 6;

/// A constant as a cast; `None` for an interval of an expression, which has no such form in Postgres.
pub fn constant(interval: &Interval) -> Option<Expr> {
    let Expr::Value(value) = interval.value.as_ref() else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    let name = |field: &DateTimeField| field.to_string().to_lowercase();
    let Some(first) = &interval.leading_field else { return Some(cast(value.clone(), INTERVAL)) };
    let first_name = name(first);
    let is_field = ["year", "month", "day", "hour", "minute", "second"].contains(&first_name.as_str());
    if interval.last_field.is_none() && (!is_field || text.trim().parse::<i64>().is_ok()) {
        let text = format!("{text} {first}");
        return Some(cast(ValueWithSpan { value: Value::SingleQuotedString(text), span: value.span }, INTERVAL));
    }
    let fields = match &interval.last_field {
        Some(last) => format!("{first_name} to {}", name(last)),
        None => first_name,
    };
    let digits = interval.fractional_seconds_precision.or(interval.leading_precision);
    Some(read(value, text, &fields, digits))
}

/// A cast to an interval of some fields or digits.
pub fn limited(expr: &Expr) -> Option<Expr> {
    let data_type = match expr {
        Expr::Cast { data_type, .. } => data_type,
        Expr::TypedString(typed) => &typed.data_type,
        _ => return None,
    };
    let DataType::Interval { fields, precision } = data_type else { return None };
    let names = fields.as_ref().map(|fields| fields.to_string().to_lowercase()).unwrap_or_default();
    if names.is_empty() && precision.is_none() {
        return None;
    }
    let constant = match expr {
        Expr::TypedString(typed) => Some(&typed.value),
        Expr::Cast { expr, .. } => match expr.as_ref() {
            Expr::Value(value) => Some(value),
            _ => None,
        },
        _ => None,
    };
    if let Some(value @ ValueWithSpan { value: Value::SingleQuotedString(text), .. }) = constant {
        return Some(read(value, text, &names, *precision));
    }
    let Expr::Cast { expr, .. } = expr else { return None };
    let digits = precision.unwrap_or(u64::from(DIGITS)).to_string();
    let names = Expr::Value(Value::SingleQuotedString(names).with_empty_span());
    let digits = Expr::Value(Value::Number(digits, false).with_empty_span());
    Some(call("limited_interval", [converted(expr.as_ref().clone(), INTERVAL), names, digits]))
}

/// The constant that a text says; one that says none as it is, so that reading it fails.
fn read(value: &ValueWithSpan, text: &str, fields: &str, digits: Option<u64>) -> Expr {
    let digits = digits.map_or(DIGITS, |digits| digits.min(u64::from(DIGITS)) as u32);
    let text = interval_of_fields(text, fields).map_or(text.to_owned(), |interval| {
        let mut written = String::new();
        write_interval(&mut written, limited_interval(interval, fields, digits));
        written
    });
    cast(ValueWithSpan { value: Value::SingleQuotedString(text), span: value.span }, INTERVAL)
}
