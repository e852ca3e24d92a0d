//! Text constants beside values of other types.
//!
//! In Postgres a constant in quotes has no type until its neighbours give it one: in `coalesce(a, '{}')` it is an array
//! if `a` is. Type coercion would take both for texts.

use super::compared::compared;
use crate::common_type::common;
use crate::error::carried;
use crate::function::takes_open_texts;
use crate::operators::is_text;
use crate::type_names::CAST_TARGET;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{Cast, FieldMetadata, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;
use millrace_types::{SqlError, SqlState, SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// Casts text constants in COALESCE, NULLIF, GREATEST, LEAST and the results of CASE to the type of the other arguments,
/// and these to the type that they have together; also compares as Postgres does what is compared without an operator.
/// Runs before type coercion.
#[derive(Debug, Default)]
pub struct OpenLiterals;

impl AnalyzerRule for OpenLiterals {
    fn name(&self) -> &str {
        "open_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let settled = plan.transform_up_with_subqueries(|plan| {
            if matches!(plan, LogicalPlan::Values(_)) {
                return Ok(Transformed::no(plan));
            }
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            let settled = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let settled = expr.transform_up(|expr| settle(expr, &schema))?;
                Ok(settled.update_data(|expr| name.restore(expr)))
            })?;
            if settled.transformed { settled.map_data(LogicalPlan::recompute_schema) } else { Ok(settled) }
        })?;
        Ok(settled.data)
    }
}

fn settle(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if let Some(compared) = compared(&expr, schema)? {
        return Ok(Transformed::new_transformed(compared.clone(), compared != expr));
    }
    let mut expr = expr;
    if let Expr::ScalarFunction(call) = &expr
        && call.func.name() == "pg_typeof"
        // What was cast to text is a view.
        && call.args.iter().any(|argument| matches!(argument, Expr::Literal(ScalarValue::Utf8(Some(_)), None)))
    {
        let mark = FieldMetadata::from(&field_of("", &SqlType::Regtype, true));
        let unknown = ScalarValue::UInt32(Some(SqlType::Unknown.oid()));
        return Ok(Transformed::yes(Expr::Literal(unknown, Some(mark))));
    }
    if let Expr::ScalarFunction(call) = &mut expr
        && takes_open_texts(&call.func)
    {
        let changed = read_as_texts(call, schema);
        return Ok(Transformed::new_transformed(expr, changed));
    }
    let (construct, neighbours): (&str, Vec<&mut Expr>) = match &mut expr {
        Expr::Case(case) => {
            // What ELSE gives counts first, as in Postgres.
            let results = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            ("CASE", case.else_expr.as_deref_mut().into_iter().chain(results).collect())
        }
        Expr::ScalarFunction(function) => match function.func.name() {
            "coalesce" => ("COALESCE", function.args.iter_mut().collect()),
            "greatest" => ("GREATEST", function.args.iter_mut().collect()),
            "least" => ("LEAST", function.args.iter_mut().collect()),
            "nullif" => ("NULLIF", function.args.iter_mut().collect()),
            _ => return Ok(Transformed::no(expr)),
        },
        _ => return Ok(Transformed::no(expr)),
    };
    let Some(field) = common_field(construct, &neighbours, schema)? else { return Ok(Transformed::no(expr)) };
    let result = match neighbours.as_slice() {
        [first, second] if construct == "NULLIF" => type_of_first(first, second, schema)?,
        _ => None,
    };
    let mut changed = result.is_some();
    for neighbour in neighbours {
        let cast = match is_open(neighbour) {
            true => true,
            // Numbers of other widths are left to type coercion, and each side of NULLIF keeps its type.
            false => construct != "NULLIF" && other_kind(&neighbour.to_field(schema)?.1, &field),
        };
        if cast {
            *neighbour = Expr::Cast(Cast::new_from_field(Box::new(std::mem::take(neighbour)), field.clone()));
            changed = true;
        }
    }
    if let Some(field) = result {
        expr = Expr::Cast(Cast::new_from_field(Box::new(expr), field));
    }
    Ok(Transformed::new_transformed(expr, changed))
}

/// What NULLIF gives where values of its two types are compared as they are: a value of the first type, though type
/// coercion has both cast to one.
fn type_of_first(first: &Expr, second: &Expr, schema: &DFSchema) -> Result<Option<FieldRef>> {
    let (Ok((_, first)), Ok((_, second))) = (first.to_field(schema), second.to_field(schema)) else { return Ok(None) };
    let field = |sql_type: &SqlType| Some(Arc::new(field_of(CAST_TARGET, sql_type, true)));
    Ok(match (sql_type_of(&first), sql_type_of(&second)) {
        (first, second) if first == second => None,
        (first @ (SqlType::Int2 | SqlType::Int4 | SqlType::Int8), SqlType::Int2 | SqlType::Int4 | SqlType::Int8) => {
            field(&first)
        }
        (SqlType::Int2 | SqlType::Int4 | SqlType::Int8, SqlType::Float4) => field(&SqlType::Float8),
        (first @ (SqlType::Float4 | SqlType::Float8), SqlType::Float4 | SqlType::Float8) => field(&first),
        (
            first @ (SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz),
            SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz,
        ) => field(&first),
        _ => None,
    })
}

/// Types the constants of a call that are texts to its function, before coercion casts them: of some functions the type
/// of the result depends on a constant, which a cast would hide. Says whether there were any.
fn read_as_texts(call: &mut ScalarFunction, schema: &DFSchema) -> bool {
    let types: Result<Vec<_>> = call.args.iter().map(|argument| argument.get_type(schema)).collect();
    let Ok(wanted) = types.and_then(|types| call.func.inner().coerce_types(&types)) else { return false };
    let mut changed = false;
    for (argument, wanted) in call.args.iter_mut().zip(wanted) {
        if let Expr::Literal(ScalarValue::Utf8(text), None) = argument
            && wanted == DataType::Utf8View
        {
            *argument = Expr::Literal(ScalarValue::Utf8View(text.take()), None);
            changed = true;
        }
    }
    changed
}

/// The type that they have together, where constants or others have to be told.
fn common_field(construct: &str, neighbours: &[&mut Expr], schema: &DFSchema) -> Result<Option<FieldRef>> {
    let typed: Vec<_> = neighbours.iter().filter(|neighbour| !is_open(neighbour)).collect();
    let is_any_open = typed.len() < neighbours.len();
    let mut common_field: Option<FieldRef> = None;
    for neighbour in typed {
        let Ok((_, field)) = neighbour.to_field(schema) else { return Ok(None) };
        if matches!(field.data_type(), DataType::Struct(_)) {
            return Ok(None);
        }
        let is_null = matches!(neighbour, Expr::Literal(value, _) if value.is_null());
        if is_null || sql_type_of(&field) == SqlType::Unknown {
            continue;
        }
        common_field = match common_field {
            None => Some(field),
            Some(known) => match common(&known, &field) {
                Some(common) => Some(Arc::new(common)),
                None if construct == "NULLIF" => Some(known),
                None if is_text(&sql_type_of(&known)) && is_text(&sql_type_of(&field)) => return Ok(None),
                None => return Err(unmatched(construct, &sql_type_of(&known), &sql_type_of(&field))),
            },
        };
    }
    Ok(common_field.map(|field| {
        // A constant has no length of its own, so that what it has together with others has none.
        let field = match (sql_type_of(&field), is_any_open) {
            (SqlType::Varchar(_), true) => field_of("", &SqlType::Varchar(None), true),
            (SqlType::Bpchar(_), true) => field_of("", &SqlType::Bpchar(None), true),
            _ => field.as_ref().clone(),
        };
        Arc::new(field.with_name(CAST_TARGET).with_nullable(true))
    }))
}

/// `42804`: values of two types where there is to be one.
fn unmatched(construct: &str, left: &SqlType, right: &SqlType) -> DataFusionError {
    let message = format!("{construct} types {left} and {right} cannot be matched");
    carried(SqlError::new(SqlState::DATATYPE_MISMATCH, message))
}

/// Whether values of a type are to be converted by a cast of ours to have another.
fn other_kind(from: &FieldRef, to: &FieldRef) -> bool {
    let (source, target) = (sql_type_of(from), sql_type_of(to));
    match (&source, &target) {
        (SqlType::Unknown, _) => false,
        // What holds json may be said to be text by what DataFusion makes of it.
        (SqlType::Text, SqlType::Json | SqlType::Jsonb) => false,
        (SqlType::Numeric(_), SqlType::Float4 | SqlType::Float8) => true,
        _ => source != target && !(from.data_type().is_numeric() && to.data_type().is_numeric()),
    }
}

fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)) | ScalarValue::Utf8View(Some(_)), None))
}
