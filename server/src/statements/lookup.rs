//! The fast path: `SELECT columns FROM relation WHERE key = value` reads the read model without planning anything.

use crate::coordinator::key_identities;
use crate::reading::Snapshot;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, utils::split_conjunction};
use millrace_catalog::Catalog;
use millrace_dataflow::read_model::ReadModel;
use millrace_dataflow::state::order_keys;
use millrace_planner::bind::{Bound, RelationSource};
use millrace_planner::{Relation, RelationKey, RelationKind};
use millrace_types::{RelationId, Result};

/// A look-up of rows by the whole key of a stored relation.
pub struct Lookup {
    relation: RelationId,
    /// What has the rows in the order of the key: the relation, or an index of it.
    model: RelationId,
    /// For an index in the order of its one column's values, the column.
    ordered: Option<usize>,
    /// For each column of the key what it must equal, and the column's type.
    key: Vec<(Wanted, DataType)>,
    /// The columns that are answered.
    output: Vec<usize>,
}

enum Wanted {
    /// The parameter at this position, counted from 0.
    Parameter(usize),
    Value(ArrayRef),
}

impl Lookup {
    /// The look-up that a query is, if it is one.
    pub fn of(bound: &Bound) -> Option<Lookup> {
        let LogicalPlan::Projection(projection) = &bound.plan else { return None };
        let LogicalPlan::Filter(filter) = below_aliases(&projection.input) else { return None };
        let LogicalPlan::TableScan(scan) = below_aliases(&filter.input) else { return None };
        let relation: &Relation = scan.source.downcast_ref::<RelationSource>()?.relation();
        let stored = matches!(relation.kind, RelationKind::Table | RelationKind::MaterializedView);
        let keys = relation.keys.iter().filter(|_| stored && scan.projection.is_none());
        let conditions = split_conjunction(&filter.predicate);
        let wanted = |column: &usize| {
            let field = relation.schema.field(*column);
            let wanted = conditions.iter().find_map(|condition| equals(condition, field.name(), field.data_type()))?;
            Some((wanted, field.data_type().clone()))
        };
        let of_key = |key: &RelationKey| {
            let ordered = key.columns.first().copied().filter(|_| key.ordered);
            Some((key.model, ordered, key.columns.iter().map(wanted).collect::<Option<Vec<_>>>()?))
        };
        let (model, ordered, key) = keys.filter(|key| key.columns.len() == conditions.len()).find_map(of_key)?;
        let output = projection.expr.iter().map(|expr| column_of(expr, &relation.schema)).collect::<Option<_>>()?;
        Some(Lookup { relation: relation.id, model, ordered, key, output })
    }

    /// What is looked up in which index, for EXPLAIN.
    pub fn describe(&self, catalog: &Catalog) -> String {
        let Some(relation) = catalog.get(self.relation) else { return self.relation.to_string() };
        match relation.index_keys().find(|key| key.index == self.model) {
            Some(index) => format!("{} by index {}", relation.name, index.name),
            None => format!("{} by its key", relation.name),
        }
    }

    /// The rows in a snapshot.
    pub fn run(&self, snapshot: &Snapshot, parameters: &[ArrayRef]) -> Result<RecordBatch> {
        let key = self.key.iter().map(|(wanted, data_type)| match wanted {
            Wanted::Value(value) => Ok(value.clone()),
            Wanted::Parameter(index) => cast_exactly(&parameters[*index], data_type)?
                .ok_or_else(|| millrace_types::SqlError::internal("a key's parameter has the key's type")),
        });
        let key = key.collect::<Result<Vec<_>>>()?;
        if key.iter().any(|value| value.is_null(0)) {
            let none = snapshot.index(self.relation, self.model)?.schema().clone();
            return Ok(RecordBatch::new_empty(none).project(&self.output)?);
        }
        let rows = match (self.ordered, &key[..]) {
            (Some(column), [value]) => equal_rows(&snapshot.index(self.relation, self.model)?, column, value)?,
            _ => snapshot.lookup(self.relation, self.model, &key)?,
        };
        Ok(rows.project(&self.output)?)
    }
}

/// The rows of an index for ranges whose column equals a value.
fn equal_rows(model: &ReadModel, column: usize, value: &ArrayRef) -> Result<RecordBatch> {
    let number = order_keys(value)?.first().copied().unwrap_or(u64::MAX);
    let rows = model.range(&(number..=number))?;
    let wanted = key_identities(std::slice::from_ref(value), 1)?;
    let found = key_identities(std::slice::from_ref(rows.column(column)), rows.num_rows())?;
    let equal: BooleanArray = found.iter().map(|identity| Some(wanted.contains(identity))).collect();
    Ok(arrow::compute::filter_record_batch(&rows, &equal)?)
}

fn below_aliases(mut plan: &LogicalPlan) -> &LogicalPlan {
    while let LogicalPlan::SubqueryAlias(alias) = plan {
        plan = &alias.input;
    }
    plan
}

fn column_of(expr: &Expr, schema: &SchemaRef) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of(column.name()).ok(),
        Expr::Alias(Alias { expr, .. }) => column_of(expr, schema),
        _ => None,
    }
}

/// What a condition says that a column equals, if that can be compared in the column's own type.
fn equals(condition: &Expr, column: &str, data_type: &DataType) -> Option<Wanted> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let other = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(name), other) | (other, Expr::Column(name)) if name.name() == column => other,
        _ => return None,
    };
    match other {
        Expr::Literal(value, _) => cast_exactly(&value.to_array().ok()?, data_type).ok()?.map(Wanted::Value),
        Expr::Placeholder(placeholder) => {
            let same = placeholder.field.as_ref().is_some_and(|field| field.data_type() == data_type);
            let index = placeholder.id.strip_prefix('$')?.parse::<usize>().ok()?;
            same.then(|| index.checked_sub(1).map(Wanted::Parameter)).flatten()
        }
        _ => None,
    }
}

/// A value in another type, if it is the same value there.
fn cast_exactly(value: &ArrayRef, data_type: &DataType) -> Result<Option<ArrayRef>> {
    if value.data_type() == data_type {
        return Ok(Some(value.clone()));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let Ok(there) = cast_with_options(value, data_type, &options) else { return Ok(None) };
    let Ok(back) = cast_with_options(&there, value.data_type(), &options) else { return Ok(None) };
    Ok((back.to_data() == value.to_data()).then_some(there))
}
