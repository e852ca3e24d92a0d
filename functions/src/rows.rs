//! Row values: `ROW(1, 2)`, `(a, b) = (c, d)`.
//!
//! Comparisons of rows are rewritten in the statement into those of their columns, from the left until one decides. A
//! row that is a result of its own is a composite value with columns `f1`, `f2` ...

use crate::function::Call;
use crate::function::is_null;
use crate::generic::generic;
use arrow::array::{ArrayRef, StructArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, SelectItem,
    SelectItemQualifiedWildcardKind, Value,
};
use millrace_types::{Result, SqlError, TYPE_KEY};
use std::sync::Arc;

pub fn functions() -> Vec<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    let named = |outer| ScalarUDF::from(NamedRow { outer, signature: signature.clone() });
    vec![generic("row", &[], types, row), named(false), named(true)]
}

/// `named_row('a', x, 'b', y)`: a row with columns of these names. `outer_row` is the row of a relation that an outer
/// join may have had none of: without any value it is NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NamedRow {
    outer: bool,
    signature: Signature,
}

impl ScalarUDFImpl for NamedRow {
    fn name(&self) -> &str {
        if self.outer { "outer_row" } else { "named_row" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::common::Result<DataType> {
        datafusion::common::plan_err!("the columns of a row have the names of its arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> datafusion::common::Result<FieldRef> {
        let names = args.scalar_arguments.iter().step_by(2);
        let columns = names.zip(args.arg_fields.iter().skip(1).step_by(2)).map(|(name, field)| {
            let name = name.and_then(|name| name.try_as_str().flatten()).unwrap_or_default();
            field.as_ref().clone().with_name(name).with_nullable(true)
        });
        let columns: Fields = columns.collect();
        // The row of a relation, unlike one of ROW(), is no `record` to clients.
        let named = [(TYPE_KEY.to_owned(), "named_row".to_owned())].into();
        Ok(Arc::new(Field::new(self.name(), DataType::Struct(columns), true).with_metadata(named)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::common::Result<ColumnarValue> {
        let DataType::Struct(fields) = args.return_field.data_type() else {
            return datafusion::common::exec_err!("a row is composite");
        };
        let values = args.args.iter().skip(1).step_by(2).map(|value| value.to_array(args.number_rows));
        let columns = values.collect::<datafusion::common::Result<Vec<_>>>()?;
        let has_value = |row: usize| columns.iter().any(|column| !is_null(column, row));
        let there = self.outer.then(|| NullBuffer::from((0..args.number_rows).map(has_value).collect::<Vec<bool>>()));
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(fields.clone(), columns, there)?)))
    }
}

fn types(fields: &[FieldRef]) -> Result<Option<(Vec<DataType>, Field)>> {
    let named = fields.iter().enumerate().map(|(at, field)| {
        let text = field.data_type().is_string();
        let field = field.as_ref().clone().with_name(format!("f{}", at + 1)).with_nullable(true);
        if text { field.with_data_type(DataType::Utf8View) } else { field }
    });
    let columns: Fields = named.collect();
    let taken = columns.iter().map(|field| field.data_type().clone()).collect();
    Ok(Some((taken, Field::new("", DataType::Struct(columns), true))))
}

fn row(call: &Call) -> Result<ArrayRef> {
    let DataType::Struct(fields) = call.result.data_type() else {
        return Err(SqlError::internal("a row is composite"));
    };
    if fields.is_empty() {
        return Ok(new_null_array(call.result.data_type(), call.rows));
    }
    let columns = call.arrays.iter().zip(fields).map(|(array, field)| arrow::compute::cast(array, field.data_type()));
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns.collect::<Result<_, _>>()?, None)?))
}

/// The columns of a row that stands in a statement.
fn columns(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(columns) => Some(columns.clone()),
        Expr::Nested(inner) => columns(inner),
        _ => columns_of_row(expr),
    }
}

/// The columns of `ROW(a, b)`; `None` for any other expression.
pub fn columns_of_row(expr: &Expr) -> Option<Vec<Expr>> {
    let Expr::Function(function) = expr else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    if !function.name.to_string().eq_ignore_ascii_case("row") {
        return None;
    }
    let column = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(column).collect()
}

/// An expression over rows as one over their columns; `None` for any other, and where the rows have not as many columns.
pub fn rewritten(expr: &Expr) -> Option<Expr> {
    let changed = match expr {
        Expr::BinaryOp { left, op, right } => compared(op, &columns(left)?, &columns(right)?),
        Expr::IsDistinctFrom(left, right) => distinct(&columns(left)?, &columns(right)?),
        Expr::IsNotDistinctFrom(left, right) => distinct(&columns(left)?, &columns(right)?).map(not),
        Expr::IsNull(row) => all(columns(row)?.into_iter().map(|column| Expr::IsNull(Box::new(column)))),
        Expr::IsNotNull(row) => all(columns(row)?.into_iter().map(|column| Expr::IsNotNull(Box::new(column)))),
        Expr::InList { expr, list, negated } => {
            let row = columns(expr)?;
            let equal = list.iter().map(|other| compared(&BinaryOperator::Eq, &row, &columns(other)?));
            let any = joined(BinaryOperator::Or, equal.collect::<Option<Vec<_>>>()?);
            if *negated { any.map(not) } else { any }
        }
        Expr::Between { expr, negated, low, high } => {
            let row = columns(expr)?;
            let least = compared(&BinaryOperator::GtEq, &row, &columns(low)?)?;
            let between = binary(least, BinaryOperator::And, compared(&BinaryOperator::LtEq, &row, &columns(high)?)?);
            Some(if *negated { not(between) } else { between })
        }
        _ => None,
    };
    changed.map(|changed| Expr::Nested(Box::new(changed)))
}

/// The name that stands for all columns of a row, in `(f(x)).*`. No user can type it.
pub const ALL_COLUMNS: &str = "*\u{1}";

/// `(f(x)).*` as the columns of what a function gives, and `(t).*` as those of a relation; other items as they are.
pub fn columns_of(item: SelectItem) -> Vec<SelectItem> {
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = &item else { return vec![item] };
    let Some(row) = row_of_all(expr) else { return vec![item] };
    match without_parentheses(row) {
        Expr::Identifier(relation) => {
            let relation = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![relation.clone()]));
            vec![SelectItem::QualifiedWildcard(relation, Default::default())]
        }
        call @ Expr::Function(function) => {
            let name = function.name.0.last().and_then(|part| part.as_ident()).map(|name| name.value.to_lowercase());
            let columns = name.as_deref().and_then(crate::sets::columns_of).unwrap_or_default();
            let column = |name: &&str| {
                let field = Expr::Value(Value::SingleQuotedString((*name).to_owned()).with_empty_span());
                let expr = crate::syntax::call("get_field", [call.clone(), field]);
                SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', *name) }
            };
            if columns.len() < 2 { vec![item] } else { columns.iter().map(column).collect() }
        }
        _ => vec![item],
    }
}

/// The row of which all columns are asked for.
fn row_of_all(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.as_slice() {
            [AccessExpr::Dot(Expr::Identifier(name))] if name.value == ALL_COLUMNS => Some(root),
            _ => None,
        },
        // Field accesses may have been made calls already.
        Expr::Function(function) => match &function.args {
            FunctionArguments::List(list) => match list.args.as_slice() {
                [
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(row)),
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(field))),
                ] if field.value == Value::SingleQuotedString(ALL_COLUMNS.to_owned()) => Some(row),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn without_parentheses(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => without_parentheses(inner),
        other => other,
    }
}

/// A row in a select list as a call that makes a composite value.
pub fn constructor(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(columns) => Some(columns.clone()),
        _ => None,
    }
}

fn compared(op: &BinaryOperator, left: &[Expr], right: &[Expr]) -> Option<Expr> {
    if left.len() != right.len() || left.is_empty() {
        return None;
    }
    let pairs = left.iter().cloned().zip(right.iter().cloned());
    match op {
        BinaryOperator::Eq => joined(BinaryOperator::And, pairs.map(|(a, b)| binary(a, op.clone(), b)).collect()),
        BinaryOperator::NotEq => joined(BinaryOperator::Or, pairs.map(|(a, b)| binary(a, op.clone(), b)).collect()),
        BinaryOperator::Lt | BinaryOperator::LtEq => lexical(BinaryOperator::Lt, op, pairs.collect()),
        BinaryOperator::Gt | BinaryOperator::GtEq => lexical(BinaryOperator::Gt, op, pairs.collect()),
        _ => None,
    }
}

/// `a < c OR (a = c AND (b < d ...))`, the last pair by `last`.
fn lexical(before: BinaryOperator, last: &BinaryOperator, mut pairs: Vec<(Expr, Expr)>) -> Option<Expr> {
    let (left, right) = pairs.pop()?;
    let innermost = binary(left, last.clone(), right);
    Some(pairs.into_iter().rev().fold(innermost, |rest, (left, right)| {
        let equal = binary(left.clone(), BinaryOperator::Eq, right.clone());
        let later = binary(equal, BinaryOperator::And, rest);
        binary(binary(left, before.clone(), right), BinaryOperator::Or, later)
    }))
}

fn distinct(left: &[Expr], right: &[Expr]) -> Option<Expr> {
    if left.len() != right.len() {
        return None;
    }
    let pairs = left.iter().cloned().zip(right.iter().cloned());
    let different = pairs.map(|(a, b)| Expr::Nested(Box::new(Expr::IsDistinctFrom(Box::new(a), Box::new(b)))));
    joined(BinaryOperator::Or, different.collect())
}

fn all(exprs: impl Iterator<Item = Expr>) -> Option<Expr> {
    let enclosed = exprs.map(|expr| Expr::Nested(Box::new(expr))).collect();
    joined(BinaryOperator::And, enclosed).or_else(|| Some(Expr::Value(Value::Boolean(true).with_empty_span())))
}

fn joined(op: BinaryOperator, exprs: Vec<Expr>) -> Option<Expr> {
    exprs.into_iter().reduce(|joined, next| binary(joined, op.clone(), next))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let operation = Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) };
    Expr::Nested(Box::new(operation))
}

fn not(expr: Expr) -> Expr {
    let op = datafusion::sql::sqlparser::ast::UnaryOperator::Not;
    Expr::UnaryOp { op, expr: Box::new(Expr::Nested(Box::new(expr))) }
}
