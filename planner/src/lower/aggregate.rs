//! GROUP BY.
//!
//! ```text
//! Project      only if an aggregate's type is not the one that the query was promised
//! Aggregate
//! Exchange     by the group's keys, unless rows of a group are together already
//! Project      the keys, arguments and filters, nothing else: what is not needed is not moved
//! ```

use super::expression::Lowering;
use super::node;
use super::project::projected;
use super::refuse::in_view;
use crate::error::sql_error;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::AggregateFunction as LogicalCall;
use datafusion::logical_expr::{Aggregate as LogicalAggregate, Expr as LogicalExpr, ExprSchemable};
use datafusion::physical_expr::expressions::cast;
use millrace_ir::{Aggregate, AggregateFunction, Expr, Node, Plan};
use millrace_types::{Result, SqlError};
use std::sync::Arc;

impl Lowering {
    pub fn aggregate(&self, aggregate: &LogicalAggregate) -> Result<Node> {
        let input = self.plan(&aggregate.input)?;
        let mut columns = Columns { lowering: self, schema: aggregate.input.schema(), exprs: vec![], fields: vec![] };
        let keys = aggregate.group_expr.iter().map(|expr| columns.column(expr)).collect::<Result<Vec<_>>>()?;
        let promised = aggregate.schema.as_arrow();
        let outputs = promised.fields().iter().skip(keys.len());
        let calls = aggregate.aggr_expr.iter().zip(outputs);
        let aggregates = calls.map(|(expr, output)| columns.call(expr, output)).collect::<Result<Vec<_>>>()?;
        let schema = Arc::new(Schema::new(columns.fields));
        let input = projected(input, columns.exprs, schema);
        if aggregates.is_empty() && !keys.is_empty() {
            let distinct = node::distinct(in_order(input, &keys));
            return Ok(node::with_schema(distinct, Arc::new(promised.clone())));
        }
        as_promised(grouped(input, keys, aggregates), promised)
    }
}

/// A node's columns in another order or number.
fn in_order(input: Node, columns: &[usize]) -> Node {
    let exprs = columns.iter().map(|column| node::column(&input, *column)).collect();
    let fields: Vec<FieldRef> = columns.iter().map(|column| input.schema.fields()[*column].clone()).collect();
    projected(input, exprs, Arc::new(Schema::new(fields)))
}

fn grouped(input: Node, keys: Vec<usize>, aggregates: Vec<Aggregate>) -> Node {
    let input = node::partitioned(input, &keys);
    let key_fields = keys.iter().map(|key| input.schema.fields()[*key].clone());
    let fields: Vec<FieldRef> = key_fields.chain(aggregates.iter().map(|call| call.output.clone())).collect();
    let place = |column| keys.iter().position(|key| *key == column);
    Node {
        schema: Arc::new(Schema::new(fields)),
        // A group's row is replaced whenever its aggregates change.
        append_only: false,
        partitioned_by: node::moved(&input.partitioned_by, place),
        unique_key: Some((0..keys.len()).collect()),
        plan: Plan::Aggregate { input: Box::new(input), keys, aggregates },
    }
}

/// Casts aggregates to the types that the logical plan gave them, where these differ.
fn as_promised(node: Node, promised: &Schema) -> Result<Node> {
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
        let name = call.func.name().to_lowercase();
        let Some(function) = function(&name) else {
            return Err(in_view(format!("the aggregate function {name}()")));
        };
        if call.params.distinct && !matches!(function, AggregateFunction::Min | AggregateFunction::Max) {
            return Err(in_view(format!("{name}(DISTINCT ...) beside other aggregates")));
        }
        let argument = self.argument(&call, function)?;
        let filter = call.params.filter.as_deref().map(|filter| self.column(filter)).transpose()?;
        let input = argument.map(|column| self.fields[column].data_type());
        let data_type = output_type(function, input).ok_or_else(|| {
            let shown = input.map(ToString::to_string).unwrap_or_default();
            in_view(format!("the aggregate function {name}({})", crate::error::type_name(&shown)))
        })?;
        let nullable = function != AggregateFunction::Count;
        let output = promised.as_ref().clone().with_data_type(data_type).with_nullable(nullable);
        Ok(Aggregate { function, argument, filter, output: Arc::new(output) })
    }

    /// The column of a call's argument; none where every row counts.
    fn argument(&mut self, call: &LogicalCall, function: AggregateFunction) -> Result<Option<usize>> {
        match call.params.args.as_slice() {
            [] if function == AggregateFunction::Count => Ok(None),
            // `count(*)` is planned as the count of a constant.
            [LogicalExpr::Literal(value, _)] if function == AggregateFunction::Count && !value.is_null() => Ok(None),
            [argument] => self.column(argument).map(Some),
            _ => Err(in_view(format!("{}() of several arguments", call.func.name()))),
        }
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
fn output_type(function: AggregateFunction, argument: Option<&DataType>) -> Option<DataType> {
    use DataType::*;
    let average_scale = |scale: i8| scale.max(16);
    Some(match (function, argument) {
        (AggregateFunction::Count, _) => Int64,
        (AggregateFunction::Sum, Some(Int16 | Int32)) => Int64,
        (AggregateFunction::Sum, Some(Int64)) => Decimal128(38, 0),
        (AggregateFunction::Sum, Some(Decimal128(_, scale))) => Decimal128(38, *scale),
        (AggregateFunction::Sum, Some(float @ (Float32 | Float64))) => float.clone(),
        (AggregateFunction::Avg, Some(Int16 | Int32 | Int64)) => Decimal128(38, 16),
        (AggregateFunction::Avg, Some(Decimal128(_, scale))) => Decimal128(38, average_scale(*scale)),
        (AggregateFunction::Avg, Some(Float32 | Float64)) => Float64,
        (AggregateFunction::Min | AggregateFunction::Max, Some(argument)) => argument.clone(),
        (AggregateFunction::BoolAnd | AggregateFunction::BoolOr, Some(Boolean)) => Boolean,
        _ => return None,
    })
}
