//! Operators: which function computes each, over which types.
//!
//! An [`ExprPlanner`] turns an operator into its function while names are being resolved: literals of unknown type and
//! parameters take the type of the other operand as in Postgres. Comparisons stay DataFusion's own, so that its
//! optimizer sees join keys and filters.

pub mod arithmetic;
pub mod decimal;
pub mod interval;
pub mod number;
mod other;

use crate::error::carried;
use arithmetic::{INTERVAL, Operation, no_such_operator};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Cast, Placeholder, ScalarFunction};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use millrace_types::{SqlType, field_of, sql_type_of};
use std::sync::Arc;

/// Plans binary operators.
#[derive(Debug)]
pub struct Operators;

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        let (left, right) = (crate::casts::narrowed(left), crate::casts::narrowed(right));
        if op == BinaryOperator::Minus && is_jsonb(&left, schema) {
            return Ok(PlannerResult::Planned(call(crate::functions::named("jsonb_delete"), vec![left, right])));
        }
        if let Some(operation) = operation_of(&op) {
            let (left, right) = arithmetic_operands(operation, left, right, schema)?;
            let call = call(operation.function(), vec![left, right]);
            call.get_type(schema)?;
            return Ok(PlannerResult::Planned(call));
        }
        if comparison_symbol(&op).is_some() {
            let (left, right) = comparable(&op, left, right, schema)?;
            return Ok(PlannerResult::Original(RawBinaryExpr { op, left, right }));
        }
        other::plan(RawBinaryExpr { op, left, right }, schema)
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(crate::functions::named("extract"), args)))
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(crate::functions::named("strpos"), args)))
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(crate::functions::named("substr"), args)))
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(call(crate::functions::named("overlay"), args)))
    }

    fn plan_array_literal(&self, exprs: Vec<Expr>, schema: &DFSchema) -> Result<PlannerResult<Vec<Expr>>> {
        let exprs: Vec<Expr> = exprs.into_iter().map(crate::casts::narrowed).collect();
        let exprs = array_elements(exprs, schema)?;
        Ok(PlannerResult::Planned(call(crate::functions::named("make_array"), exprs)))
    }
}

/// The elements of an array in their common type: texts of open type are what the other elements are.
fn array_elements(exprs: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    let mut element: Option<FieldRef> = None;
    for expr in exprs.iter().filter(|expr| !is_unknown(expr)) {
        let Ok(field) = field_like(expr, schema) else { return Ok(exprs) };
        element = match element {
            None => Some(field),
            Some(element) => match crate::common_type::common(&element, &field) {
                Some(common) => Some(common.into()),
                None => return Ok(exprs),
            },
        };
    }
    let Some(element) = element.filter(|element| !element.data_type().is_null()) else { return Ok(exprs) };
    let typed = exprs.into_iter().map(|expr| match field_like(&expr, schema) {
        _ if is_unknown(&expr) => settled(expr, &element),
        Ok(field) if field.data_type() != element.data_type() || sql_type_of(&field) != sql_type_of(&element) => {
            Expr::Cast(Cast::new_from_field(Box::new(expr), element.clone()))
        }
        _ => expr,
    });
    Ok(typed.collect())
}

fn is_jsonb(expr: &Expr, schema: &DFSchema) -> bool {
    !is_unknown(expr) && expr.to_field(schema).is_ok_and(|(_, field)| sql_type_of(&field) == SqlType::Jsonb)
}

/// What values without an order of their own are compared by: jsonb by keys, arrays so that NULL comes last.
fn ordered(op: &BinaryOperator, left: Expr, right: Expr, schema: &DFSchema) -> (Expr, Expr) {
    let of = |expr: &Expr| expr.to_field(schema).map(|(_, field)| sql_type_of(&field));
    let keyed = |expr| call(crate::functions::named("jsonb_sort_key"), vec![expr]);
    let equality = matches!(op, BinaryOperator::Eq | BinaryOperator::NotEq);
    match (of(&left), of(&right)) {
        (Ok(SqlType::Jsonb), Ok(SqlType::Jsonb)) => (keyed(left), keyed(right)),
        (Ok(SqlType::Array(_)), Ok(SqlType::Array(_))) if !equality => {
            let order = call(crate::functions::named("array_order"), vec![left, right]);
            (order, Expr::Literal(ScalarValue::Int32(Some(0)), None))
        }
        _ => (left, right),
    }
}

/// A call of a function.
pub fn call(function: Arc<ScalarUDF>, args: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function, args))
}

fn operation_of(op: &BinaryOperator) -> Option<Operation> {
    Some(match op {
        BinaryOperator::Plus => Operation::Add,
        BinaryOperator::Minus => Operation::Subtract,
        BinaryOperator::Multiply => Operation::Multiply,
        BinaryOperator::Divide => Operation::Divide,
        BinaryOperator::Modulo => Operation::Modulo,
        _ => return None,
    })
}

fn comparison_symbol(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        _ => return None,
    })
}

/// A string literal whose type is still open, or a parameter of unknown type.
pub fn is_unknown(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(_)) | ScalarValue::Utf8View(Some(_)), None) => true,
        Expr::Placeholder(Placeholder { field, .. }) => field.is_none(),
        _ => false,
    }
}

/// The expression with an open type settled.
pub fn settled(expr: Expr, field: &FieldRef) -> Expr {
    match expr {
        Expr::Placeholder(Placeholder { id, field: None }) => {
            Expr::Placeholder(Placeholder::new_with_field(id, Some(field.clone())))
        }
        other => Expr::Cast(Cast::new_from_field(Box::new(other), field.clone())),
    }
}

/// The field of an expression, as a cast target.
pub fn field_like(expr: &Expr, schema: &DFSchema) -> Result<FieldRef> {
    let field = expr.to_field(schema)?.1;
    Ok(Arc::new(field.as_ref().clone().with_name("").with_nullable(true)))
}

/// A field of a type.
pub fn target(sql_type: SqlType) -> FieldRef {
    Arc::new(field_of("", &sql_type, true))
}

fn arithmetic_operands(operation: Operation, left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    Ok(match (is_unknown(&left), is_unknown(&right)) {
        (true, true) => {
            let unclear = target(SqlType::Int4);
            (settled(left, &unclear), settled(right, &unclear))
        }
        (false, true) => {
            let field = open_operand(operation, &field_like(&left, schema)?);
            (left, settled(right, &field))
        }
        (true, false) => {
            let field = open_operand(operation, &field_like(&right, schema)?);
            (settled(left, &field), right)
        }
        (false, false) => (left, right),
    })
}

/// The type that an open operand takes beside one of a known type: the same, where such an operator exists.
fn open_operand(operation: Operation, known: &FieldRef) -> FieldRef {
    match (known.data_type(), operation) {
        (DataType::Decimal128(..), _) => target(SqlType::Numeric(None)),
        (DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_), Operation::Add) => target(SqlType::Interval),
        (data_type, Operation::Multiply | Operation::Divide) if *data_type == INTERVAL => target(SqlType::Float8),
        _ => known.clone(),
    }
}

/// The operands of a comparison as what DataFusion compares. Comparing them again changes nothing.
pub fn comparable(op: &BinaryOperator, left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let symbol = comparison_symbol(op).unwrap_or("=");
    let (left, right) = compared(symbol, left, right, schema)?;
    Ok(ordered(op, left, right, schema))
}

/// The operands of a comparison: open ones settled, blank-padded ones stripped, texts never compared with other types.
fn compared(symbol: &str, left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    let (left, right) = match (is_unknown(&left), is_unknown(&right)) {
        (true, true) => (left, right),
        (false, true) => {
            let field = open_compared(&field_like(&left, schema)?);
            (left, settled(right, &field))
        }
        (true, false) => {
            let field = open_compared(&field_like(&right, schema)?);
            (settled(left, &field), right)
        }
        (false, false) => (left, right),
    };
    let (left_type, right_type) = match (left.to_field(schema), right.to_field(schema)) {
        (Ok((_, left)), Ok((_, right))) => (sql_type_of(&left), sql_type_of(&right)),
        _ => return Ok((left, right)),
    };
    if left_type == SqlType::Json && right_type == SqlType::Json {
        return Err(carried(no_such_operator(symbol, &left_type, &right_type)));
    }
    let texts = [is_text(&left_type), is_text(&right_type)];
    let null = left_type == SqlType::Unknown || right_type == SqlType::Unknown;
    if texts[0] != texts[1] && !null {
        return Err(carried(no_such_operator(symbol, &left_type, &right_type)));
    }
    if let (Some(left_kind), Some(right_kind)) = (kind(&left_type), kind(&right_type))
        && left_kind != right_kind
    {
        return Err(carried(no_such_operator(symbol, &left_type, &right_type)));
    }
    // By a cast of ours: DataFusion's goes through nanoseconds, which few centuries have.
    match (&left_type, &right_type) {
        (SqlType::Date, SqlType::Timestamp | SqlType::Timestamptz) => {
            return Ok((settled(left, &target(right_type)), right));
        }
        (SqlType::Timestamp | SqlType::Timestamptz, SqlType::Date) => {
            return Ok((left, settled(right, &target(left_type))));
        }
        _ => {}
    }
    if left_type == SqlType::Interval && right_type == SqlType::Interval {
        let span = |side| call(crate::functions::named("interval_span"), vec![side]);
        return Ok((span(left), span(right)));
    }
    let is_float = |t: &SqlType| matches!(t, SqlType::Float4 | SqlType::Float8);
    let is_numeric = |t: &SqlType| matches!(t, SqlType::Numeric(_));
    if (is_float(&left_type) && is_numeric(&right_type)) || (is_numeric(&left_type) && is_float(&right_type)) {
        let float = target(SqlType::Float8);
        let as_float = |side, sql_type: &SqlType| match sql_type {
            SqlType::Float8 => side,
            _ => settled(side, &float),
        };
        return Ok((as_float(left, &left_type), as_float(right, &right_type)));
    }
    let padded = |t: &SqlType| matches!(t, SqlType::Bpchar(_));
    if padded(&left_type) || padded(&right_type) {
        return Ok((other::unpadded(left), other::unpadded(right)));
    }
    Ok((left, right))
}

/// What kind of values a type has, of which those of one kind are compared with each other; `None` where that is told
/// otherwise.
fn kind(sql_type: &SqlType) -> Option<u8> {
    use SqlType::*;
    Some(match sql_type {
        Bool => 0,
        Int2 | Int4 | Int8 | Float4 | Float8 | Numeric(_) | Oid | Regclass | Regtype | Regproc | Regnamespace => 1,
        Date | Timestamp | Timestamptz => 2,
        // A time is an interval where one is wanted.
        Time => return None,
        Interval => 4,
        Uuid => 5,
        Bytea => 6,
        Text | Varchar(_) | Bpchar(_) => 7,
        Array(element) => kind(element)? | 0x80,
        _ => return None,
    })
}

fn open_compared(known: &FieldRef) -> FieldRef {
    match sql_type_of(known) {
        SqlType::Numeric(_) => target(SqlType::Numeric(None)),
        // No modifier: a literal too long for the column compares as it is.
        SqlType::Varchar(_) | SqlType::Bpchar(_) | SqlType::Name | SqlType::Char | SqlType::Unknown => {
            target(SqlType::Text)
        }
        _ => known.clone(),
    }
}

/// Whether values are held as text and compared as such.
pub fn is_text(sql_type: &SqlType) -> bool {
    matches!(sql_type.arrow(), DataType::Utf8View)
}
