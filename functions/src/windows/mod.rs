//! Window functions that DataFusion has no form for, alike in ad-hoc queries and in maintained views.
//!
//! - [`Frames`] makes calls over frames with `EXCLUDE`, and over frames that end before they start, calls of [`Framed`],
//!   a window function that looks at its frame itself.
//! - `lag`, `lead`, `ntile` and `nth_value` with counts that are no constants are functions of other names
//!   ([`COUNTED`]), which take the count from each row.
//!
//! `EXCLUDE` has no place in the syntax tree. The parser writes it as a key of the partition: a call of the function
//! that [`Exclusion::key`] names, which stays there until [`Frames`] takes it.

mod counted;
mod framed;

pub use framed::Framed;

use crate::function::{Overload, immutable};
use arrow::array::new_null_array;
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, ScalarUDF, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition, WindowUDF,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use framed::FrameFunction;
use millrace_types::SqlType;
use std::sync::Arc;

/// The functions whose count may be any expression, and under which name they are then called.
pub const COUNTED: &[(&str, &str)] =
    &[("lag", "\u{1}lag"), ("lead", "\u{1}lead"), ("ntile", "\u{1}ntile"), ("nth_value", "\u{1}nth_value")];

/// The rows of a frame that are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exclusion {
    NoOthers,
    CurrentRow,
    /// The current row and its peers.
    Group,
    /// The peers of the current row.
    Ties,
}

impl Exclusion {
    /// What the words after `EXCLUDE` mean, in lowercase.
    pub fn named(words: &str) -> Option<Exclusion> {
        Some(match words {
            "no others" => Exclusion::NoOthers,
            "current row" => Exclusion::CurrentRow,
            "group" => Exclusion::Group,
            "ties" => Exclusion::Ties,
            _ => return None,
        })
    }

    /// The name of the function whose call among the keys of a partition says that rows are excluded. It cannot be
    /// typed.
    pub fn key(self) -> &'static str {
        match self {
            Exclusion::NoOthers => "\u{1}exclude no others",
            Exclusion::CurrentRow => "\u{1}exclude current row",
            Exclusion::Group => "\u{1}exclude group",
            Exclusion::Ties => "\u{1}exclude ties",
        }
    }

    /// What the function of a name says, if it is one of these.
    pub fn of_key(name: &str) -> Option<Exclusion> {
        EXCLUSIONS.into_iter().find(|exclusion| exclusion.key() == name)
    }

    /// What a key of a partition excludes, if it is such a call.
    fn of(key: &Expr) -> Option<Exclusion> {
        let Expr::ScalarFunction(call) = key else { return None };
        Exclusion::of_key(call.func.name())
    }
}

const EXCLUSIONS: [Exclusion; 4] = [Exclusion::NoOthers, Exclusion::CurrentRow, Exclusion::Group, Exclusion::Ties];

/// The functions that stand for exclusions until [`Frames`] takes them.
pub fn functions() -> Vec<ScalarUDF> {
    let key = |exclusion: Exclusion| {
        let overload = Overload::new(&[], SqlType::Bool, |call| Ok(new_null_array(&DataType::Boolean, call.rows)));
        immutable(exclusion.key(), &[], vec![overload])
    };
    EXCLUSIONS.map(key).into()
}

/// The window functions of this family.
pub fn window_functions() -> Vec<Arc<WindowUDF>> {
    counted::functions()
}

/// The rule that makes calls over frames that DataFusion has not calls of [`Framed`]. Runs when types are coerced.
#[derive(Debug)]
pub struct Frames;

impl AnalyzerRule for Frames {
    fn name(&self) -> &str {
        "frames"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let framed = plan.transform_up_with_subqueries(|plan| {
            if !matches!(plan, LogicalPlan::Window(_)) {
                return Ok(Transformed::no(plan));
            }
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(expr.transform_up(|expr| framed(expr, &schema))?.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(framed.data)
    }
}

fn framed(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
    let partition = &mut call.params.partition_by;
    let exclusion = partition.iter().find_map(Exclusion::of);
    partition.retain(|key| Exclusion::of(key).is_none());
    let had_key = exclusion.is_some();
    let exclusion = exclusion.unwrap_or(Exclusion::NoOthers);
    let counted =
        matches!(&call.fun, WindowFunctionDefinition::WindowUDF(function) if FrameFunction::is_counted(function));
    let is_plain = exclusion == Exclusion::NoOthers && !is_reversed(&call.params.window_frame) && !counted;
    match FrameFunction::of(&call.fun) {
        Some(function) if !is_plain => over_frame(*call, function, exclusion, schema).map(Transformed::yes),
        // The other functions do not look at frames.
        None if is_reversed(&call.params.window_frame) => {
            call.params.window_frame = WindowFrame::new(None);
            Ok(Transformed::yes(Expr::WindowFunction(call)))
        }
        _ => Ok(Transformed::new_transformed(Expr::WindowFunction(call), had_key)),
    }
}

/// The call as one of [`Framed`], whose arguments are all that it looks at.
fn over_frame(call: WindowFunction, function: FrameFunction, exclusion: Exclusion, schema: &DFSchema) -> Result<Expr> {
    let result = Expr::WindowFunction(Box::new(call.clone())).to_field(schema)?.1;
    let WindowFunction { mut params, .. } = call;
    let plain = WindowFrame::new_bounds(
        WindowFrameUnits::Rows,
        WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::Following(ScalarValue::UInt64(None)),
    );
    let frame = std::mem::replace(&mut params.window_frame, plain);
    let arguments = params.args.len();
    let filter = params.filter.take();
    let options = params
        .order_by
        .iter()
        .map(|sort| SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first })
        .collect();
    let framed = Framed::new(function, frame, exclusion, arguments, filter.is_some(), options, result);
    params.args.extend(filter.map(|filter| *filter));
    params.args.extend(params.order_by.iter().map(|sort| sort.expr.clone()));
    let fun = WindowFunctionDefinition::WindowUDF(Arc::new(WindowUDF::from(framed)));
    Ok(Expr::WindowFunction(Box::new(WindowFunction { fun, params })))
}

/// Whether a frame ends before it starts, wherever it stands.
fn is_reversed(frame: &WindowFrame) -> bool {
    use WindowFrameBound::{Following, Preceding};
    match (&frame.start_bound, &frame.end_bound) {
        (Preceding(start), Preceding(end)) => !start.is_null() && start < end,
        (Following(start), Following(end)) => !end.is_null() && start > end,
        _ => false,
    }
}
