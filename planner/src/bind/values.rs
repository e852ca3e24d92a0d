//! `VALUES` whose rows are of different types.
//!
//! DataFusion wants the rows of a VALUES to be of one type each. Postgres gives each column the type that its values have
//! together, as in a UNION. So where planning fails for it, `VALUES (1), (2.5)` is planned as
//! `SELECT 1 AS column1 UNION ALL SELECT 2.5`.

use crate::parse::parse_query;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::{Expr as PlannedExpr, ExprSchemable, LogicalPlan};
use millrace_functions::Walk;
use millrace_types::SqlError;
use sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr, SetOperator, SetQuantifier, VisitorMut};
use std::ops::ControlFlow;

/// Longer lists are left to fail: each row makes the plan one level deeper.
const ROWS_MAX: usize = 200;

/// Whether planning failed on rows of different types.
pub fn differ(error: &DataFusionError) -> bool {
    error.to_string().contains("across values list")
}

/// Whether floats were made decimals because other rows are.
pub fn lose_floats(plan: &LogicalPlan) -> bool {
    let is_float = |expr: &PlannedExpr| expr.get_type(&DFSchema::empty()).is_ok_and(|given| given.is_floating());
    let was_float = |expr: &PlannedExpr| match expr {
        PlannedExpr::Cast(cast) => is_float(&cast.expr),
        expr => is_float(expr),
    };
    let found = plan.exists(|node| match node {
        LogicalPlan::Values(values) => {
            let mut columns = values.schema.fields().iter().enumerate();
            Ok(columns.any(|(at, field)| {
                field.data_type().is_decimal() && values.values.iter().any(|row| was_float(&row[at]))
            }))
        }
        _ => Ok(false),
    });
    found.unwrap_or(false)
}

/// Makes every VALUES in a query a union of its rows.
pub fn unite(query: &mut Query) {
    struct Uniter;
    impl VisitorMut for Uniter {
        type Break = SqlError;

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
            unite_within(&mut query.body);
            ControlFlow::Continue(())
        }
    }
    // It never breaks off.
    let _ = query.walk_mut(&mut Uniter);
}

fn unite_within(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            unite_within(left);
            unite_within(right);
        }
        SetExpr::Values(values) if (2..=ROWS_MAX).contains(&values.rows.len()) => {
            let rows = values.rows.iter().map(|row| selected(&row.content));
            let united = rows.collect::<Option<Vec<SetExpr>>>().and_then(|rows| rows.into_iter().reduce(union));
            if let Some(united) = united {
                *body = united;
            }
        }
        _ => {}
    }
}

fn union(left: SetExpr, right: SetExpr) -> SetExpr {
    let (op, set_quantifier) = (SetOperator::Union, SetQuantifier::All);
    SetExpr::SetOperation { op, set_quantifier, left: Box::new(left), right: Box::new(right) }
}

/// `SELECT a AS column1, b AS column2`
fn selected(row: &[Expr]) -> Option<SetExpr> {
    let mut query = parse_query("SELECT 1").ok()?;
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let items = row.iter().enumerate().map(|(at, expr)| SelectItem::ExprWithAlias {
        expr: expr.clone(),
        alias: Ident::new(format!("column{}", at + 1)),
    });
    select.projection = items.collect();
    Some(*query.body)
}
