//! GROUP BY.
//!
//! ```text
//! Project      only if an aggregate's type is not the one that the query was promised
//! Aggregate
//! Exchange     by the group's keys, unless rows of a group are together already
//! Project      the keys, arguments and filters, nothing else: what is not needed is not moved
//! ```
//!
//! Grouping sets stand between the lower two: see [`grouping`](super::grouping).

use super::closing::Emission;
use super::expression::Lowering;
use super::grouping::Grouping;
use super::node;
use super::project::projected;
use super::sessions::in_sessions;
use super::slices::sliced;
use crate::error::sql_error;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{AggregateFunction as LogicalCall, NullTreatment};
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr as LogicalExpr, ExprSchemable};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, cast};
use millrace_ir::{Aggregate, AggregateFunction, Expr, Node, Plan};
use millrace_types::numeric::{BIGINT_AVERAGE_SCALE, QUOTIENT_SCALE};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

impl Lowering {
    pub fn aggregate(&self, aggregate: &LogicalAggregate) -> Result<Node> {
        let input = self.plan(&aggregate.input)?;
        let mut columns = Columns { lowering: self, schema: aggregate.input.schema(), exprs: vec![], fields: vec![] };
        let grouping = Grouping::of(aggregate)?;
        let keys = grouping.keys.iter().map(|expr| columns.column(expr)).collect::<Result<Vec<_>>>()?;
        let promised = aggregate.schema.as_arrow();
        let outputs = promised.fields().iter().skip(keys.len() + usize::from(grouping.has_sets()));
        let calls = aggregate.aggr_expr.iter().zip(outputs);
        let mut aggregates = calls.map(|(expr, output)| columns.call(expr, output)).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new(columns.fields));
        let input = projected(input, columns.exprs, schema);
        if grouping.has_sets() {
            let (input, keys) = grouping.expanded(input, &keys, &mut aggregates)?;
            return as_typed(grouped(input, keys, aggregates), promised);
        }
        if aggregates.is_empty() && !keys.is_empty() {
            let distinct = node::distinct(in_order(input, &keys));
            return Ok(node::with_schema(distinct, Arc::new(promised.clone())));
        }
        let on_slices = match self.emission {
            // By the wall clock slices would close before their windows do, and rows between be lost.
            Emission::OnClose { idle: None } => sliced(&input, &keys, &aggregates)?,
            _ => None,
        };
        let windowed = match on_slices {
            Some(node) => Some(node),
            None => in_sessions(&input, &keys, &aggregates, self.emission)?,
        };
        as_typed(windowed.unwrap_or_else(|| grouped(input, keys, aggregates)), promised)
    }
}

/// A node's columns in another order or number.
fn in_order(input: Node, columns: &[usize]) -> Node {
    let exprs = columns.iter().map(|column| node::column(&input, *column)).collect();
    let fields: Vec<FieldRef> = columns.iter().map(|column| input.schema.fields()[*column].clone()).collect();
    projected(input, exprs, Arc::new(Schema::new(fields)))
}

/// Groups the rows of a node by its columns `keys`.
pub fn grouped(input: Node, keys: Vec<usize>, aggregates: Vec<Aggregate>) -> Node {
    // Rows that are kept are kept by the keys that they are moved by.
    let keeps_rows = aggregates.iter().any(|aggregate| aggregate.function.keeps_rows());
    let input = if keeps_rows { node::partitioned_exactly(input, &keys) } else { node::partitioned(input, &keys) };
    let key_fields = keys.iter().map(|key| input.schema.fields()[*key].clone());
    let fields: Vec<FieldRef> = key_fields.chain(aggregates.iter().map(|call| call.output.clone())).collect();
    let place = |column| keys.iter().position(|key| *key == column);
    Node {
        schema: Arc::new(Schema::new(fields)),
        // A group's row is replaced whenever its aggregates change.
        append_only: false,
        partitioned_by: node::moved(&input.partitioned_by, place),
        unique_key: Some((0..keys.len()).collect()),
        event_time: input.event_time.and_then(place),
        plan: Plan::Aggregate { input: Box::new(input), keys, sessions: None, aggregates, closing: None, once: false },
    }
}

/// Casts aggregates to the types that the logical plan gave them, where these differ.
pub fn as_typed(node: Node, promised: &Schema) -> Result<Node> {
    let exprs = promised.fields().iter().enumerate().map(|(index, field)| {
        let column = node::column(&node, index);
        match node.schema.field(index).data_type() == field.data_type() {
            true => Ok(column),
            false => cast(column, &node.schema, field.data_type().clone()).map_err(sql_error),
        }
    });
    let exprs = exprs.collect::<Result<Vec<Expr>>>()?;
    Ok(projected(node, exprs, Arc::new(promised.clone())))
}

/// The columns that the projection below an aggregate computes.
struct Columns<'a> {
    lowering: &'a Lowering,
    schema: &'a DFSchema,
    exprs: Vec<Expr>,
    fields: Vec<Field>,
}

impl Columns<'_> {
    /// The place of an expression, which is added unless it is there.
    fn column(&mut self, expr: &LogicalExpr) -> Result<usize> {
        let bare = expr.clone().unalias();
        let lowered = self.lowering.expression(&bare, self.schema)?;
        if let Some(place) = self.exprs.iter().position(|known| known.eq(&lowered)) {
            return Ok(place);
        }
        let (_, field) = expr.to_field(self.schema).map_err(sql_error)?;
        self.exprs.push(lowered);
        self.fields.push(field.as_ref().clone());
        Ok(self.exprs.len() - 1)
    }

    fn call(&mut self, expr: &LogicalExpr, promised: &FieldRef) -> Result<Aggregate> {
        let LogicalExpr::AggregateFunction(call) = expr.clone().unalias() else {
            return Err(SqlError::internal(format!("not an aggregate: {expr}")));
        };
        let filter = call.params.filter.as_deref().map(|filter| self.column(filter)).transpose()?;
        if let Some((function, argument, data_type)) = self.counted(&call)? {
            let nullable = !matches!(function, AggregateFunction::Count);
            let output = promised.as_ref().clone().with_data_type(data_type).with_nullable(nullable);
            let distinct = call.params.distinct;
            return Ok(Aggregate { function, argument, distinct, filter, output: Arc::new(output) });
        }
        let (function, distinct) = self.called(&call)?;
        let data_type = function.field().data_type().clone();
        let output = Arc::new(promised.as_ref().clone().with_data_type(data_type).with_nullable(true));
        Ok(Aggregate { function: AggregateFunction::Call(function), argument: None, distinct, filter, output })
    }

    /// A call that the engine keeps counters for: what it computes, of which column, in which type.
    fn counted(&mut self, call: &LogicalCall) -> Result<Option<(AggregateFunction, Option<usize>, DataType)>> {
        let Some(function) = function(&call.func.name().to_lowercase()) else { return Ok(None) };
        let counts = matches!(function, AggregateFunction::Count);
        let argument = match call.params.args.as_slice() {
            // `count(*)` is planned as the count of a constant.
            [LogicalExpr::Literal(value, _)] if counts && !value.is_null() && !call.params.distinct => None,
            [argument] => {
                let (_, field) = argument.to_field(self.schema).map_err(sql_error)?;
                if output_type(&function, Some(field.data_type())).is_none() {
                    return Ok(None);
                }
                Some(self.column(argument)?)
            }
            _ => return Ok(None),
        };
        let input = argument.map(|column| self.fields[column].data_type());
        Ok(output_type(&function, input).map(|data_type| (function, argument, data_type)))
    }

    /// Any other call, over the projected columns; and whether the engine has to see to its DISTINCT.
    fn called(&mut self, call: &LogicalCall) -> Result<(Arc<AggregateFunctionExpr>, bool)> {
        let params = &call.params;
        let arguments = params.args.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>()?;
        let order = params.order_by.iter().map(|sort| {
            let options = SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
            Ok(PhysicalSortExpr::new(self.argument(&sort.expr)?, options))
        });
        let order = order.collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new(self.fields.clone()));
        let build = |distinct| {
            let call = AggregateExprBuilder::new(call.func.clone(), arguments.clone())
                .schema(schema.clone())
                .alias(call.func.name())
                .order_by(order.clone())
                .with_ignore_nulls(params.null_treatment == Some(NullTreatment::IgnoreNulls))
                .with_distinct(distinct)
                .build()?;
            // What cannot be computed is told now, not when the first row comes.
            call.create_accumulator().map(|accumulator| (Arc::new(call), accumulator.supports_retract_batch()))
        };
        let (function, takes_back) = build(false).map_err(sql_error)?;
        match params.distinct && !takes_back {
            true => Ok((build(true).map_err(sql_error)?.0, true)),
            false => Ok((function, params.distinct)),
        }
    }

    /// An argument of a call: a constant, or a column of the projection.
    fn argument(&mut self, expr: &LogicalExpr) -> Result<Expr> {
        if let LogicalExpr::Literal(..) = expr {
            return self.lowering.expression(expr, self.schema);
        }
        let column = self.column(expr)?;
        Ok(Arc::new(Column::new(self.fields[column].name(), column)))
    }
}

fn function(name: &str) -> Option<AggregateFunction> {
    Some(match name {
        "count" => AggregateFunction::Count,
        "sum" => AggregateFunction::Sum,
        "avg" | "mean" => AggregateFunction::Avg,
        "min" => AggregateFunction::Min,
        "max" => AggregateFunction::Max,
        "bool_and" | "every" => AggregateFunction::BoolAnd,
        "bool_or" => AggregateFunction::BoolOr,
        _ => return None,
    })
}

/// The type that an aggregate gives, as told at [`AggregateFunction`]; `None` for arguments that it does not take.
fn output_type(function: &AggregateFunction, argument: Option<&DataType>) -> Option<DataType> {
    use DataType::*;
    let average_scale = |scale: i8| scale.max(QUOTIENT_SCALE);
    Some(match (function, argument) {
        (AggregateFunction::Count, _) => Int64,
        (AggregateFunction::Sum, Some(Int16 | Int32)) => Int64,
        (AggregateFunction::Sum, Some(Int64)) => Decimal128(38, 0),
        (AggregateFunction::Sum, Some(Decimal128(_, scale))) => Decimal128(38, *scale),
        (AggregateFunction::Sum, Some(float @ (Float32 | Float64))) => float.clone(),
        (AggregateFunction::Avg, Some(Int16 | Int32)) => Decimal128(38, QUOTIENT_SCALE),
        (AggregateFunction::Avg, Some(Int64)) => Decimal128(38, BIGINT_AVERAGE_SCALE),
        (AggregateFunction::Avg, Some(Decimal128(_, scale))) => Decimal128(38, average_scale(*scale)),
        (AggregateFunction::Avg, Some(Float32 | Float64)) => Float64,
        (AggregateFunction::Min | AggregateFunction::Max, Some(List(_) | Null)) => return None,
        (AggregateFunction::Min | AggregateFunction::Max, Some(argument)) => argument.clone(),
        (AggregateFunction::BoolAnd | AggregateFunction::BoolOr, Some(Boolean)) => Boolean,
        _ => return None,
    })
}
