//! Text constants beside values of other types.
//!
//! In Postgres a constant in quotes has no type until its neighbours give it one: in `coalesce(a, '{}')` it is an array
//! if `a` is. Type coercion would take both for texts.

use crate::common_type::common;
use crate::operators::is_text;
use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::analyzer::AnalyzerRule;
use millrace_types::{SqlType, sql_type_of};
use std::sync::Arc;

/// Casts text constants in COALESCE, NULLIF, GREATEST, LEAST and the results of CASE to the type of the other arguments.
/// Runs before type coercion.
#[derive(Debug, Default)]
pub struct OpenLiterals;

impl AnalyzerRule for OpenLiterals {
    fn name(&self) -> &str {
        "open_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let settled = plan.transform_up_with_subqueries(|plan| {
            if matches!(plan, LogicalPlan::Values(_)) {
                return Ok(Transformed::no(plan));
            }
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            let settled = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let settled = expr.transform_up(|expr| Ok(settle(expr, &schema)))?;
                Ok(settled.update_data(|expr| name.restore(expr)))
            })?;
            if settled.transformed { settled.map_data(LogicalPlan::recompute_schema) } else { Ok(settled) }
        })?;
        Ok(settled.data)
    }
}

fn settle(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let neighbours: Vec<&mut Expr> = match &mut expr {
        Expr::Case(case) => {
            let results = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            results.chain(case.else_expr.as_deref_mut()).collect()
        }
        Expr::ScalarFunction(function)
            if ["coalesce", "nullif", "greatest", "least"].contains(&function.func.name()) =>
        {
            function.args.iter_mut().collect()
        }
        _ => return Transformed::no(expr),
    };
    let Some(field) = common_field(&neighbours, schema) else { return Transformed::no(expr) };
    let mut changed = false;
    for neighbour in neighbours.into_iter().filter(|neighbour| is_open(neighbour)) {
        *neighbour = Expr::Cast(Cast::new_from_field(Box::new(std::mem::take(neighbour)), field.clone()));
        changed = true;
    }
    Transformed::new_transformed(expr, changed)
}

/// The type of those that have one, where it is no text and some have none.
fn common_field(neighbours: &[&mut Expr], schema: &DFSchema) -> Option<FieldRef> {
    if !neighbours.iter().any(|neighbour| is_open(neighbour)) {
        return None;
    }
    let typed = neighbours.iter().filter(|neighbour| !is_open(neighbour));
    let fields = typed.filter_map(|neighbour| neighbour.to_field(schema).ok()).map(|(_, field)| field);
    let fields = fields.filter(|field| sql_type_of(field) != SqlType::Unknown);
    let field = fields.reduce(|a, b| common(&a, &b).map_or(a, Arc::new))?;
    let other = !is_text(&sql_type_of(&field)) || matches!(sql_type_of(&field), SqlType::Json | SqlType::Jsonb);
    other.then(|| Arc::new(field.as_ref().clone().with_name("").with_nullable(true)))
}

fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)) | ScalarValue::Utf8View(Some(_)), None))
}
