//! Syntax that DataFusion's planner reads otherwise than Postgres: rewritten in the statement before it is planned.

use crate::walk::{Walk, each_expression, each_select};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, Interval, ObjectName, UnaryOperator, Value, ValueWithSpan,
};

/// Rewrites a statement (or a query, or an expression) in place:
///
/// - `INTERVAL '1 day ago'` becomes a cast, so that every form that Postgres reads is read, and by the same reader;
/// - `x SIMILAR TO pattern` becomes `x ~ similar_to_escape(pattern)`;
/// - `1e300` becomes double precision: no numeric has the room for it;
/// - `GROUP BY (a, b), a` becomes `GROUP BY a, b`.
pub fn postgres_syntax(node: &mut impl Walk) {
    each_expression(node, |expr| {
        let cast = match expr {
            Expr::Interval(interval) => interval_cast(interval),
            Expr::Value(value) => wide_number(value),
            _ => None,
        };
        if let Some(cast) = cast {
            *expr = cast;
        } else if let Expr::SimilarTo { .. } = expr {
            *expr = similar_to(expr.clone());
        }
    });
    each_select(node, |select| {
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            *keys = different_keys(std::mem::take(keys));
        }
    });
}

/// The keys of a GROUP BY without parentheses around several, and each once.
fn different_keys(keys: Vec<Expr>) -> Vec<Expr> {
    let mut different: Vec<Expr> = Vec::with_capacity(keys.len());
    for key in keys {
        let parts = match key {
            Expr::Tuple(parts) => different_keys(parts),
            Expr::Nested(part) => different_keys(vec![*part]),
            key => vec![key],
        };
        different.extend(parts.into_iter().filter(|part| !different.contains(part)).collect::<Vec<_>>());
    }
    different
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
    Some(cast(ValueWithSpan { value: Value::SingleQuotedString(text), span: *span }, INTERVAL))
}

const INTERVAL: DataType = DataType::Interval { fields: None, precision: None };

/// A constant with an exponent that takes it out of what numeric holds.
fn wide_number(constant: &ValueWithSpan) -> Option<Expr> {
    const DIGITS: u32 = 38;
    let Value::Number(text, _) = &constant.value else { return None };
    let (_, exponent) = text.split_once(['e', 'E'])?;
    let is_wide = exponent.parse::<i32>().map_or(true, |exponent| exponent.unsigned_abs() >= DIGITS);
    let value = Value::SingleQuotedString(text.to_string());
    is_wide.then(|| cast(ValueWithSpan { value, span: constant.span }, DataType::DoublePrecision))
}

fn cast(value: ValueWithSpan, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(Expr::Value(value)), data_type, array: false, format: None }
}

/// A match of the regular expression that the pattern is made into.
fn similar_to(similar: Expr) -> Expr {
    let Expr::SimilarTo { negated, expr, pattern, escape_char } = similar else { return similar };
    let arguments = [*pattern].into_iter().chain(escape_char.map(Expr::Value));
    let arguments = arguments.map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)));
    let regular = Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("similar_to_escape")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    });
    let matches = Expr::BinaryOp { left: expr, op: BinaryOperator::PGRegexMatch, right: Box::new(regular) };
    let matches = Expr::Nested(Box::new(matches));
    match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(matches) },
        false => matches,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};

    #[test]
    fn constants_become_casts() {
        for (sql, expected) in [
            ("INTERVAL '2 days 03:04:05'", "CAST('2 days 03:04:05' AS INTERVAL)"),
            ("INTERVAL '10' SECOND", "CAST('10 SECOND' AS INTERVAL)"),
            ("1e300 + 1e-300", "CAST('1e300' AS DOUBLE PRECISION) + CAST('1e-300' AS DOUBLE PRECISION)"),
            ("1e5 + 1.5", "1e5 + 1.5"),
        ] {
            let mut expr = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap().parse_expr().unwrap();
            postgres_syntax(&mut expr);
            assert_eq!(expr.to_string(), expected);
        }
    }

    #[test]
    fn keys_of_a_group_stand_alone() {
        let mut parser =
            Parser::new(&PostgreSqlDialect {}).try_with_sql("SELECT 1 GROUP BY (a, (b)), a, c + 1").unwrap();
        let mut query = parser.parse_query().unwrap();
        postgres_syntax(query.as_mut());
        assert_eq!(query.to_string(), "SELECT 1 GROUP BY a, b, c + 1");
    }
}
