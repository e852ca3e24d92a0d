//! Syntax that DataFusion's planner reads otherwise than Postgres: rewritten in the statement before it is planned.

use crate::aggregates::HYPOTHETICAL;
use crate::arrays::{SLICE, SUBSCRIPT};
use crate::walk::{Walk, each_expression, each_select};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, Interval, ObjectName, Subscript, UnaryOperator, Value,
    ValueWithSpan,
};

/// Rewrites a statement (or a query, or an expression) in place:
///
/// - `INTERVAL '1 day ago'` becomes a cast, so that every form that Postgres reads is read, and by the same reader;
/// - `x SIMILAR TO pattern` becomes `x ~ similar_to_escape(pattern)`;
/// - `1e300` becomes double precision: no numeric has the room for it;
/// - `(f(x)).a` and `a[1]` become calls of functions, `x = ANY(array)` an operator of its own;
/// - `'{{1,2}}'::int[]` becomes `'{{1,2}}'::int[][]`: the number of dimensions is a part of types here;
/// - `GROUP BY (a, b), a` becomes `GROUP BY a, b`, and `ROLLUP ((a, b), c)` the grouping sets that it stands for.
pub fn postgres_syntax(node: &mut impl Walk) {
    each_expression(node, |expr| {
        let rewritten = match expr {
            Expr::Interval(interval) => interval_cast(interval),
            Expr::Value(value) => wide_number(value),
            Expr::CompoundFieldAccess { root, access_chain } => taken(root, access_chain),
            Expr::Function(function) if !function.within_group.is_empty() => {
                name_hypothetical(function);
                None
            }
            Expr::AnyOp { .. } | Expr::AllOp { .. } | Expr::Like { .. } | Expr::ILike { .. } => quantified(expr),
            _ => None,
        };
        if let Expr::Cast { expr, data_type, .. } = expr
            && let Some(dimensioned) = dimensioned(expr, data_type)
        {
            *data_type = dimensioned;
        }
        if let Some(rewritten) = rewritten {
            *expr = rewritten;
        } else if let Expr::SimilarTo { .. } = expr {
            *expr = similar_to(expr.clone());
        }
    });
    each_select(node, |select| {
        if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
            keys.iter_mut().for_each(|key| crate::grouping::spell_out(key, &select.projection));
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

/// `(f(x)).a`, `a[1][2]`, `a[2:3]`: what is taken out of a value.
fn taken(root: &Expr, access_chain: &[AccessExpr]) -> Option<Expr> {
    let mut value = root.clone();
    let mut chain = access_chain;
    // `t.a[1]`: the names before a subscript are those of a column.
    if let Expr::Identifier(first) = root {
        let mut names = vec![first.clone()];
        while let Some((AccessExpr::Dot(Expr::Identifier(name)), rest)) = chain.split_first() {
            names.push(name.clone());
            chain = rest;
        }
        if names.len() > 1 {
            value = Expr::CompoundIdentifier(names);
        }
    }
    while let Some(first) = chain.first() {
        if let AccessExpr::Dot(field) = first {
            let Expr::Identifier(name) = field else { return None };
            let name = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
            value = call("get_field", vec![value, Expr::Value(Value::SingleQuotedString(name).with_empty_span())]);
            chain = &chain[1..];
            continue;
        }
        let subscripts = chain.iter().map_while(|access| match access {
            AccessExpr::Subscript(subscript) => Some(subscript),
            AccessExpr::Dot(_) => None,
        });
        let subscripts: Vec<&Subscript> = subscripts.collect();
        chain = &chain[subscripts.len()..];
        value = subscripted(value, &subscripts);
    }
    Some(value)
}

/// Subscripts of all dimensions; where one is a slice all are, from 1 where they say one bound.
fn subscripted(value: Expr, subscripts: &[&Subscript]) -> Expr {
    let number = |number: i32| Expr::Value(Value::Number(number.to_string(), false).with_empty_span());
    let is_slice = subscripts.iter().any(|subscript| matches!(subscript, Subscript::Slice { .. }));
    let mut arguments = vec![value];
    for subscript in subscripts {
        match subscript {
            Subscript::Index { index } if is_slice => arguments.extend([number(1), index.clone()]),
            Subscript::Index { index } => arguments.push(index.clone()),
            Subscript::Slice { lower_bound, upper_bound, .. } => {
                arguments.push(lower_bound.clone().unwrap_or_else(|| number(1)));
                arguments.push(upper_bound.clone().unwrap_or_else(|| number(i32::MAX)));
            }
        }
    }
    call(if is_slice { SLICE } else { SUBSCRIPT }, arguments)
}

/// `x = ANY(array)` as an operator of its own, also `x LIKE ANY (array)`; subqueries stay.
fn quantified(expr: &Expr) -> Option<Expr> {
    let (left, op, right, quantifier) = match expr {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op.to_string(), right, "any"),
        Expr::AllOp { left, compare_op, right } => (left, compare_op.to_string(), right, "all"),
        Expr::Like { negated, any: true, expr, pattern, .. } => {
            (expr, if *negated { "!~~" } else { "~~" }.to_owned(), pattern, "any")
        }
        Expr::ILike { negated, any: true, expr, pattern, .. } => {
            (expr, if *negated { "!~~*" } else { "~~*" }.to_owned(), pattern, "any")
        }
        _ => return None,
    };
    if matches!(right.as_ref(), Expr::Subquery(_)) {
        return None;
    }
    let op = if op == "!=" { "<>" } else { &op };
    let op = BinaryOperator::Custom(format!("{op} {quantifier}"));
    let operation = Expr::BinaryOp { left: left.clone(), op, right: right.clone() };
    Some(Expr::Nested(Box::new(operation)))
}

/// `'{{1,2}}'::int[]` says by its braces how many dimensions the array has.
fn dimensioned(text: &Expr, data_type: &DataType) -> Option<DataType> {
    let (Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }), DataType::Array(_)) =
        (text, data_type)
    else {
        return None;
    };
    let wanted = text.chars().filter(|c| !c.is_ascii_whitespace()).take_while(|c| *c == '{').count().max(1);
    let mut element = data_type;
    let mut there = 0;
    while let DataType::Array(ArrayElemTypeDef::SquareBracket(inner, _)) = element {
        (element, there) = (inner, there + 1);
    }
    let array = |inner, _| DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(inner), None));
    (there > 0 && there != wanted).then(|| (0..wanted).fold(element.clone(), array))
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// A match of the regular expression that the pattern is made into.
fn similar_to(similar: Expr) -> Expr {
    let Expr::SimilarTo { negated, expr, pattern, escape_char } = similar else { return similar };
    let arguments = [*pattern].into_iter().chain(escape_char.map(Expr::Value));
    let regular = call("similar_to_escape", arguments.collect());
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
