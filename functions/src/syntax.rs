//! Syntax that DataFusion's planner reads otherwise than Postgres: rewritten in the statement before it is planned.

use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Interval, Value, ValueWithSpan, VisitMut, visit_expressions_mut,
};
use std::ops::ControlFlow;

/// Rewrites a statement (or a query, or an expression) in place:
///
/// - `INTERVAL '1 day ago'` becomes a cast, so that every form that Postgres reads is read, and by the same reader.
pub fn postgres_syntax(node: &mut impl VisitMut) {
    let _ = visit_expressions_mut(node, |expr| {
        if let Expr::Interval(interval) = expr
            && let Some(cast) = interval_cast(interval)
        {
            *expr = cast;
        }
        ControlFlow::<()>::Continue(())
    });
}

/// `None` for an interval of an expression, which has no such form in Postgres.
fn interval_cast(interval: &Interval) -> Option<Expr> {
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span }) = interval.value.as_ref() else {
        return None;
    };
    // `'10' SECOND`: the unit belongs to the number; `'1:30' HOUR TO MINUTE` says its units by itself.
    let unit = interval.leading_field.as_ref().filter(|_| text.trim().parse::<f64>().is_ok());
    let text = match unit {
        Some(unit) => format!("{text} {unit}"),
        None => text.clone(),
    };
    let value = Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), span: *span });
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(value),
        data_type: DataType::Interval { fields: None, precision: None },
        array: false,
        format: None,
    })
}
