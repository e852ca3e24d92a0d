//! The rules that make a plan's casts and literals Postgres's.

use super::{CastTo, Purpose, cast};
use crate::error::carried;
use crate::time_zone::session_zone;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::{Cast, FieldMetadata};
use datafusion::logical_expr::expr_rewriter::{NamePreserver, SavedName};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion::optimizer::analyzer::AnalyzerRule;
use millrace_types::{SqlType, TYPE_KEY, sql_type_of};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Puts [`CastTo`] where a cast differs from DataFusion's. Runs after type coercion, whose casts it covers, too.
/// A cast of a literal is computed at once: its error belongs to the statement, not to a row.
#[derive(Debug, Default)]
pub struct LowerCasts;

impl AnalyzerRule for LowerCasts {
    fn name(&self) -> &str {
        "lower_casts"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        // The terms of a recursive query must agree in their fields, metadata included.
        let marks = !plan.exists(|plan| Ok(matches!(plan, LogicalPlan::RecursiveQuery(_))))?;
        let lowered = plan.transform_up_with_subqueries(|plan| {
            let mut schema = merge_schema(&plan.inputs());
            if let LogicalPlan::TableScan(scan) = &plan {
                let source = scan.source.schema();
                schema.merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &source)?);
            }
            let names = names(&plan);
            let sorts = matches!(plan, LogicalPlan::Sort(_));
            let lowered = plan.map_expressions(|expr| {
                let name = names.as_ref().map(|names| names.save(&expr));
                let lowered = expr.transform_up(|expr| lower(expr, &schema, config, marks))?;
                let lowered = if sorts { lowered.transform_data(|expr| Ok(sorted(expr, &schema)))? } else { lowered };
                Ok(lowered.update_data(|expr| restored(expr, name)))
            })?;
            // What stands on a column whose type was read off a cast below learns its field anew.
            let passes_on = matches!(
                lowered.data,
                LogicalPlan::Projection(_)
                    | LogicalPlan::SubqueryAlias(_)
                    | LogicalPlan::Aggregate(_)
                    | LogicalPlan::Join(_)
                    | LogicalPlan::Window(_)
            );
            match lowered.transformed || passes_on {
                true => lowered.map_data(LogicalPlan::recompute_schema),
                false => Ok(lowered),
            }
        })?;
        Ok(lowered.data)
    }
}

/// What keeps the names of a plan's columns when its expressions change. Those of a VALUES have their own, whatever its
/// expressions are.
fn names(plan: &LogicalPlan) -> Option<NamePreserver> {
    match plan {
        LogicalPlan::Values(_) => None,
        plan => Some(NamePreserver::new(plan)),
    }
}

fn restored(expr: Expr, name: Option<SavedName>) -> Expr {
    match name {
        Some(name) => name.restore(expr),
        None => expr,
    }
}

fn lower(expr: Expr, schema: &DFSchema, config: &ConfigOptions, marks: bool) -> Result<Transformed<Expr>> {
    let (inner, field) = match expr {
        Expr::Cast(Cast { expr, field }) => (expr, field),
        other => return super::lowering::other(other, schema),
    };
    // A column of an outer query has no field here; what it is cast to by coercion, DataFusion's cast does.
    let Ok((_, source)) = inner.to_field(schema) else {
        return Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field: type_only(field) })));
    };
    if let Expr::Literal(value, metadata) = inner.as_ref() {
        let literal = literal(value, metadata, &source, &field, config)?;
        return Ok(Transformed::yes(if marks { literal } else { unmarked(literal, field) }));
    }
    let field = of_depth(&source, field);
    if source.data_type() == field.data_type() && sql_type_of(&source) == sql_type_of(&field) {
        return Ok(Transformed::yes(*inner));
    }
    if agrees(&source, &field) && !source.metadata().contains_key(TYPE_KEY) {
        return Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field: type_only(field) })));
    }
    let function = Arc::new(ScalarUDF::from(CastTo::new(field, Purpose::Explicit)));
    Ok(Transformed::yes(crate::operators::call(function, vec![*inner])))
}

/// The target of a cast that stays DataFusion's. One with a name would say whether the result may be NULL, too.
fn type_only(target: FieldRef) -> FieldRef {
    match target.name().is_empty() {
        true => target,
        false => Arc::new(target.as_ref().clone().with_name("")),
    }
}

/// A cast to `numeric` keeps the scale of what is cast, where that is known.
fn keep_scale(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(Cast { expr: inner, field }) = expr else { return Ok(Transformed::no(expr)) };
    let source = match inner.to_field(schema) {
        Ok((_, source)) if sql_type_of(&field) == SqlType::Numeric(None) => source,
        _ => return Ok(Transformed::no(Expr::Cast(Cast { expr: inner, field }))),
    };
    let kept = match (inner.as_ref(), source.data_type()) {
        (_, DataType::Decimal128(..)) => return Ok(Transformed::yes(*inner)),
        (Expr::Literal(value, _), _) if !value.is_null() && value.try_as_str().is_some() => {
            value.try_as_str().flatten().and_then(super::number::own_scale)
        }
        (_, integer) => crate::operators::arithmetic::precision_of(integer),
    };
    Ok(match kept {
        Some((precision, scale)) => {
            Transformed::yes(Expr::Cast(Cast::new(inner, DataType::Decimal128(precision, scale))))
        }
        None => Transformed::no(Expr::Cast(Cast { expr: inner, field })),
    })
}

/// What rows are sorted by for an expression: jsonb by keys that are ordered as its values are.
fn sorted(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr.to_field(schema) {
        Ok((_, field)) if sql_type_of(&field) == SqlType::Jsonb => {
            let function = crate::functions::named("jsonb_sort_key");
            Transformed::yes(crate::operators::call(function, vec![expr.unalias()]))
        }
        _ => Transformed::no(expr),
    }
}

/// The target of a cast between arrays with as many dimensions as there are: types do not say how many.
fn of_depth(source: &Field, target: FieldRef) -> FieldRef {
    let depth = |field: &Field| {
        let (mut field, mut depth) = (field.clone(), 0);
        while let Some(element) = crate::generic::element_of(&field) {
            (field, depth) = (element.as_ref().clone(), depth + 1);
        }
        (field, depth)
    };
    let ((_, there), (element, wanted)) = (depth(source), depth(&target));
    if there == wanted || there == 0 || wanted == 0 {
        return target;
    }
    Arc::new((0..there).fold(element, |inner, _| crate::generic::list_of(&inner)))
}

fn literal(
    value: &ScalarValue,
    metadata: &Option<FieldMetadata>,
    source: &Field,
    field: &FieldRef,
    config: &ConfigOptions,
) -> Result<Expr> {
    let one = value.to_array_of_size(1)?;
    let source = match metadata {
        Some(metadata) => metadata.add_to_field(source.clone()),
        None => source.clone(),
    };
    let zone = session_zone(config).map_err(carried)?;
    let converted = cast(&one, &source, field, Purpose::Explicit, &zone).map_err(carried)?;
    let value = crate::function::scalar_of(&converted)?;
    let metadata = match field.metadata().is_empty() {
        false => Some(FieldMetadata::from(field.as_ref())),
        true => settled(&value),
    };
    Ok(Expr::Literal(value, metadata))
}

/// A bigint without its mark: as a cast of what it would be narrowed to, which gives it again.
fn unmarked(literal: Expr, field: FieldRef) -> Expr {
    match literal {
        Expr::Literal(ScalarValue::Int64(Some(value)), Some(_)) => match i32::try_from(value) {
            Ok(small) => {
                let small = Expr::Literal(ScalarValue::Int32(Some(small)), None);
                Expr::Cast(Cast::new_from_field(Box::new(small), field))
            }
            Err(_) => Expr::Literal(ScalarValue::Int64(Some(value)), None),
        },
        literal => literal,
    }
}

/// The metadata of a literal whose type is what it says, whatever type its value would fit: plans are analysed again
/// when they run, or as a part of others, and a bigint must not be narrowed then.
pub fn settled(value: &ScalarValue) -> Option<FieldMetadata> {
    let mark = || BTreeMap::from([(TYPE_KEY.to_owned(), SqlType::Int8.name())]);
    matches!(value, ScalarValue::Int64(Some(_))).then(|| FieldMetadata::from(mark()))
}

/// Whether DataFusion's cast gives the same for every value, without an error to word.
fn agrees(source: &Field, target: &Field) -> bool {
    use DataType::*;
    if matches!(sql_type_of(target), SqlType::Numeric(None)) {
        return false;
    }
    match (source.data_type(), target.data_type()) {
        (Null, _) => true,
        (Int8 | Int16 | UInt8 | UInt16, Int32 | Int64) | (Int32 | UInt32, Int64) | (Int8 | UInt8, Int16) => true,
        (Int16 | Int32 | Int64, Float32 | Float64) | (Float32, Float64) => true,
        (Int16 | Int32, Decimal128(precision, scale)) => i16::from(*precision) - i16::from(*scale) >= 10,
        (Int64, Decimal128(precision, scale)) => i16::from(*precision) - i16::from(*scale) >= 19,
        (Decimal128(p, s), Decimal128(q, t)) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        (Date32, Timestamp(TimeUnit::Microsecond, None)) => false,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8) => true,
        (Utf8 | LargeUtf8, Utf8View) => sql_type_of(target) == SqlType::Text,
        (Struct(_), Utf8View) => false,
        (from, _) => from.is_nested() && !matches!(from, List(_)),
    }
}

/// Gives integer literals Postgres's type: `integer` where it fits, else `bigint`, else `numeric`. Runs before type
/// coercion. A literal with metadata stands for a parameter or a cast, whose type is settled.
#[derive(Debug, Default)]
pub struct IntegerLiterals;

impl AnalyzerRule for IntegerLiterals {
    fn name(&self) -> &str {
        "integer_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        // The types of a recursive query's rows are fixed by its first term while it is planned.
        if plan.exists(|plan| Ok(matches!(plan, LogicalPlan::RecursiveQuery(_))))? {
            return Ok(plan);
        }
        let narrowed = plan.transform_up_with_subqueries(|plan| {
            if matches!(plan, LogicalPlan::Limit(_)) {
                return Ok(Transformed::no(plan));
            }
            let names = names(&plan);
            // The rows of VALUES must agree in their types.
            let schema = (!matches!(plan, LogicalPlan::Values(_))).then(|| merge_schema(&plan.inputs()));
            let narrowed = plan.map_expressions(|expr| {
                let name = names.as_ref().map(|names| names.save(&expr));
                let narrowed = expr.transform_up(|expr| match &schema {
                    Some(schema) => narrow(expr)?
                        .transform_data(|expr| keep_scale(expr, schema))?
                        .transform_data(|expr| super::choice::matched(expr, schema)),
                    None => narrow(expr),
                })?;
                Ok(narrowed.update_data(|expr| restored(expr, name)))
            })?;
            // Schemas follow from those below, also where no expression changes.
            match narrowed.transformed || !matches!(narrowed.data, LogicalPlan::Values(_)) {
                true => narrowed.map_data(retyped),
                false => Ok(narrowed),
            }
        })?;
        Ok(narrowed.data)
    }
}

/// A literal in Postgres's type; anything else as it is.
pub fn narrowed(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(..) => narrow(expr.clone()).map_or(expr, |narrowed| narrowed.data),
        other => other,
    }
}

fn narrow(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), None) => match i32::try_from(value) {
            Ok(small) => Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(small)), None)),
            Err(_) => Transformed::no(expr),
        },
        Expr::Literal(ScalarValue::Decimal128(Some(value), _, scale @ ..0), None) => {
            match crate::operators::decimal::rescale(value, scale, 0) {
                Some(value) => Transformed::yes(Expr::Literal(ScalarValue::Decimal128(Some(value), 38, 0), None)),
                None => Transformed::no(expr),
            }
        }
        Expr::Literal(ScalarValue::UInt64(Some(value)), None) => {
            let numeric = ScalarValue::Decimal128(Some(value.into()), 20, 0);
            Transformed::yes(Expr::Literal(numeric, None))
        }
        // `t AT TIME ZONE 'z'` arrives as a cast to nanoseconds in that zone, which no type name gives.
        Expr::Cast(Cast { expr, field }) => match field.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, Some(zone)) => {
                let zone = Expr::Literal(ScalarValue::Utf8View(Some(zone.to_string())), None);
                let timezone = crate::functions::named("timezone");
                Transformed::yes(crate::operators::call(timezone, vec![zone, *expr]))
            }
            _ => Transformed::no(Expr::Cast(Cast { expr, field })),
        },
        other => Transformed::no(other),
    })
}

/// The plan with its schema computed again. `VALUES` carries its own, which the narrowed literals must follow.
fn retyped(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Values(values) => values_retyped(values),
        other => other.recompute_schema(),
    }
}

/// A column of `VALUES` whose every value is a narrowed literal is narrow; a mixed one widens its literals again.
fn values_retyped(values: datafusion::logical_expr::Values) -> Result<LogicalPlan> {
    let mut rows = values.values;
    let mut fields = Vec::new();
    for (column, (qualifier, field)) in values.schema.iter().enumerate() {
        let wide = field.data_type() == &DataType::Int64;
        let small = |expr: &Expr| match expr {
            Expr::Literal(value, _) => value.is_null() || value.data_type() == DataType::Int32,
            _ => false,
        };
        let field = if wide && rows.iter().all(|row| small(&row[column])) {
            for row in &mut rows {
                if matches!(&row[column], Expr::Literal(value, _) if value.is_null()) {
                    row[column] = Expr::Literal(ScalarValue::Int32(None), None);
                }
            }
            Arc::new(field.as_ref().clone().with_data_type(DataType::Int32))
        } else {
            for row in &mut rows {
                widen(&mut row[column], field.data_type());
            }
            field.clone()
        };
        // Nullable: a scalar subquery over no row gives NULL in a column of theirs.
        let field = Arc::new(field.as_ref().clone().with_nullable(true));
        fields.push((qualifier.cloned(), field));
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, values.schema.metadata().clone())?);
    Ok(LogicalPlan::Values(datafusion::logical_expr::Values { schema, values: rows }))
}

fn widen(expr: &mut Expr, data_type: &DataType) {
    match (&*expr, data_type) {
        (Expr::Literal(ScalarValue::Int32(Some(value)), None), DataType::Int64) => {
            *expr = Expr::Literal(ScalarValue::Int64(Some((*value).into())), None);
        }
        (Expr::Literal(value, None), _) if value.data_type() != *data_type && !value.is_null() => {
            let inner = std::mem::take(expr);
            *expr = Expr::Cast(Cast::new(Box::new(inner), data_type.clone()));
        }
        _ => {}
    }
}
