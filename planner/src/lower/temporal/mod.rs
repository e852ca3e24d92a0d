//! Conditions on the wall clock: `WHERE ts > now() - INTERVAL '1 hour'`. Each part of a WHERE that calls `now()` becomes
//! an operator of its own, which knows when rows come and go.

mod node;

pub use node::TemporalFilter;

use super::expression::Lowering;
use super::node as nodes;
use super::project::projected;
use super::refuse::in_view;
use crate::error::sql_error;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr as LogicalExpr, ExprSchemable, Filter, LogicalPlan, Operator};
use millrace_functions::clock;
use millrace_ir::{Comparison, Expr, Node, Plan};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

/// The plan with its conditions on the clock as nodes of their own.
///
/// # Errors
/// `0A000` for conditions of other forms.
pub fn temporal_filters(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Filter(filter) if calls_clock(&filter.predicate) => split(filter).map(Transformed::yes),
        other => Ok(Transformed::no(other)),
    });
    plan.map(|plan| plan.data).map_err(sql_error)
}

fn calls_clock(expr: &LogicalExpr) -> bool {
    expr.exists(|expr| Ok(clock::is_clock(expr))).unwrap_or(false)
}

fn split(filter: Filter) -> Result<LogicalPlan, DataFusionError> {
    let parts = split_conjunction_owned(filter.predicate).into_iter().flat_map(without_between);
    let (temporal, others): (Vec<_>, Vec<_>) = parts.partition(calls_clock);
    let mut plan = Arc::unwrap_or_clone(filter.input);
    if let Some(others) = conjunction(others) {
        plan = LogicalPlan::Filter(Filter::try_new(others, Arc::new(plan))?);
    }
    for part in temporal {
        let Some((value, comparison, moment)) = compared(part) else {
            let refused = in_view("a condition on now() of this form").with_hint(
                "Compare an expression over the row with one of now() alone: ts > now() - INTERVAL '1 hour'.",
            );
            return Err(DataFusionError::External(Box::new(refused)));
        };
        plan = TemporalFilter { input: plan, value, comparison, moment }.into_plan();
    }
    Ok(plan)
}

/// `a BETWEEN b AND c` as two comparisons.
fn without_between(part: LogicalExpr) -> Vec<LogicalExpr> {
    match part {
        LogicalExpr::Between(between) if !between.negated => {
            let value = *between.expr;
            vec![value.clone().gt_eq(*between.low), value.lt_eq(*between.high)]
        }
        part => vec![part],
    }
}

/// A comparison of an expression over the row with one that goes on with the clock.
fn compared(part: LogicalExpr) -> Option<(LogicalExpr, Comparison, LogicalExpr)> {
    let LogicalExpr::BinaryExpr(BinaryExpr { left, op, right }) = part else { return None };
    let (value, op, moment) = match calls_clock(&left) {
        true => (*right, op.swap()?, *left),
        false => (*left, op, *right),
    };
    let comparison = match op {
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    };
    (!calls_clock(&value) && goes_on(&moment)).then_some((value, comparison, moment))
}

/// Whether an expression never goes back as the clock goes on.
fn goes_on(expr: &LogicalExpr) -> bool {
    let is_constant = |expr: &LogicalExpr| matches!(expr, LogicalExpr::Literal(..));
    match expr {
        _ if clock::is_clock(expr) => true,
        LogicalExpr::Cast(cast) => goes_on(&cast.expr),
        LogicalExpr::Alias(alias) => goes_on(&alias.expr),
        LogicalExpr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Plus => (goes_on(left) && is_constant(right)) || (is_constant(left) && goes_on(right)),
            Operator::Minus => goes_on(left) && is_constant(right),
            _ => false,
        },
        LogicalExpr::ScalarFunction(call) => match (call.name(), call.args.as_slice()) {
            ("date_trunc", [unit, moment]) => is_constant(unit) && goes_on(moment),
            ("cast", [moment]) => goes_on(moment),
            ("+", [left, right]) => (goes_on(left) && is_constant(right)) || (is_constant(left) && goes_on(right)),
            ("-", [left, right]) => goes_on(left) && is_constant(right),
            _ => false,
        },
        _ => false,
    }
}

/// The wall clock as the one column of a row.
fn clock_row() -> (LogicalExpr, Schema) {
    let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    (LogicalExpr::Column(Column::new_unqualified("now")), Schema::new(vec![Field::new("now", moment, false)]))
}

impl Lowering {
    pub fn temporal(&self, filter: &TemporalFilter) -> Result<Node> {
        let names = filter.input.schema();
        let input = self.plan(&filter.input)?;
        let width = input.schema.fields().len();
        let (now, row) = clock_row();
        let moment = filter.moment.clone().transform_up(|expr| match clock::at(&expr, &now) {
            Some(reading) => Ok(Transformed::yes(reading)),
            None => Ok(Transformed::no(expr)),
        });
        let row = DFSchema::try_from(row).map_err(sql_error)?;
        let moment = moment.map_err(sql_error)?.data;
        let of = moment.get_type(&row).map_err(sql_error)?;
        let moment = self.expression(&moment, &row)?;
        let value = self.expression(&filter.value, names)?;
        let (_, field) = filter.value.to_field(names).map_err(sql_error)?;
        if *field.data_type() != of || !matches!(of, DataType::Timestamp(TimeUnit::Microsecond, _) | DataType::Date32) {
            return Err(in_view(format!("a comparison of {} with now()", field.data_type())));
        }
        let mut exprs: Vec<Expr> = (0..width).map(|column| nodes::column(&input, column)).collect();
        let known = exprs.iter().position(|column| column.eq(&value));
        let schema = input.schema.clone();
        let input = match known {
            Some(_) => input,
            None => {
                let mut fields: Vec<FieldRef> = schema.fields().to_vec();
                fields.push(Arc::new(field.as_ref().clone().with_name("compared with now")));
                exprs.push(value);
                projected(input, exprs, Arc::new(Schema::new(fields)))
            }
        };
        let (comparison, value) = (filter.comparison, known.unwrap_or(width));
        let enters = matches!(comparison, Comparison::Less | Comparison::LessOrEqual);
        let node = Node {
            schema: input.schema.clone(),
            append_only: input.append_only && enters,
            partitioned_by: input.partitioned_by.clone(),
            unique_key: input.unique_key.clone(),
            event_time: input.event_time,
            plan: Plan::Temporal { input: Box::new(input), value, comparison, moment },
        };
        let shown = (0..width).map(|column| nodes::column(&node, column)).collect();
        Ok(projected(node, shown, schema))
    }
}

/// The error of a clock in a place where nothing turns it into an operator.
pub fn misplaced(name: &str) -> SqlError {
    let refused = in_view(format!("the function {name}(), whose value changes by itself,"));
    refused.with_hint(match name {
        clock::PROCTIME => "A column AS PROCTIME() of a table or source tells when a row came in.",
        _ => "In the WHERE of a view compare it with a column: ts > now() - INTERVAL '1 hour'.",
    })
}
