//! Syntax that DataFusion's planner reads otherwise than Postgres: rewritten in the statement before it is planned.

mod arrays;
mod dialect;
mod intervals;
mod variadic;

use crate::aggregates::HYPOTHETICAL;
use crate::walk::{Walk, each_expression, each_select};
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, Ident, ObjectName, SelectItem, TimezoneInfo, UnaryOperator, Value, ValueWithSpan,
};
pub use dialect::call;

pub use dialect::{PARTITION_BY, PostgresDialect};
pub use variadic::VARIADIC;

/// Rewrites a statement (or a query, or an expression) in place:
///
/// - `INTERVAL '1 day ago'` becomes a cast, so that every form that Postgres reads is read, and by the same reader; what
///   `DAY TO HOUR` behind it means is read into the constant;
/// - `x SIMILAR TO pattern` becomes `x ~ similar_to_escape(pattern)`;
/// - `x::timestamp(0)` becomes a cast that is rounded, `age(x)` and `make_interval(days => 1)` get their other arguments;
/// - `1e300` becomes double precision: no numeric has the room for it;
/// - `array_fill(0, ARRAY[2, 3])` becomes an array filled with arrays, and `json_object('{{a,1}}')` gets an array of pairs;
/// - `concat(a, VARIADIC b)` becomes what it is of the elements of the array;
/// - `|/ x`, `||/ x`, `@ x`, `~ x` and `OVERLAPS` become calls, and `- 2 ^ 2` is the power of -2;
/// - `(f(x)).a` and `a[1]` become calls of functions, `x = ANY(array)` an operator of its own;
/// - `'{{1,2}}'::int[]` becomes `'{{1,2}}'::int[][]`: the number of dimensions is a part of types here;
/// - comparisons of rows become comparisons of their columns;
/// - `GROUP BY (a, b), a` becomes `GROUP BY a, b`, and `ROLLUP ((a, b), c)` the grouping sets that it stands for.
pub fn postgres_syntax(node: &mut impl Walk) {
    each_expression(node, |expr| {
        if let Expr::Cast { expr, data_type, .. } = expr
            && let Some(dimensioned) = arrays::dimensioned(expr, data_type)
        {
            *data_type = dimensioned;
        }
        if let Some(rewritten) = crate::rows::rewritten(expr) {
            *expr = rewritten;
            return;
        }
        let rewritten = match expr {
            Expr::Interval(interval) => intervals::constant(interval),
            Expr::Value(value) => wide_number(value).or_else(|| unescaped(value)),
            Expr::UnaryOp { op, expr } => prefixed(*op, expr),
            Expr::Cast { .. } | Expr::TypedString(_) => intervals::limited(expr).or_else(|| rounded_time(expr)),
            Expr::Function(function) if !function.within_group.is_empty() => {
                name_hypothetical(function);
                None
            }
            Expr::Function(function) => variadic::spread(function).or_else(|| completed(function)),
            Expr::AtTimeZone { timestamp, time_zone } => {
                Some(call("timezone", [time_zone.as_ref().clone(), timestamp.as_ref().clone()]))
            }
            Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => overlaps(left, right),
            Expr::CompoundFieldAccess { root, access_chain } => arrays::taken(root, access_chain),
            Expr::Like { escape_char: Some(escape), .. } | Expr::ILike { escape_char: Some(escape), .. }
                if escape.value == Value::SingleQuotedString(String::new()) =>
            {
                without_escape(expr)
            }
            Expr::AnyOp { .. } | Expr::AllOp { .. } | Expr::Like { .. } | Expr::ILike { .. } => {
                arrays::quantified(expr)
            }
            _ => None,
        };
        if let Some(rewritten) = rewritten {
            *expr = rewritten;
        } else if let Expr::SimilarTo { .. } = expr {
            *expr = similar_to(expr.clone());
        }
    });
    each_select(node, |select| {
        select.projection =
            std::mem::take(&mut select.projection).into_iter().flat_map(crate::rows::columns_of).collect();
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
                && let Some(columns) = crate::rows::constructor(expr)
            {
                *expr = call("row", columns);
            }
        }
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            keys.iter_mut().for_each(|key| crate::grouping::spell_out(key, &select.projection));
            crate::grouping::different_sets(keys);
            *keys = different_keys(std::mem::take(keys));
        }
    });
}

/// `rank(5) WITHIN GROUP (ORDER BY x)` is no window function, whose name it has.
fn name_hypothetical(function: &mut Function) {
    let name = function.name.to_string().to_lowercase();
    if let Some((_, internal)) = HYPOTHETICAL.iter().find(|(known, _)| *known == name) {
        function.name = ObjectName::from(vec![Ident::new(*internal)]);
    }
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
        // Of two keys with several sets each, every combination counts.
        let has_sets = |part: &Expr| matches!(part, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_));
        different
            .extend(parts.into_iter().filter(|part| has_sets(part) || !different.contains(part)).collect::<Vec<_>>());
    }
    different
}

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
    converted(Expr::Value(value), data_type)
}

fn converted(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// `U&'\0041'`, whose escapes have been read.
fn unescaped(constant: &ValueWithSpan) -> Option<Expr> {
    let Value::UnicodeStringLiteral(text) = &constant.value else { return None };
    Some(Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text.clone()), span: constant.span }))
}

/// What an operator before its operand is.
fn prefixed(op: UnaryOperator, expr: &Expr) -> Option<Expr> {
    let double = || converted(expr.clone(), DataType::DoublePrecision);
    Some(match op {
        UnaryOperator::PGSquareRoot => call("sqrt", [double()]),
        UnaryOperator::PGCubeRoot => call("cbrt", [double()]),
        UnaryOperator::PGAbs => call("abs", [expr.clone()]),
        UnaryOperator::BitwiseNot => call("bitnot", [expr.clone()]),
        UnaryOperator::Minus => power_of_negative(expr)?,
        _ => return None,
    })
}

/// `- a ^ b` as `(- a) ^ b`: the sign binds closer.
fn power_of_negative(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryOp { left, op: op @ BinaryOperator::PGExp, right } = expr else { return None };
    let negative =
        power_of_negative(left).unwrap_or_else(|| Expr::UnaryOp { op: UnaryOperator::Minus, expr: left.clone() });
    Some(Expr::BinaryOp { left: Box::new(negative), op: op.clone(), right: right.clone() })
}

/// A cast to a time with fewer than six digits of seconds, as one that is rounded.
fn rounded_time(cast: &mut Expr) -> Option<Expr> {
    let data_type = match cast {
        Expr::Cast { data_type, .. } => data_type,
        Expr::TypedString(typed) => &mut typed.data_type,
        _ => return None,
    };
    let digits = match data_type {
        DataType::Timestamp(digits, _) | DataType::Time(digits, _) => digits.take().filter(|digits| *digits < 6)?,
        _ => return None,
    };
    let digits = Expr::Value(Value::Number(digits.to_string(), false).into());
    Some(call("rounded_time", [cast.clone(), digits]))
}

/// Calls whose arguments are completed: `age(x)` counts up to midnight, and `make_interval` names what it is given.
fn completed(function: &Function) -> Option<Expr> {
    const FIELDS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let FunctionArguments::List(list) = &function.args else { return None };
    let name = function.name.0.last()?.as_ident()?.value.to_lowercase();
    match (name.as_str(), list.args.as_slice()) {
        ("age", [FunctionArg::Unnamed(FunctionArgExpr::Expr(from))]) => {
            let midnight = converted(call("current_date", []), DataType::Timestamp(None, TimezoneInfo::None));
            Some(call("age", [midnight, from.clone()]))
        }
        (name, [FunctionArg::Unnamed(FunctionArgExpr::Expr(from))]) if cast_by(name).is_some() => {
            cast_by(name).map(|data_type| converted(from.clone(), data_type))
        }
        ("width_bucket", [_, _]) => {
            let args = list.args.iter().filter_map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Some(arg.clone()),
                _ => None,
            });
            Some(call(crate::arrays::BUCKET, args.collect::<Vec<_>>()))
        }
        ("array_fill", [value, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Array(lengths)))])
            if lengths.elem.len() > 1 =>
        {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = value else { return None };
            Some(arrays::filled(value, &lengths.elem))
        }
        ("json_object" | "jsonb_object", [FunctionArg::Unnamed(FunctionArgExpr::Expr(pairs))]) => {
            let texts = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None));
            arrays::dimensioned(pairs, &texts).map(|data_type| call(&name, [converted(pairs.clone(), data_type)]))
        }
        ("make_interval", args) => {
            let zero = || Expr::Value(Value::Number("0".to_owned(), false).into());
            let mut fields: Vec<Expr> = FIELDS.iter().map(|_| zero()).collect();
            for (at, arg) in args.iter().enumerate() {
                let (at, value) = match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (at, value),
                    FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
                    | FunctionArg::ExprNamed {
                        name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(value), ..
                    } => (FIELDS.iter().position(|field| name.value.eq_ignore_ascii_case(field))?, value),
                    _ => return None,
                };
                *fields.get_mut(at)? = value.clone();
            }
            Some(call("make_interval", fields))
        }
        _ => None,
    }
}

/// A pattern none of whose characters takes the next one as it is: every backslash stands for itself.
fn without_escape(expr: &Expr) -> Option<Expr> {
    let mut literal = expr.clone();
    let (Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. }) = &mut literal else {
        return None;
    };
    let text = |text: &str| Expr::Value(Value::SingleQuotedString(text.to_owned()).into());
    **pattern = call("replace", [pattern.as_ref().clone(), text("\\"), text("\\\\")]);
    *escape_char = None;
    Some(literal)
}

/// The type that a function of its name casts to.
fn cast_by(function: &str) -> Option<DataType> {
    Some(match function {
        "bool" => DataType::Bool,
        "int2" => DataType::Int2(None),
        "int4" => DataType::Int4(None),
        "int8" => DataType::Int8(None),
        "float4" => DataType::Float4,
        "float8" => DataType::Float8,
        "text" => DataType::Text,
        "date" => DataType::Date,
        "timestamptz" => DataType::Timestamp(None, TimezoneInfo::Tz),
        _ => return None,
    })
}

fn overlaps(left: &Expr, right: &Expr) -> Option<Expr> {
    match (left, right) {
        (Expr::Tuple(left), Expr::Tuple(right)) if left.len() == 2 && right.len() == 2 => {
            Some(call("overlaps", left.iter().chain(right).cloned()))
        }
        _ => None,
    }
}

/// A match of the regular expression that the pattern is made into.
fn similar_to(similar: Expr) -> Expr {
    let Expr::SimilarTo { negated, expr, pattern, escape_char } = similar else { return similar };
    let arguments = [*pattern].into_iter().chain(escape_char.map(Expr::Value));
    let regular = call("similar_to_escape", arguments);
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
