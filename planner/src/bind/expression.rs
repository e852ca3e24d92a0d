//! Expressions over rows: RETURNING, ON CONFLICT DO UPDATE, CHECK and DEFAULT.

use super::parameters::Parameters;
use super::provider::Provider;
use super::{dml, output, query};
use crate::catalog::Catalog;
use crate::error::sql_error;
use crate::functions::FunctionSource;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::scalar::ScalarValue;
use datafusion::sql::planner::PlannerContext;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use sqlparser::ast;
use std::sync::Arc;

/// Expressions over the columns of one or more relations, one after the other.
#[derive(Clone, Debug)]
pub struct RowExpressions {
    exprs: Vec<Expr>,
    input: DFSchemaRef,
    /// Names and types of what they give.
    pub schema: SchemaRef,
}

impl RowExpressions {
    /// The expressions ready to be evaluated over batches with the columns of the relations. `parameters` are the
    /// values of `$1`, `$2` ...
    ///
    /// # Errors
    /// `42P02` when a parameter is missing; those of casting a parameter to its type.
    pub fn physical(&self, parameters: &[ScalarValue]) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let properties = ExecutionProps::new();
        let context = PhysicalPlanningContext::default();
        self.exprs
            .iter()
            .map(|expr| {
                let expr = with_values(expr.clone(), parameters)?;
                create_physical_expr(&expr, &self.input, &properties, &context)
            })
            .collect::<datafusion::common::Result<_>>()
            .map_err(sql_error)
    }

    /// The expressions of a plan that projects rows of relations.
    pub(super) fn of(
        plan: LogicalPlan,
        known: &Parameters,
        functions: &FunctionSource,
        clause: &str,
    ) -> Result<RowExpressions> {
        refuse(&plan, clause)?;
        let plan = known.type_plan(plan).map_err(sql_error)?;
        let plan = query::analyze(plan, functions)?;
        let schema = output::schema(&plan);
        match plan {
            LogicalPlan::Projection(projection) => {
                let fields = projection.schema.fields().iter();
                let exprs =
                    projection.expr.iter().zip(fields).map(|(expr, field)| output::canonical_value(expr, field));
                let exprs: Vec<Expr> = exprs.collect();
                let fields = schema.fields().iter().map(|field| output::canonical_field(field));
                let schema = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
                Ok(RowExpressions { exprs, input: projection.input.schema().clone(), schema })
            }
            // `SELECT *` of all columns in order may be planned without a projection.
            other => {
                let exprs = other.schema().columns().into_iter().map(Expr::Column).collect();
                Ok(RowExpressions { exprs, input: other.schema().clone(), schema })
            }
        }
    }

    /// A function in the expressions whose value is not a function of its arguments.
    pub fn changing_function(&self) -> Option<String> {
        let mut found = None;
        for expr in &self.exprs {
            // Looking at an expression cannot fail.
            let _ = expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found.get_or_insert_with(|| call.name().to_owned());
                }
                Ok(TreeNodeRecursion::Continue)
            });
        }
        found
    }

    /// The expressions with each converted to the type of a column.
    pub(super) fn assigned_to(mut self, fields: &[&Field]) -> Result<RowExpressions> {
        let assigned = self.exprs.into_iter().zip(self.schema.fields()).zip(fields);
        let exprs = assigned.map(|((expr, from), to)| dml::assign(expr.unalias(), from, to));
        self.exprs = exprs.collect::<Result<_>>()?;
        self.schema = Arc::new(Schema::new(fields.iter().map(|field| (*field).clone()).collect::<Vec<_>>()));
        Ok(self)
    }
}

fn with_values(expr: Expr, parameters: &[ScalarValue]) -> datafusion::common::Result<Expr> {
    expr.transform_up(|expr| match &expr {
        Expr::Placeholder(placeholder) => {
            let index = placeholder.id.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
            let Some(value) = parameters.get(index.wrapping_sub(1)) else {
                let message = format!("there is no parameter {}", placeholder.id);
                let error = SqlError::new(SqlState::UNDEFINED_PARAMETER, message);
                return Err(DataFusionError::External(Box::new(error)));
            };
            let value = match &placeholder.field {
                Some(field) => value.cast_to(field.data_type())?,
                None => value.clone(),
            };
            Ok(Transformed::yes(Expr::Literal(value, None)))
        }
        _ => Ok(Transformed::no(expr)),
    })
    .map(|transformed| transformed.data)
}

/// Refuses what is no function of the row.
fn refuse(plan: &LogicalPlan, clause: &str) -> Result<()> {
    let mut refusal = None;
    plan.apply_with_subqueries(|node| {
        let (state, what) = match node {
            LogicalPlan::Aggregate(_) => (SqlState::GROUPING_ERROR, "aggregate functions are"),
            LogicalPlan::Window(_) => (SqlState::GROUPING_ERROR, "window functions are"),
            LogicalPlan::Unnest(_) => (SqlState::FEATURE_NOT_SUPPORTED, "set-returning functions are"),
            LogicalPlan::Subquery(_) => (SqlState::FEATURE_NOT_SUPPORTED, "subqueries are"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        refusal = Some(SqlError::new(state, format!("{what} not allowed in {clause}")));
        Ok(TreeNodeRecursion::Stop)
    })
    .map_err(sql_error)?;
    refusal.map_or(Ok(()), Err)
}

/// The plan of a select list over relations in FROM.
pub(super) fn over_rows(
    items: Vec<ast::SelectItem>,
    from: Vec<ast::TableWithJoins>,
    provider: &Provider,
    parameter_types: &[Option<SqlType>],
) -> Result<LogicalPlan> {
    let select = dml::select(items, from, None)?;
    query::plan(&select, provider, PlannerContext::new(), parameter_types)
}

/// The DEFAULT of a column, as an expression over no columns that gives the column's type.
///
/// # Errors
/// `42703` where it names a column, `42804` where its type does not fit, `42601` where it does not parse.
pub fn bind_default(
    text: &str,
    column: &Field,
    catalog: &dyn Catalog,
    functions: &FunctionSource,
) -> Result<RowExpressions> {
    let expr = dml::default_expression(text, column, &Provider::new(catalog, functions))?;
    row_expression(expr, Arc::new(DFSchema::empty()), column.clone())
}

/// A CHECK over the columns of a table that may not be in the catalog yet: gives a boolean, false where it is violated.
///
/// # Errors
/// `42703` for columns that are not there, `42804` when it is not boolean, `0A000` for subqueries.
pub fn bind_check(
    text: &str,
    table: &str,
    columns: &SchemaRef,
    catalog: &dyn Catalog,
    functions: &FunctionSource,
) -> Result<RowExpressions> {
    let expressions = bind_row_expression(text, table, columns, catalog, functions)?;
    let field = expressions.schema.field(0);
    match millrace_types::sql_type_of(field) {
        SqlType::Bool | SqlType::Unknown => Ok(expressions),
        other => {
            let message = format!("argument of CHECK must be type boolean, not type {other}");
            Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message))
        }
    }
}

/// The expression of a generated column over the columns of its table, as the column's type.
///
/// # Errors
/// As [`bind_check`]; `42804` where its type does not fit.
pub fn bind_generated(
    text: &str,
    column: &Field,
    table: &str,
    columns: &SchemaRef,
    catalog: &dyn Catalog,
    functions: &FunctionSource,
) -> Result<RowExpressions> {
    bind_row_expression(text, table, columns, catalog, functions)?.assigned_to(&[column])
}

/// A scalar expression over the columns of a table, as in an index or a CHECK.
///
/// # Errors
/// As [`bind_check`].
pub fn bind_row_expression(
    text: &str,
    table: &str,
    columns: &SchemaRef,
    catalog: &dyn Catalog,
    functions: &FunctionSource,
) -> Result<RowExpressions> {
    let provider = Provider::new(catalog, functions);
    let input = DFSchema::try_from_qualified_schema(table, columns).map_err(sql_error)?;
    let syntax = crate::parse::parse_expression(text)?;
    super::refuse::parameters(&syntax)?;
    let expr = dml::scalar(syntax, &input, &provider, &[])?;
    let field = dml::field_type(&expr, &input)?;
    row_expression(expr, Arc::new(input), field)
}

fn row_expression(expr: Expr, input: DFSchemaRef, field: Field) -> Result<RowExpressions> {
    if expr
        .exists(|expr| Ok(matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))))
        .map_err(sql_error)?
    {
        return Err(SqlError::unsupported("a subquery in a CHECK, DEFAULT or index expression"));
    }
    Ok(RowExpressions { exprs: vec![expr], input, schema: Arc::new(Schema::new(vec![field])) })
}

/// RETURNING over the rows of a table; `None` without the clause.
pub(super) fn returning(
    items: &Option<Vec<ast::SelectItem>>,
    from: ast::TableWithJoins,
    provider: &Provider,
    parameter_types: &[Option<SqlType>],
) -> Result<Option<LogicalPlan>> {
    let Some(items) = items else { return Ok(None) };
    let plan = over_rows(items.clone(), vec![from], provider, parameter_types)?;
    Ok(Some(plan))
}
