//! Operators that are functions of their own: `||`, `^`, those of json and of arrays.

use super::{call, field_like, is_text, is_unknown, settled, target};
use crate::error::carried;
use crate::functions::named;
use crate::generic::{element_of, list_of};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::InList;
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
        BinaryOperator::PGBitwiseShiftLeft => "<<",
        BinaryOperator::PGBitwiseShiftRight => ">>",
        BinaryOperator::Arrow => "json_get",
        BinaryOperator::LongArrow => "json_get_text",
        BinaryOperator::HashArrow => "json_get_path",
        BinaryOperator::HashLongArrow => "json_get_path_text",
        BinaryOperator::PGRegexMatch | BinaryOperator::PGRegexNotMatch => "textregexeq",
        BinaryOperator::PGRegexIMatch | BinaryOperator::PGRegexNotIMatch => "texticregexeq",
        BinaryOperator::Question => "json_has_key",
        BinaryOperator::QuestionPipe => "json_has_any_key",
        BinaryOperator::QuestionAnd => "json_has_all_keys",
        BinaryOperator::HashMinus => "jsonb_delete_path",
        BinaryOperator::AtQuestion => "jsonb_path_finds",
        BinaryOperator::AtAt => "jsonb_path_holds",
        BinaryOperator::PGStartsWith => "starts_with",
        BinaryOperator::PGOverlap => {
            let (left, right) = same_type(left, right, schema)?;
            return Ok(PlannerResult::Planned(call(named("array_overlaps"), vec![left, right])));
        }
        BinaryOperator::Custom(quantified) if quantified.ends_with(" any") || quantified.ends_with(" all") => {
            let (left, right) = quantified_operands(left, right, schema)?;
            return Ok(PlannerResult::Planned(match (quantified.as_str(), constants(&right)) {
                ("= any", Some(constants)) => Expr::InList(InList::new(Box::new(left), constants, false)),
                _ => call(named(quantified), vec![left, right]),
            }));
        }
        BinaryOperator::AtArrow | BinaryOperator::ArrowAt => {
            let (holder, held) = if op == BinaryOperator::AtArrow { (left, right) } else { (right, left) };
            let lists = [&holder, &held].into_iter().any(|e| matches!(e.get_type(schema), Ok(DataType::List(_))));
            let name = if lists { "array_contains" } else { "json_contains" };
            let (holder, held) = same_type(holder, held, schema)?;
            return Ok(PlannerResult::Planned(call(named(name), vec![holder, held])));
        }
        _ => return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right })),
    };
    let right = match function {
        "json_get_path" | "json_get_path_text" | "json_has_any_key" | "json_has_all_keys" | "jsonb_delete_path"
            if is_unknown(&right) =>
        {
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

/// Operands of which an open one gets the type of the other.
fn same_type(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    Ok(match (is_unknown(&left), is_unknown(&right)) {
        (false, true) => {
            let field = field_like(&left, schema)?;
            (left, settled(right, &field))
        }
        (true, false) => (settled(left, &field_like(&right, schema)?), right),
        _ => (left, right),
    })
}

/// A value and an array that it is compared with: an open one gets its type from the other.
fn quantified_operands(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    Ok(match (is_unknown(&left), is_unknown(&right)) {
        (_, true) => {
            let element = if is_unknown(&left) { target(SqlType::Text) } else { field_like(&left, schema)? };
            let element = match sql_type_of(&element) {
                SqlType::Varchar(_) | SqlType::Bpchar(_) | SqlType::Unknown => target(SqlType::Text),
                SqlType::Numeric(_) => target(SqlType::Numeric(None)),
                _ => element,
            };
            (left, settled(right, &list_of(&element).into()))
        }
        (true, false) => match element_of(field_like(&right, schema)?.as_ref()) {
            Some(element) => (settled(left, &element.as_ref().clone().with_name("").into()), right),
            None => (left, right),
        },
        (false, false) => (left, right),
    })
}

/// The elements of an array that is written with constants alone.
fn constants(array: &Expr) -> Option<Vec<Expr>> {
    let Expr::ScalarFunction(function) = array else { return None };
    let constant = |expr: &Expr| matches!(expr, Expr::Literal(..));
    let written = function.name() == "make_array" && !function.args.is_empty() && function.args.iter().all(constant);
    written.then(|| function.args.iter().cloned().map(crate::casts::narrowed).collect())
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
        (SqlType::Array(_), SqlType::Array(_)) => call("array_cat", left, right),
        (array @ SqlType::Array(_), SqlType::Unknown) => {
            let right = if is_unknown(&right) { settled(right, &target(array.clone())) } else { right };
            call("array_cat", left, right)
        }
        (SqlType::Unknown, array @ SqlType::Array(_)) => {
            let left = if is_unknown(&left) { settled(left, &target(array.clone())) } else { left };
            call("array_cat", left, right)
        }
        (SqlType::Array(_), _) => call("array_append", left, right),
        (_, SqlType::Array(_)) => call("array_prepend", left, right),
        (SqlType::Jsonb, SqlType::Jsonb | SqlType::Unknown) | (SqlType::Unknown, SqlType::Jsonb) => {
            call("jsonb_concat", left, right)
        }
        (SqlType::Bytea, SqlType::Bytea | SqlType::Unknown) | (SqlType::Unknown, SqlType::Bytea) => {
            call("byteacat", left, right)
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
