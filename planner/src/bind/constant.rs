//! Rows that are made of parameters and constants alone: those of `INSERT ... VALUES`.
//!
//! They are compiled when the statement is bound, to expressions over one row of parameters. So running the statement
//! needs no planning.

use crate::error::sql_error;
use crate::functions::FunctionSource;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlan, Projection};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use millrace_functions::at_one_moment;
use millrace_types::{SqlError, SqlState};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A compiled plan that reads nothing.
#[derive(Clone, Debug)]
pub struct ConstantRows {
    /// The parameters that are used, by position from 0, and the columns that stand for them.
    parameters: Vec<usize>,
    parameter_columns: SchemaRef,
    values: Vec<Vec<Value>>,
    value_columns: SchemaRef,
    /// What is computed from the values, step by step. Each sees the columns before it and then the parameters.
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Value {
    Constant(ScalarValue),
    Computed(Arc<dyn PhysicalExpr>),
}

#[derive(Clone, Debug)]
struct Step {
    expressions: Vec<Arc<dyn PhysicalExpr>>,
    columns: SchemaRef,
}

impl ConstantRows {
    /// Compiles a bound plan whose parameters have types; `None` when it reads something or does more than compute.
    pub fn of(plan: &LogicalPlan, functions: &FunctionSource) -> Option<ConstantRows> {
        let (mut projections, mut node) = (vec![], plan);
        let (rows, schema) = loop {
            match node {
                LogicalPlan::Projection(projection) => {
                    projections.push(projection);
                    node = &projection.input;
                }
                LogicalPlan::SubqueryAlias(alias) => node = &alias.input,
                LogicalPlan::Values(values) => break (values.values.clone(), &values.schema),
                LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => break (vec![vec![]], &empty.schema),
                _ => return None,
            }
        };
        let mut compiler = Compiler::new(functions);
        let values: Vec<Vec<Expr>> = compiler.all(rows)?;
        let computed: Vec<_> = projections.iter().rev().map(|projection| projection.expr.clone()).collect();
        let computed = compiler.all(computed)?;
        let parameters = compiler.schema().ok()?;
        let value = |expr: &Expr| match expr {
            Expr::Literal(value, _) => Some(Value::Constant(value.clone())),
            other => compiler.physical(other, &parameters).ok().map(Value::Computed),
        };
        let values = values.iter().map(|row| row.iter().map(value).collect()).collect::<Option<_>>()?;
        let step = |(projection, expressions): (&&Projection, Vec<Expr>)| {
            let input = projection.input.schema().join(&parameters).ok()?;
            let physical = expressions.iter().map(|expr| compiler.physical(expr, &input).ok());
            Some(Step { expressions: physical.collect::<Option<_>>()?, columns: nullable(&projection.schema) })
        };
        Some(ConstantRows {
            parameters: compiler.parameters.keys().copied().collect(),
            parameter_columns: nullable(&parameters),
            values,
            value_columns: nullable(schema),
            steps: projections.iter().rev().zip(computed).map(step).collect::<Option<_>>()?,
        })
    }

    /// The rows for some values of the parameters, which have their types and one row each.
    ///
    /// # Errors
    /// Those of computing the values.
    pub fn evaluate(&self, parameters: &[ArrayRef]) -> millrace_types::Result<RecordBatch> {
        at_one_moment(|| self.rows(parameters)).map_err(sql_error)
    }

    fn rows(&self, given: &[ArrayRef]) -> Result<RecordBatch> {
        let given = self.parameters.iter().map(|index| given.get(*index).cloned().ok_or_else(|| missing(*index)));
        let given = given.collect::<Result<_>>()?;
        let parameters = batch(&self.parameter_columns, given, 1)?;
        let column = |index: usize| {
            let value = |row: &Vec<Value>| match &row[index] {
                Value::Constant(value) => Ok(value.clone()),
                Value::Computed(expression) => match expression.evaluate(&parameters)? {
                    ColumnarValue::Scalar(value) => Ok(value),
                    ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
                },
            };
            let values = self.values.iter().map(value).collect::<Result<Vec<_>>>()?;
            ScalarValue::iter_to_array(values)
        };
        let columns = (0..self.value_columns.fields().len()).map(column).collect::<Result<_>>()?;
        let count = self.values.len();
        let mut rows = batch(&self.value_columns, columns, count)?;
        for step in &self.steps {
            let input = beside(&rows, &parameters)?;
            let columns = step.expressions.iter().map(|expression| expression.evaluate(&input)?.into_array(count));
            rows = batch(&step.columns, columns.collect::<Result<_>>()?, count)?;
        }
        Ok(rows)
    }
}

fn missing(parameter: usize) -> DataFusionError {
    let message = format!("there is no parameter ${}", parameter + 1);
    DataFusionError::External(Box::new(SqlError::new(SqlState::UNDEFINED_PARAMETER, message)))
}

/// Rows, and beside each of them the one row of parameters.
fn beside(rows: &RecordBatch, parameters: &RecordBatch) -> Result<RecordBatch> {
    if parameters.num_columns() == 0 {
        return Ok(rows.clone());
    }
    let count = rows.num_rows();
    let repeat = |array: &ArrayRef| match count {
        1 => Ok(array.clone()),
        count => ScalarValue::try_from_array(array, 0)?.to_array_of_size(count),
    };
    let repeated = parameters.columns().iter().map(repeat).collect::<Result<Vec<_>>>()?;
    let (left, right) = (rows.schema(), parameters.schema());
    let fields: Vec<_> = left.fields().iter().chain(right.fields()).cloned().collect();
    batch(&Arc::new(Schema::new(fields)), [rows.columns(), &repeated].concat(), count)
}

/// Columns with the types of a schema.
fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let typed =
        columns.into_iter().zip(schema.fields()).map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => arrow::compute::cast(&column, field.data_type()),
        });
    let columns = typed.collect::<std::result::Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn nullable(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

struct Compiler {
    /// The parameters met, by position from 0.
    parameters: BTreeMap<usize, Field>,
    properties: ExecutionProps,
}

impl Compiler {
    fn new(functions: &FunctionSource) -> Compiler {
        let properties = ExecutionProps {
            config_options: Some(functions.state().config_options().clone()),
            ..functions.state().execution_props().clone()
        };
        Compiler { parameters: BTreeMap::new(), properties }
    }

    /// Lists of expressions with a column for each parameter; `None` when one is no function of values.
    fn all(&mut self, lists: Vec<Vec<Expr>>) -> Option<Vec<Vec<Expr>>> {
        lists.into_iter().map(|list| list.into_iter().map(|expr| self.open(expr)).collect()).collect()
    }

    fn open(&mut self, expr: Expr) -> Option<Expr> {
        if matches!(expr, Expr::Literal(..) | Expr::Column(_)) {
            return Some(expr);
        }
        let reads = |expr: &Expr| matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_));
        if expr.exists(|expr| Ok(reads(expr))).ok()? {
            return None;
        }
        let mut untyped = false;
        let opened = expr.transform_up(|expr| match expr {
            Expr::Placeholder(placeholder) => {
                let position = placeholder.id.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
                let (Some(position), Some(field)) = (position.filter(|position| *position > 0), &placeholder.field)
                else {
                    untyped = true;
                    return Ok(Transformed::no(Expr::Placeholder(placeholder)));
                };
                let name = column_name(position - 1);
                self.parameters.insert(position - 1, field.as_ref().clone().with_name(&name).with_nullable(true));
                Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
            }
            other => Ok(Transformed::no(other)),
        });
        opened.ok().filter(|_| !untyped).map(|opened| opened.data)
    }

    fn schema(&self) -> Result<DFSchema> {
        let fields: Vec<Field> = self.parameters.values().cloned().collect();
        DFSchema::try_from(Schema::new(fields))
    }

    fn physical(&self, expr: &Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        create_physical_expr(expr, input, &self.properties, &PhysicalPlanningContext::default())
    }
}

/// The column that stands for a parameter. No column of a user has such a name in rows of VALUES.
fn column_name(parameter: usize) -> String {
    format!("\u{1}parameter {parameter}")
}
