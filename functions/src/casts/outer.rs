//! The types of an outer query's columns, as its subqueries know them.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use std::sync::Arc;

/// A subquery carries the type of each outer column that it names, as it was when the subquery was planned. Other rules
/// change the types of columns; this one tells the subqueries. If it does so after types were coerced, they are again.
#[derive(Debug, Default)]
pub struct OuterColumns {
    /// Whether types were coerced before.
    pub coerced: bool,
}

impl AnalyzerRule for OuterColumns {
    fn name(&self) -> &str {
        "outer_columns"
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let told = tell(plan, &mut vec![])?;
        match told.transformed && self.coerced {
            true => TypeCoercion::new().analyze(told.data, config),
            false => Ok(told.data),
        }
    }
}

/// Tells a plan within outer queries, the innermost of whose rows comes last.
fn tell(plan: LogicalPlan, outer: &mut Vec<DFSchemaRef>) -> Result<Transformed<LogicalPlan>> {
    let told = match plan {
        // The right side may name columns of the left one, and of what the left one stands in.
        LogicalPlan::Join(mut join) => {
            let left = tell(join.left.as_ref().clone(), outer)?;
            outer.push(left.data.schema().clone());
            let right = tell(join.right.as_ref().clone(), outer);
            outer.pop();
            let right = right?;
            let changed = left.transformed || right.transformed;
            (join.left, join.right) = (Arc::new(left.data), Arc::new(right.data));
            Transformed::new_transformed(LogicalPlan::Join(join), changed)
        }
        plan => plan.map_children(|child| tell(child, outer))?,
    };
    let rows: DFSchemaRef = Arc::new(merge_schema(&told.data.inputs()));
    let node = told.transform_data(|plan| {
        plan.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::OuterReferenceColumn(field, column) => {
                    let known =
                        outer.iter().rev().find_map(|rows| place(&column, rows).map(|at| rows.field(at).clone()));
                    match known {
                        Some(known) if known != field => {
                            Ok(Transformed::yes(Expr::OuterReferenceColumn(known, column)))
                        }
                        _ => Ok(Transformed::no(Expr::OuterReferenceColumn(field, column))),
                    }
                }
                expr => within(expr, &rows, outer),
            })
        })
    })?;
    match node.transformed {
        true => node.map_data(LogicalPlan::recompute_schema),
        false => Ok(node),
    }
}

/// Tells the subquery of an expression over `rows`.
fn within(expr: Expr, rows: &DFSchemaRef, outer: &mut Vec<DFSchemaRef>) -> Result<Transformed<Expr>> {
    let mut tell_subquery = |subquery: &mut Subquery| -> Result<bool> {
        outer.push(rows.clone());
        let told = tell(subquery.subquery.as_ref().clone(), outer);
        outer.pop();
        let told = told?;
        subquery.subquery = Arc::new(told.data);
        Ok(told.transformed)
    };
    let mut expr = expr;
    let changed = match &mut expr {
        Expr::Exists(exists) => tell_subquery(&mut exists.subquery)?,
        Expr::InSubquery(within) => tell_subquery(&mut within.subquery)?,
        Expr::SetComparison(compared) => tell_subquery(&mut compared.subquery)?,
        Expr::ScalarSubquery(subquery) => tell_subquery(subquery)?,
        _ => false,
    };
    Ok(Transformed::new_transformed(expr, changed))
}

fn place(column: &datafusion::common::Column, rows: &DFSchema) -> Option<usize> {
    let exact = rows
        .iter()
        .position(|(qualifier, field)| qualifier == column.relation.as_ref() && *field.name() == column.name);
    exact.or_else(|| rows.maybe_index_of_column(column))
}
