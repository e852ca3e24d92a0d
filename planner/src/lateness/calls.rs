//! Watermarks among the expressions of a plan.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, Result as Planned};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use millrace_functions::sets::Unnest;

/// Whether a plan asks for watermarks.
pub fn concerns(plan: &LogicalPlan) -> Planned<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found = found || current_watermark::is_in(expr);
            Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(found)
}

/// The windows that expressions assign: of which time each, and where it ends.
#[derive(Default)]
pub struct Windows(Vec<(Column, Expr)>);

impl Windows {
    /// Those of which a row has one.
    pub fn among(_: &[Expr]) -> Windows {
        Windows::default()
    }

    /// Those of which a row has several.
    pub fn among_sets(_: &Projection, _: &Unnest) -> Windows {
        Windows::default()
    }

    /// Whether there are any.
    pub fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Where the window of a time ends.
    pub fn end(&self, time: &Column) -> Option<Expr> {
        self.0.iter().find(|(of, _)| of == time).map(|(_, end)| end.clone())
    }
}

/// Calls of `current_watermark(ts)`, which the hidden column answers.
pub mod current_watermark {
    use super::super::{Carried, Tracked, no_watermark};
    use datafusion::common::Result as Planned;
    use datafusion::common::tree_node::{Transformed, TreeNode};
    use datafusion::logical_expr::Expr;
    use millrace_functions::CURRENT_WATERMARK;

    /// Whether an expression is such a call.
    pub fn is_call(expr: &Expr) -> bool {
        matches!(expr, Expr::ScalarFunction(call) if call.name() == CURRENT_WATERMARK)
    }

    /// Whether an expression holds such a call.
    pub fn is_in(expr: &Expr) -> bool {
        expr.exists(|expr| Ok(is_call(expr))).unwrap_or(false)
    }

    /// The expression with the hidden column of its input in place of calls.
    pub fn replaced(expr: Expr, input: &Tracked) -> Planned<Expr> {
        let name = expr.schema_name().to_string();
        let replaced = expr.transform_up(|expr| {
            let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
            if !is_call(&expr) {
                return Ok(Transformed::no(expr));
            }
            match (&input.carried, call.args.as_slice(), input.hidden().first()) {
                (Some(Carried { time, .. }), [Expr::Column(column)], Some(before)) if column == time => {
                    Ok(Transformed::yes(before.clone()))
                }
                _ => Err(no_watermark()),
            }
        })?;
        Ok(match replaced.transformed && replaced.data.schema_name().to_string() != name {
            true => replaced.data.alias(name),
            false => replaced.data,
        })
    }
}
