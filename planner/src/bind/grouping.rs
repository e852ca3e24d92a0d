//! Groups: HAVING without any, and grouping sets of expressions.
//!
//! `SELECT 1 FROM t HAVING true` is about one group, of which nothing is asked: `SELECT 1 WHERE true`.
//!
//! What stands above an aggregate knows its keys by their names, which are those of their expressions. Typing changes the
//! expressions, and the name of a key of grouping sets cannot be kept by an alias. So such keys are computed below:
//! `ROLLUP (a + 1)` becomes `ROLLUP ("a + 1")` over a projection of that column.

use crate::functions::FunctionSource;
use crate::parse::name_parts;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, Projection};
use millrace_functions::{Walk, each_select};
use millrace_types::SqlError;
use sqlparser::ast::{self, GroupByExpr, Query, Select, Visitor};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Makes a HAVING over one group of which nothing is asked the condition of a single row.
pub fn without_rows(query: &mut Query, functions: &FunctionSource) {
    each_select(query, |select| {
        let no_keys = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
        if select.having.is_some() && no_keys && !asks(select, functions) {
            select.from = vec![];
            select.selection = select.having.take();
        }
    });
}

/// Whether a SELECT has an aggregate, or names a column, which then has no group.
fn asks(select: &Select, functions: &FunctionSource) -> bool {
    struct Finder<'a> {
        functions: &'a FunctionSource,
        depth: usize,
    }
    impl Visitor for Finder<'_> {
        type Break = SqlError;

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<SqlError> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<SqlError> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<SqlError> {
            let found = self.depth == 0
                && match expr {
                    ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => true,
                    ast::Expr::Function(call) => {
                        name_parts(&call.name).pop().is_none_or(|name| self.functions.state().udaf(&name).is_ok())
                    }
                    _ => false,
                };
            if found { ControlFlow::Break(SqlError::internal("found")) } else { ControlFlow::Continue(()) }
        }
    }
    let mut bare = select.clone();
    bare.from = vec![];
    bare.selection = None;
    let wildcard =
        |item: &ast::SelectItem| matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..));
    bare.projection.iter().any(wildcard) || bare.walk(&mut Finder { functions, depth: 0 }).is_err()
}

/// Whether rows are grouped by two keys of one name: a column, and a cast of it.
pub fn has_keys_alike(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Aggregate(aggregate) = plan {
            let names: Vec<String> = aggregate.group_expr.iter().map(|key| key.schema_name().to_string()).collect();
            found |= names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found && walked.is_ok()
}

/// The plan with grouping sets over columns alone.
pub fn over_columns(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Aggregate(aggregate) => rewritten(aggregate),
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
}

fn rewritten(mut aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let mut computed: Vec<Expr> = vec![];
    for key in &mut aggregate.group_expr {
        let Expr::GroupingSet(set) = key else { continue };
        let keys: Vec<&mut Expr> = match set {
            GroupingSet::Rollup(keys) | GroupingSet::Cube(keys) => keys.iter_mut().collect(),
            GroupingSet::GroupingSets(sets) => sets.iter_mut().flatten().collect(),
        };
        for key in keys {
            if matches!(key, Expr::Column(_) | Expr::OuterReferenceColumn(..)) {
                continue;
            }
            let name = key.schema_name().to_string();
            let expr = std::mem::replace(key, Expr::Column(Column::new_unqualified(&name))).alias(name);
            if !computed.contains(&expr) {
                computed.push(expr);
            }
        }
    }
    if computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let mut columns: Vec<Expr> = aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
    columns.extend(computed);
    let input = LogicalPlan::Projection(Projection::try_new(columns, aggregate.input)?);
    let aggregate = Aggregate::try_new(Arc::new(input), aggregate.group_expr, aggregate.aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}
