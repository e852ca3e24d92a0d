//! The types of `$1`, `$2` ...
//!
//! A parameter has the type that the client gave for it, else that of what it is compared or combined with (found by
//! DataFusion's planner), else that of a cast around it or of its siblings in COALESCE and CASE, else text.

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use millrace_functions::Walk;
use millrace_types::{SqlError, SqlType, field_of, sql_type_of};
use sqlparser::ast::{Value, ValueWithSpan, Visitor};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The largest number of a parameter in a syntax tree: 0 for none.
pub fn count(tree: &impl Walk) -> usize {
    struct Largest(usize);
    impl Visitor for Largest {
        type Break = SqlError;

        fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<SqlError> {
            if let Value::Placeholder(name) = &value.value {
                self.0 = self.0.max(name.trim_start_matches('$').parse().unwrap_or(0));
            }
            ControlFlow::Continue(())
        }
    }
    let mut largest = Largest(0);
    // It never breaks off.
    let _ = tree.walk(&mut largest);
    largest.0
}

/// Parameter fields as DataFusion's planner takes them.
pub fn fields(types: &[Option<SqlType>]) -> Vec<Option<FieldRef>> {
    let given = |t: &SqlType| *t != SqlType::Unknown;
    types.iter().map(|t| t.as_ref().filter(|t| given(t)).map(field)).collect()
}

fn field(sql_type: &SqlType) -> FieldRef {
    Arc::new(field_of("", sql_type, true))
}

/// What is known of the parameters of some plans and expressions.
#[derive(Default)]
pub struct Parameters(BTreeMap<usize, FieldRef>);

impl Parameters {
    /// Starts with the types that the client gave.
    pub fn given(types: &[Option<SqlType>]) -> Parameters {
        let given = fields(types).into_iter().enumerate();
        Parameters(given.filter_map(|(index, field)| Some((index + 1, field?))).collect())
    }

    fn learn(&mut self, expr: &Expr, field: impl FnOnce() -> Option<FieldRef>) {
        if let Expr::Placeholder(placeholder) = expr
            && let Some(index) = number(&placeholder.id)
            && !self.0.contains_key(&index)
            && let Some(field) = placeholder.field.clone().or_else(field)
        {
            self.0.insert(index, field);
        }
    }

    /// Takes in what an expression over rows of `schema` tells.
    pub fn observe_expression(&mut self, expr: &Expr, schema: &DFSchema) -> Result<()> {
        expr.apply(|expr| {
            match expr {
                Expr::Placeholder(_) => self.learn(expr, || None),
                Expr::Cast(cast) => self.learn(&cast.expr, || Some(cast.field.clone())),
                Expr::ScalarFunction(function)
                    if ["coalesce", "nullif", "greatest", "least"].contains(&function.name()) =>
                {
                    self.siblings(&function.args.iter().collect::<Vec<_>>(), schema);
                }
                Expr::Case(case) => {
                    let results = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                    self.siblings(&results.chain(case.else_expr.as_deref()).collect::<Vec<_>>(), schema);
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .map(drop)
    }

    fn siblings(&mut self, exprs: &[&Expr], schema: &DFSchema) {
        let typed = exprs.iter().find(|expr| !matches!(expr, Expr::Placeholder(_)));
        let field = typed.and_then(|expr| expr.to_field(schema).ok()).map(|(_, field)| field);
        exprs.iter().for_each(|expr| self.learn(expr, || field.clone()));
    }

    /// Takes in what the expressions of a plan tell.
    pub fn observe_plan(&mut self, plan: &LogicalPlan) -> Result<()> {
        plan.apply_with_subqueries(|node| {
            let schema = input_schema(node);
            let is_count = matches!(node, LogicalPlan::Limit(_));
            node.apply_expressions(|expr| {
                if is_count {
                    self.learn(expr, || Some(field(&SqlType::Int8)));
                }
                self.observe_expression(expr, &schema)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
        .map(drop)
    }

    /// The types of parameters 1 to `count`.
    pub fn types(&self, count: usize) -> Vec<SqlType> {
        (1..=count).map(|index| self.0.get(&index).map_or(SqlType::Text, |field| sql_type_of(field))).collect()
    }

    /// The expression with every parameter typed.
    pub fn type_expression(&self, expr: Expr) -> Result<Expr> {
        expr.transform_up(|expr| match expr {
            Expr::Placeholder(mut placeholder) => {
                let known = number(&placeholder.id).and_then(|index| self.0.get(&index).cloned());
                placeholder.field = Some(known.unwrap_or_else(|| field(&SqlType::Text)));
                Ok(Transformed::yes(Expr::Placeholder(placeholder)))
            }
            other => Ok(Transformed::no(other)),
        })
        .map(|transformed| transformed.data)
    }

    /// The plan with every parameter typed.
    pub fn type_plan(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let plan = plan.map_expressions(|expr| self.type_expression(expr).map(Transformed::yes))?;
            plan.map_data(LogicalPlan::recompute_schema)
        })
        .map(|transformed| transformed.data)
    }
}

fn number(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse().ok()
}

/// The schema that a node's expressions are over.
fn input_schema(node: &LogicalPlan) -> DFSchema {
    let mut schema = DFSchema::empty();
    node.inputs().iter().for_each(|input| schema.merge(input.schema()));
    schema
}
