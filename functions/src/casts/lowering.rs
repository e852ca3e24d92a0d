//! Expressions other than casts that must not stay as DataFusion has them.

use super::marked::{is_marked, marked};
use crate::functions::named;
use crate::operators::call;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use millrace_types::{SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// The expression as Postgres means it.
pub fn other(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Negative(inner) => match inner.get_type(schema) {
            Ok(DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Interval(_)) => {
                Transformed::yes(call(named("-"), vec![*inner]))
            }
            _ => Transformed::no(Expr::Negative(inner)),
        },
        Expr::Like(like) => escaped(like),
        Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_) => Transformed::yes(truth(expr)),
        Expr::ScalarFunction(function) if function.func.name() == "coalesce" => {
            Transformed::yes(as_results(first_of(function.args), schema))
        }
        Expr::Case(_) => Transformed::yes(as_results(expr, schema)),
        // Plans are analysed again when they run: what was marked then is not to be marked twice.
        Expr::ScalarFunction(mut function)
            if function.args.first().is_some_and(is_marked) && function.func.name() == "marked" =>
        {
            Transformed::yes(function.args.remove(0))
        }
        Expr::ScalarFunction(function) => unpadded(function, schema),
        Expr::AggregateFunction(mut call) if call.func.name() == "string_agg" => {
            call.params.args = call.params.args.into_iter().map(|arg| stripped(arg, schema)).collect();
            Transformed::yes(Expr::AggregateFunction(call))
        }
        other => Transformed::no(other),
    })
}

/// `x IS TRUE` as the comparison that DataFusion evaluates: as a test of its own it would be said not to be NULL before
/// and to be maybe NULL after it has been planned, which plans with two of it fail on.
fn truth(test: Expr) -> Expr {
    let compared = |value: Box<Expr>, op, with: bool| {
        let with = Box::new(Expr::Literal(ScalarValue::Boolean(Some(with)), None));
        Expr::BinaryExpr(BinaryExpr::new(value, op, with))
    };
    match test {
        Expr::IsTrue(value) => compared(value, Operator::IsNotDistinctFrom, true),
        Expr::IsNotTrue(value) => compared(value, Operator::IsDistinctFrom, true),
        Expr::IsFalse(value) => compared(value, Operator::IsNotDistinctFrom, false),
        Expr::IsNotFalse(value) => compared(value, Operator::IsDistinctFrom, false),
        Expr::IsUnknown(value) => Expr::IsNull(value),
        Expr::IsNotUnknown(value) => Expr::IsNotNull(value),
        other => other,
    }
}

/// Another escape character than the backslash, in a constant pattern, is turned into it.
fn escaped(like: Like) -> Transformed<Expr> {
    let (Some(escape), Expr::Literal(pattern, None)) = (like.escape_char, like.pattern.as_ref()) else {
        return Transformed::no(Expr::Like(like));
    };
    let Some(Some(text)) = pattern.try_as_str() else {
        return Transformed::no(Expr::Like(like));
    };
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c == escape => {
                out.push('\\');
                out.extend(chars.next());
            }
            '\\' => out.push_str("\\\\"),
            c => out.push(c),
        }
    }
    let pattern = match pattern.data_type() {
        DataType::Utf8View => ScalarValue::Utf8View(Some(out)),
        _ => ScalarValue::Utf8(Some(out)),
    };
    Transformed::yes(Expr::Like(Like { pattern: Box::new(Expr::Literal(pattern, None)), escape_char: None, ..like }))
}

/// `coalesce` as the CASE that it is: the function of DataFusion cannot run by itself.
fn first_of(mut args: Vec<Expr>) -> Expr {
    let Some(last) = args.pop() else {
        return Expr::Literal(ScalarValue::Null, None);
    };
    if args.is_empty() {
        return last;
    }
    let arm = |arg: Expr| (Box::new(Expr::IsNotNull(Box::new(arg.clone()))), Box::new(arg));
    Expr::Case(Case::new(None, args.into_iter().map(arm).collect(), Some(Box::new(last))))
}

/// A CASE whose results are json gives json, and one of texts of a type gives texts of that type.
fn as_results(expr: Expr, schema: &DFSchema) -> Expr {
    let Expr::Case(case) = &expr else { return expr };
    let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref());
    let fields = results.filter_map(|result| result.to_field(schema).ok()).map(|(_, field)| field);
    let fields: Vec<FieldRef> = fields.filter(|field| sql_type_of(field) != SqlType::Unknown).collect();
    let json = |field: &&FieldRef| matches!(sql_type_of(field), SqlType::Json | SqlType::Jsonb);
    let text = |field: &&FieldRef| matches!(sql_type_of(field), SqlType::Varchar(_) | SqlType::Bpchar(_));
    let alike = fields.windows(2).all(|two| sql_type_of(&two[0]) == sql_type_of(&two[1]));
    let Some(field) = fields.iter().find(json).or_else(|| fields.iter().find(text).filter(|_| alike)).cloned() else {
        return expr;
    };
    // The NULL that a missing ELSE gives has no length.
    let any_length = match (sql_type_of(&field), &case.else_expr) {
        (SqlType::Varchar(_), None) => SqlType::Varchar(None),
        (SqlType::Bpchar(_), None) => SqlType::Bpchar(None),
        _ => return marked(expr, &field),
    };
    marked(expr, &Arc::new(field_of("", &any_length, true)))
}

/// Functions that take a `char(n)` as it is.
const KEEP_BLANKS: &[&str] = &[
    "cast",
    "rtrim",
    "pg_typeof",
    "octet_length",
    "concat",
    "concat_ws",
    "row",
    "named_row",
    "make_array",
    "to_json",
    "to_jsonb",
    "json_build_object",
    "jsonb_build_object",
    "json_build_array",
    "jsonb_build_array",
];

/// Functions see the values of a `char(n)` without its padding.
fn unpadded(function: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let own = KEEP_BLANKS.contains(&function.func.name());
    if own || !function.args.iter().any(|arg| is_padded(arg, schema)) {
        return Transformed::no(Expr::ScalarFunction(function));
    }
    let args = function.args.into_iter().map(|arg| stripped(arg, schema)).collect();
    Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: function.func, args }))
}

fn is_padded(expr: &Expr, schema: &DFSchema) -> bool {
    expr.to_field(schema).is_ok_and(|(_, field)| matches!(sql_type_of(&field), SqlType::Bpchar(_)))
}

/// A value without the blanks of a `char(n)`.
fn stripped(expr: Expr, schema: &DFSchema) -> Expr {
    if is_padded(&expr, schema) { call(named("rtrim"), vec![expr]) } else { expr }
}
