//! INTERSECT and EXCEPT.
//!
//! DataFusion plans them as joins that ask whether a row is on the other side. That neither counts copies, as ALL does,
//! nor finds a common type. Both sides in one union, marked by where they come from and grouped by their columns, give
//! all of it:
//!
//! ```text
//!   Projection        x
//!     Filter          both sides (INTERSECT), or only the left one (EXCEPT)
//!       Aggregate     by x; with ALL by x and its number among its copies, so that the copies pair up
//!         Union
//!           Projection   x, true     of the left side
//!           Projection   x, false    of the right side
//! ```

use crate::functions::FunctionSource;
use crate::numbering::{number, numbered};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, JoinType, NullEquality, Result};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, LogicalPlan, Projection, Union, ident, lit, not,
};
use std::sync::Arc;

/// Whether a row comes from the left side.
const SIDE: &str = "side\u{1}";

/// The plan with every INTERSECT and EXCEPT as an aggregate.
pub fn set_operations(plan: LogicalPlan, functions: &FunctionSource) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| match plan {
        // Only set operations join so that NULLs are equal; other semi-joins are subqueries still.
        LogicalPlan::Join(join)
            if join.null_equality == NullEquality::NullEqualsNull
                && matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) =>
        {
            operation(join, functions).map(Transformed::yes)
        }
        other => Ok(Transformed::no(other)),
    })
    .map(|transformed| transformed.data)
}

fn operation(join: Join, functions: &FunctionSource) -> Result<LogicalPlan> {
    let Join { left, right, join_type, schema, .. } = join;
    // Over different rows on the left, ALL makes no difference.
    let (left, all) = match Arc::unwrap_or_clone(left) {
        LogicalPlan::Distinct(Distinct::All(left)) => (left, false),
        other => (Arc::new(other), true),
    };
    let width = schema.fields().len();
    let sides = [(left, true), (right, false)].map(|(plan, is_left)| side(plan, is_left, all.then_some(functions)));
    let sides = sides.into_iter().map(|side| side.map(Arc::new)).collect::<Result<Vec<_>>>()?;
    let union = Union::try_new_with_loose_types(sides)?;
    let keys = (0..width).map(column).chain(all.then(number)).collect();
    let (any, every) = (aggregate(functions, "bool_or")?, aggregate(functions, "bool_and")?);
    let grouped = Aggregate::try_new(Arc::new(LogicalPlan::Union(union)), keys, vec![any, every])?;
    let predicate = match join_type {
        JoinType::LeftSemi => ident("bool_or").and(not(ident("bool_and"))),
        _ => ident("bool_and"),
    };
    let kept = Filter::try_new(predicate, Arc::new(LogicalPlan::Aggregate(grouped)))?;
    let named = schema.iter().enumerate();
    let named = named.map(|(at, (qualifier, field))| column(at).alias_qualified(qualifier.cloned(), field.name()));
    let projection = Projection::try_new(named.collect(), Arc::new(LogicalPlan::Filter(kept)))?;
    Ok(LogicalPlan::Projection(projection))
}

/// One side with its columns by place, marked; numbered among copies if there are functions to do so.
fn side(plan: Arc<LogicalPlan>, is_left: bool, functions: Option<&FunctionSource>) -> Result<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().enumerate();
    let mut exprs: Vec<Expr> = columns.map(|(at, column)| Expr::Column(column).alias(name(at))).collect();
    let width = exprs.len();
    exprs.push(lit(is_left).alias(SIDE));
    let side = LogicalPlan::Projection(Projection::try_new(exprs, plan)?);
    match functions {
        Some(functions) => numbered(Arc::new(side), functions, "row_number", (0..width).map(column).collect(), vec![]),
        None => Ok(side),
    }
}

fn name(at: usize) -> String {
    format!("column {at}\u{1}")
}

fn column(at: usize) -> Expr {
    ident(name(at))
}

/// An aggregate of the side, under its own name.
fn aggregate(functions: &FunctionSource, name: &str) -> Result<Expr> {
    let function = functions.state().aggregate_functions().get(name).cloned();
    let function = function.ok_or_else(|| DataFusionError::Internal(format!("there is no {name}()")))?;
    Ok(function.call(vec![ident(SIDE)]).alias(name))
}
