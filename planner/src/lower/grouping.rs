//! GROUPING SETS, ROLLUP and CUBE: each row once for each set, with NULL for the keys that are not in it, and grouped by
//! the keys and the set.
//!
//! ```text
//! Aggregate    by the keys and the set
//! Exchange
//! Union        only with an empty set, which has a row also over no input:
//!   Expand     columns | keys of the set, else NULL | which set | true
//!     Project  columns
//!   Values     NULLs   | NULLs                      | empty set | false: it is there, and counts for nothing
//! ```

use super::node;
use crate::error::sql_error;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::logical_expr::utils::{grouping_set_to_exprlist, powerset};
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr as LogicalExpr, GroupingSet};
use datafusion::physical_expr::expressions::{Literal, lit};
use datafusion::scalar::ScalarValue;
use millrace_ir::{Aggregate, Expr, Node, Plan};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

/// The keys of an aggregate, and its sets of keys, if it has several.
pub struct Grouping<'a> {
    pub keys: Vec<&'a LogicalExpr>,
    sets: Vec<Set>,
}

/// A set of keys: which are in it, and the value that tells it from the others.
struct Set {
    holds: Vec<bool>,
    id: ScalarValue,
}

impl<'a> Grouping<'a> {
    /// The keys and sets of an aggregate.
    ///
    /// # Errors
    /// `54000` for sets with too many keys.
    pub fn of(aggregate: &'a LogicalAggregate) -> Result<Grouping<'a>> {
        let [LogicalExpr::GroupingSet(set)] = aggregate.group_expr.as_slice() else {
            return Ok(Grouping { keys: aggregate.group_expr.iter().collect(), sets: vec![] });
        };
        let keys = grouping_set_to_exprlist(&aggregate.group_expr).map_err(sql_error)?;
        let lists: Vec<Vec<&LogicalExpr>> = match set {
            GroupingSet::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
            GroupingSet::Cube(all) => powerset(all).map_err(sql_error)?,
            GroupingSet::Rollup(all) => (0..=all.len()).map(|count| all[..count].iter().collect()).collect(),
        };
        let id_type = aggregate.schema.field(keys.len()).data_type();
        let mut sets: Vec<Set> = Vec::with_capacity(lists.len());
        for list in lists {
            let holds: Vec<bool> = keys.iter().map(|key| list.contains(key)).collect();
            // As when it is run once: a bit for each key that is missing, and above them which of equal sets it is.
            let missing = holds.iter().fold(0u64, |bits, holds| bits << 1 | u64::from(!holds));
            let repeated = sets.iter().filter(|set| set.holds == holds).count() as u64;
            let id = ScalarValue::from(missing | repeated.checked_shl(keys.len() as u32).unwrap_or(0));
            sets.push(Set { id: id.cast_to(id_type).map_err(sql_error)?, holds });
        }
        Ok(Grouping { keys, sets })
    }

    /// Whether there are sets.
    pub fn has_sets(&self) -> bool {
        !self.sets.is_empty()
    }

    /// The input with a row for each set, and the columns by which it is grouped. `keys`: the columns of the keys.
    /// Aggregates are made to leave out what is no row of the input.
    pub fn expanded(&self, input: Node, keys: &[usize], aggregates: &mut [Aggregate]) -> Result<(Node, Vec<usize>)> {
        let columns = input.schema.fields().len();
        let nullable = |field: &FieldRef| Arc::new(field.as_ref().clone().with_nullable(true));
        let id_type = self.sets[0].id.data_type();
        let mut fields: Vec<FieldRef> = input.schema.fields().iter().map(nullable).collect();
        fields.extend(keys.iter().map(|&key| nullable(&input.schema.fields()[key])));
        fields.push(Arc::new(Field::new("set", id_type, true)));
        fields.push(Arc::new(Field::new("counts", DataType::Boolean, true)));
        let schema = Arc::new(Schema::new(fields));
        let sets = self.sets.iter().map(|set| exprs_of(set, &input, keys)).collect::<Result<Vec<_>>>()?;
        let empty = self.sets.iter().filter(|set| set.holds.iter().all(|holds| !holds));
        let mut inputs = empty.map(|set| presence(set, &schema, aggregates)).collect::<Result<Vec<_>>>()?;
        let expanded = Node {
            append_only: input.append_only,
            partitioned_by: None,
            unique_key: None,
            event_time: None,
            schema: schema.clone(),
            plan: Plan::Expand { input: Box::new(input), sets },
        };
        let grouped_by = (columns..=columns + keys.len()).collect();
        if inputs.is_empty() {
            return Ok((expanded, grouped_by));
        }
        for aggregate in aggregates.iter_mut() {
            aggregate.filter.get_or_insert(columns + keys.len() + 1);
        }
        inputs.insert(0, expanded);
        let append_only = inputs.iter().all(|input| input.append_only);
        let plan = Plan::Union { inputs };
        let expanded = Node { append_only, partitioned_by: None, unique_key: None, event_time: None, schema, plan };
        Ok((expanded, grouped_by))
    }
}

fn exprs_of(set: &Set, input: &Node, keys: &[usize]) -> Result<Vec<Expr>> {
    let mut exprs: Vec<Expr> = (0..input.schema.fields().len()).map(|at| node::column(input, at)).collect();
    for (&key, holds) in keys.iter().zip(&set.holds) {
        exprs.push(match holds {
            true => node::column(input, key),
            false => {
                let null = ScalarValue::try_from(input.schema.field(key).data_type()).map_err(sql_error)?;
                Arc::new(Literal::new(null))
            }
        });
    }
    exprs.extend([lit(set.id.clone()), lit(true)]);
    Ok(exprs)
}

/// A row that makes the group of an empty set be there, and that no aggregate counts.
fn presence(set: &Set, schema: &Arc<Schema>, aggregates: &[Aggregate]) -> Result<Node> {
    let fields = schema.fields();
    let no: ArrayRef = Arc::new(BooleanArray::from(vec![false]));
    let columns = fields.iter().enumerate().map(|(at, field)| {
        let is_filter = aggregates.iter().any(|aggregate| aggregate.filter == Some(at));
        match fields.len() - at {
            1 => Ok(no.clone()),
            2 => set.id.to_array().map_err(sql_error),
            _ if is_filter => Ok(no.clone()),
            _ => Ok(new_null_array(field.data_type(), 1)),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let rows = RecordBatch::try_new(schema.clone(), columns).map_err(SqlError::from)?;
    Ok(Node {
        append_only: true,
        partitioned_by: None,
        unique_key: None,
        event_time: None,
        schema: schema.clone(),
        plan: Plan::Values { rows },
    })
}
