//! Operators that are functions of their own: `||`, `^`, those of json and of arrays.

use super::{call, is_text, is_unknown, settled, target};
use crate::error::carried;
use crate::functions::named;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use millrace_types::{SqlType, sql_type_of};

/// Plans what is neither arithmetic nor a comparison.
pub fn plan(raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
    let RawBinaryExpr { op, left, right } = raw;
    let function = match &op {
        BinaryOperator::StringConcat => return concatenation(left, right, schema).map(PlannerResult::Planned),
        BinaryOperator::PGExp => "power",
        BinaryOperator::Arrow => "json_get",
        BinaryOperator::LongArrow => "json_get_text",
        BinaryOperator::HashArrow => "json_get_path",
        BinaryOperator::HashLongArrow => "json_get_path_text",
        BinaryOperator::PGRegexMatch | BinaryOperator::PGRegexNotMatch => "textregexeq",
        BinaryOperator::PGRegexIMatch | BinaryOperator::PGRegexNotIMatch => "texticregexeq",
        BinaryOperator::Question => "json_has_key",
        BinaryOperator::PGStartsWith => "starts_with",
        BinaryOperator::AtArrow | BinaryOperator::ArrowAt => {
            let (holder, held) = if op == BinaryOperator::AtArrow { (left, right) } else { (right, left) };
            let lists = [&holder, &held].into_iter().any(|e| matches!(e.get_type(schema), Ok(DataType::List(_))));
            let name = if lists { "array_has_all" } else { "json_contains" };
            return Ok(PlannerResult::Planned(call(named(name), vec![holder, held])));
        }
        _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
    };
    let right = match function {
        "json_get_path" | "json_get_path_text" if is_unknown(&right) => {
            settled(right, &target(SqlType::Array(Box::new(SqlType::Text))))
        }
        _ => right,
    };
    let planned = call(named(function), vec![left, right]);
    Ok(PlannerResult::Planned(match op {
        BinaryOperator::PGRegexNotMatch | BinaryOperator::PGRegexNotIMatch => Expr::Not(Box::new(planned)),
        _ => planned,
    }))
}

/// `||`: arrays and jsonb append, everything else joins as text, and NULL makes NULL.
fn concatenation(left: Expr, right: Expr, schema: &DFSchema) -> Result<Expr> {
    let type_of = |expr: &Expr| match is_unknown(expr) {
        true => Ok(SqlType::Unknown),
        false => expr.to_field(schema).map(|(_, field)| sql_type_of(&field)),
    };
    let (left_type, right_type) = (type_of(&left)?, type_of(&right)?);
    let call = |name: &str, left, right| Ok(call(named(name), vec![left, right]));
    match (&left_type, &right_type) {
        (SqlType::Array(_), SqlType::Array(_)) => call("array_concat", left, right),
        (array @ SqlType::Array(_), SqlType::Unknown) => {
            let right = if is_unknown(&right) { settled(right, &target(array.clone())) } else { right };
            call("array_concat", left, right)
        }
        (SqlType::Unknown, array @ SqlType::Array(_)) => {
            let left = if is_unknown(&left) { settled(left, &target(array.clone())) } else { left };
            call("array_concat", left, right)
        }
        (SqlType::Array(_), _) => call("array_append", left, right),
        (_, SqlType::Array(_)) => call("array_prepend", left, right),
        (SqlType::Jsonb, SqlType::Jsonb | SqlType::Unknown) | (SqlType::Unknown, SqlType::Jsonb) => {
            call("jsonb_concat", left, right)
        }
        (left_type, right_type) => {
            let text = |t: &SqlType| is_text(t) || *t == SqlType::Unknown;
            if !text(left_type) && !text(right_type) {
                return Err(carried(super::arithmetic::no_such_operator("||", left_type, right_type)));
            }
            let as_text = |expr, t: &SqlType| match t {
                SqlType::Bpchar(_) => unpadded(expr),
                t if is_text(t) => expr,
                _ => settled(expr, &target(SqlType::Text)),
            };
            call("||", as_text(left, left_type), as_text(right, right_type))
        }
    }
}

/// A `char(n)` value without its padding.
pub fn unpadded(expr: Expr) -> Expr {
    call(named("rtrim"), vec![expr])
}
