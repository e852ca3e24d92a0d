//! Expressions other than casts that must not stay as DataFusion has them.

use super::marked::{is_marked, marked};
use crate::functions::named;
use crate::operators::call;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Case, Like, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable};
use millrace_types::{SqlType, sql_type_of};

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
        Expr::ScalarFunction(function) if function.func.name() == "coalesce" => {
            Transformed::yes(as_json(first_of(function.args), schema))
        }
        Expr::Case(_) => Transformed::yes(as_json(expr, schema)),
        // Plans are analysed again when they run: what was marked then is not to be marked twice.
        Expr::ScalarFunction(mut function)
            if function.args.first().is_some_and(is_marked) && function.func.name() == "marked" =>
        {
            Transformed::yes(function.args.remove(0))
        }
        Expr::ScalarFunction(function) => unpadded(function, schema),
        other => Transformed::no(other),
    })
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

/// A CASE whose results are json gives json.
fn as_json(expr: Expr, schema: &DFSchema) -> Expr {
    let Expr::Case(case) = &expr else { return expr };
    let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(case.else_expr.as_deref());
    let fields = results.filter_map(|result| result.to_field(schema).ok()).map(|(_, field)| field);
    let json = |field: &FieldRef| matches!(sql_type_of(field), SqlType::Json | SqlType::Jsonb);
    match fields.into_iter().find(json) {
        Some(field) => marked(expr, &field),
        None => expr,
    }
}

/// Functions see the values of a `char(n)` without its padding.
fn unpadded(function: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let own = ["cast", "rtrim", "pg_typeof", "octet_length", "concat", "concat_ws"].contains(&function.func.name());
    let padded = |arg: &Expr| arg.to_field(schema).is_ok_and(|(_, f)| matches!(sql_type_of(&f), SqlType::Bpchar(_)));
    if own || !function.args.iter().any(padded) {
        return Transformed::no(Expr::ScalarFunction(function));
    }
    let strip = |arg: Expr| if padded(&arg) { call(named("rtrim"), vec![arg]) } else { arg };
    let args = function.args.into_iter().map(strip).collect();
    Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: function.func, args }))
}
