//! Output columns: one Arrow type for each type of Postgres, and Postgres's names.

use super::names::plain_name;
use crate::error::sql_error;
use crate::functions::FunctionSource;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use millrace_types::{SqlType, TYPE_KEY, field_of};
use std::collections::HashMap;
use std::sync::Arc;

/// The type that a column of a result has instead of one that no column of ours has.
fn canonical_type(data_type: &DataType) -> SqlType {
    match data_type {
        DataType::Null => SqlType::Text,
        // What counts rows is bigint in Postgres.
        DataType::UInt64 => SqlType::Int8,
        other => SqlType::from_arrow(other),
    }
}

/// Whether a column has the Arrow type that columns of its type have.
fn is_canonical(field: &Field) -> bool {
    let canonical = canonical_type(field.data_type()).arrow();
    let is_composite = matches!(field.data_type(), DataType::Struct(_) | DataType::Map(..));
    is_composite || canonical.equals_datatype(field.data_type())
}

/// The field that a column of a result has.
pub fn canonical_field(field: &Field) -> Field {
    match is_canonical(field) {
        true => field.clone(),
        false => field_of(field.name(), &canonical_type(field.data_type()), true),
    }
}

/// A value cast to the type that a column of a result has instead of `field`'s, if it is another.
pub fn canonical_value(value: &Expr, field: &Field) -> Expr {
    match is_canonical(field) {
        true => value.clone(),
        false => {
            let target = field_of("", &canonical_type(field.data_type()), true);
            Expr::Cast(Cast::new_from_field(Box::new(value.clone()), Arc::new(target)))
        }
    }
}

/// The plan with a projection on top that casts the columns of types that no column of ours has, if there are any.
pub fn canonical(plan: LogicalPlan) -> Result<LogicalPlan> {
    if plan.schema().fields().iter().all(|field| is_canonical(field)) {
        return Ok(plan);
    }
    replaced(plan, |column, field| (!is_canonical(field)).then(|| canonical_value(column, field)))
}

/// The plan with a projection on top that gives for some columns something else, under their names.
fn replaced(plan: LogicalPlan, by: impl Fn(&Expr, &Field) -> Option<Expr>) -> Result<LogicalPlan> {
    let column = |(qualifier, field): (Option<&TableReference>, &Arc<Field>)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match by(&column, field) {
            None => column,
            Some(value) => value.alias_qualified(qualifier.cloned(), field.name()),
        }
    };
    let columns: Vec<Expr> = plan.schema().iter().map(column).collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// The plan with a projection on top that gives row values as their texts, which is how relations keep them.
pub fn stored(plan: LogicalPlan, functions: &FunctionSource) -> millrace_types::Result<LogicalPlan> {
    if plan.schema().fields().iter().all(|field| stored_type(field).is_none()) {
        return Ok(plan);
    }
    let stored = replaced(plan, |column, field| {
        let target = Arc::new(field_of("", &stored_type(field)?, true));
        Some(Expr::Cast(Cast::new_from_field(Box::new(column.clone()), target)))
    });
    super::query::analyze(stored.map_err(sql_error)?, functions)
}

/// The type in which a relation keeps row values: those of a relation are texts to clients, others records.
fn stored_type(field: &Field) -> Option<SqlType> {
    match field.data_type() {
        DataType::Struct(_) if field.metadata().contains_key(TYPE_KEY) => Some(SqlType::Text),
        DataType::Struct(_) => Some(SqlType::Record),
        DataType::List(item) => stored_type(item).map(|item| SqlType::Array(Box::new(item))),
        _ => None,
    }
}

/// The output columns of a plan as Postgres names them. Of a field's metadata only the type's mark is kept.
pub fn schema(plan: &LogicalPlan) -> SchemaRef {
    let fields: Vec<Field> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| {
            let mark = field.metadata().get(TYPE_KEY).map(|mark| (TYPE_KEY.to_owned(), mark.clone()));
            Field::new(plain_name(field.name()), field.data_type().clone(), field.is_nullable())
                .with_metadata(HashMap::from_iter(mark))
        })
        .collect();
    Arc::new(Schema::new(fields))
}
