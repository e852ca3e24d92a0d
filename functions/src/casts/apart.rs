//! Casts that are told apart by their names.
//!
//! DataFusion names `sum(a::text)` and `sum(a)` alike, and takes no two columns of one name. Where a query fails on that,
//! it is planned again with `cast_apart(a::text, 'text')` for each cast. The columns keep these names, and what they are
//! computed by becomes the cast again.

use crate::generic::{generic, like};
use crate::syntax::call as syntax_call;
use crate::walk::each_expression;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF};
use datafusion::sql::sqlparser::ast::{self, Query, Value};

const NAME: &str = "cast_apart";

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    let types = |fields: &[FieldRef]| {
        let [value, _] = fields else { return Ok(None) };
        Ok(Some((vec![value.data_type().clone(), DataType::Utf8View], like(value))))
    };
    vec![generic(NAME, &[], types, |call| Ok(call.arrays[0].clone()))]
}

/// Gives each cast in a query a name of its own; whether there is one.
pub fn tell_casts_apart(query: &mut Query) -> bool {
    let mut found = false;
    each_expression(query, |expr| {
        if let ast::Expr::Cast { expr: inner, data_type, .. } = &*expr
            && !matches!(inner.as_ref(), ast::Expr::Value(value) if !matches!(value.value, Value::Number(..)))
        {
            let name = Value::SingleQuotedString(data_type.to_string().to_lowercase());
            let name = ast::Expr::Value(name.with_empty_span());
            *expr = syntax_call(NAME, [expr.clone(), name]);
            found = true;
        }
    });
    found
}

/// The plan with plain casts, whose columns keep their names.
pub fn with_plain_casts(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        let plan = plan.map_expressions(|expr| {
            let saved = names.save(&expr);
            Ok(expr.transform_up(plain)?.update_data(|expr| saved.restore(expr)))
        })?;
        Ok(Transformed::yes(plan.data.recompute_schema()?))
    })
    .map(|transformed| transformed.data)
}

fn plain(expr: Expr) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::ScalarFunction(mut function) if function.name() == NAME && function.args.len() == 2 => {
            Transformed::yes(function.args.swap_remove(0))
        }
        other => Transformed::no(other),
    })
}
