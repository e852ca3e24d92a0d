//! CASE: conditions are boolean, and constants of open type take the type of the other results, as in Postgres.

use crate::error::carried;
use crate::operators::{is_text, is_unknown, settled, target};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Case, Expr, ExprSchemable};
use millrace_types::{SqlError, SqlState, SqlType, sql_type_of};

/// A CASE with its types as Postgres finds them; anything else as it is.
pub fn matched(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Case(case) = expr else { return Ok(Transformed::no(expr)) };
    if case.expr.is_none() {
        case.when_then_expr.iter().try_for_each(|(condition, _)| is_condition(condition, schema))?;
    }
    let results = || case.when_then_expr.iter().map(|(_, result)| result.as_ref()).chain(case.else_expr.as_deref());
    let open = results().any(is_unknown);
    let known = results().filter(|result| !is_unknown(result)).filter_map(|result| type_of(result, schema));
    let common = known.reduce(|common, next| if common == SqlType::Unknown { next } else { common });
    match common {
        Some(common) if open && common != SqlType::Unknown && !is_text(&common) => {
            let common = match common {
                // Each constant keeps the scale that it has.
                SqlType::Numeric(_) => return Ok(Transformed::no(Expr::Case(case))),
                other => target(other),
            };
            let settle = |expr: Box<Expr>| if is_unknown(&expr) { Box::new(settled(*expr, &common)) } else { expr };
            let arms = case.when_then_expr.into_iter().map(|(when, then)| (when, settle(then))).collect();
            Ok(Transformed::yes(Expr::Case(Case::new(case.expr, arms, case.else_expr.map(settle)))))
        }
        _ => Ok(Transformed::no(Expr::Case(case))),
    }
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    expr.to_field(schema).ok().map(|(_, field)| sql_type_of(&field))
}

/// Refuses a condition that is no boolean.
fn is_condition(condition: &Expr, schema: &DFSchema) -> Result<()> {
    match type_of(condition, schema) {
        None | Some(SqlType::Bool | SqlType::Unknown) => Ok(()),
        Some(_) if is_unknown(condition) => Ok(()),
        Some(other) => {
            let message = format!("argument of CASE/WHEN must be type boolean, not type {other}");
            Err(carried(SqlError::new(SqlState::DATATYPE_MISMATCH, message)))
        }
    }
}
