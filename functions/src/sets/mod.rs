//! Set-returning functions.
//!
//! Each is a scalar function that gives an array, of composite values where the set has several columns, and an
//! [`Unnest`] node that makes a row of every element. While names and types are resolved, a call stands as a
//! [`SetReturning`] function, whose type is that of one element. The walk:
//!
//! 1. [`functions_in_from`] turns a function in FROM into a lateral subquery that has it in its select list;
//! 2. [`into_rows`] puts the arrays of a plan's sets under nodes and takes their calls for columns (`expand.rs`), then takes
//!    a lateral subquery that only computes on the rows before it, as all these do, for a part of their plan
//!    (`lateral.rs`), so that no join is left.

mod elements;
mod expand;
mod json;
mod lateral;
mod series;
mod syntax;
mod text;
mod unnest;

pub use elements::ordinals;
pub use syntax::{ROWS_FROM, functions_in_from};
pub use unnest::{QueryPlanner, Unnest};

use crate::error::carried;
use crate::operators::call;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use millrace_types::{SqlError, SqlState};
use std::sync::Arc;

/// The function that numbers the rows of the sets beside it. Its name cannot be typed.
pub const ORDINALITY: &str = "\u{1}ordinality";

/// Every set-returning function, as it stands in plans before they are expanded.
pub fn functions() -> Vec<ScalarUDF> {
    let lists = [
        series::functions(),
        elements::functions(),
        json::functions(),
        crate::json_functions::path_sets(),
        text::functions(),
        crate::event_windows::lists(),
    ];
    lists.into_iter().flatten().map(|list| ScalarUDF::from(SetReturning::new(Arc::new(list)))).collect()
}

/// The columns of a set that a function in FROM gives, by their names, where they are not one column with the name of
/// the function.
pub fn columns_of(function: &str) -> Option<&'static [&'static str]> {
    Some(match function {
        "json_each" | "jsonb_each" | "json_each_text" | "jsonb_each_text" => &["key", "value"],
        "json_array_elements" | "jsonb_array_elements" | "json_array_elements_text" | "jsonb_array_elements_text" => {
            &["value"]
        }
        "_pg_expandarray" => &["x", "n"],
        _ => return None,
    })
}

/// The plan with every set-returning function made into rows.
///
/// # Errors
/// `0A000` where Postgres takes no set.
pub fn into_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let expanded = expand::expand(plan)?;
        Ok(Transformed::yes(lateral::flatten(expanded.data)?))
    })?;
    Ok(plan.data)
}

/// A call of a set-returning function: one value of its set, as far as types go.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SetReturning {
    list: Arc<ScalarUDF>,
    signature: Signature,
}

impl SetReturning {
    /// The function whose set is the array that `list` gives.
    fn new(list: Arc<ScalarUDF>) -> SetReturning {
        // Volatile, so that nobody takes a call for a constant.
        let signature = Signature { volatility: Volatility::Volatile, ..list.signature().clone() };
        SetReturning { list, signature }
    }

    /// The array of which a call is one element; `None` for other expressions.
    pub fn list(expr: &Expr) -> Option<Expr> {
        let Expr::ScalarFunction(function) = expr else { return None };
        let set = function.func.inner().downcast_ref::<SetReturning>()?;
        let args = function.args.iter().cloned().map(crate::casts::narrowed).collect();
        Some(call(set.list.clone(), args))
    }

    /// Whether an expression is a call of a set-returning function.
    pub fn is_call(expr: &Expr) -> bool {
        matches!(expr, Expr::ScalarFunction(function) if function.func.inner().is::<SetReturning>())
    }
}

impl ScalarUDFImpl for SetReturning {
    fn name(&self) -> &str {
        self.list.name()
    }

    fn aliases(&self) -> &[String] {
        self.list.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.list.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.list.return_type(types)? {
            DataType::List(element) => Ok(element.data_type().clone()),
            other => Ok(other),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let list = self.list.return_field_from_args(args)?;
        match list.data_type() {
            DataType::List(element) => {
                Ok(Arc::new(element.as_ref().clone().with_name(self.name()).with_nullable(true)))
            }
            _ => Ok(list),
        }
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let message = "set-valued function called in context that cannot accept a set";
        Err(carried(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message)))
    }
}
