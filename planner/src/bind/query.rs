//! Queries.

use super::names::{self, Wildcards};
use super::parameters::{self, Parameters};
use super::provider::Provider;
use super::{literals, output};
use crate::catalog::Catalog;
use crate::error::sql_error;
use crate::functions::FunctionSource;
use arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use millrace_types::{Result, SqlType};
use sqlparser::ast;

/// A query with its names and types resolved.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What to compute. Its columns are those of `schema`, in order and type; their names differ where Postgres gives
    /// several columns one name.
    pub plan: LogicalPlan,
    /// The types of `$1`, `$2` ...
    pub parameters: Vec<SqlType>,
    /// Postgres's names and types of the output columns.
    pub schema: SchemaRef,
}

/// Resolves the names and types of a query. `parameter_types` are those that the client gave, `None` or
/// [`SqlType::Unknown`] where it gave none.
///
/// # Errors
/// Those of Postgres's analysis: `42P01`, `42703`, `42883`, `42804`, `42803` ..., with a position where there is one.
pub fn bind_query(
    query: &ast::Query,
    catalog: &dyn Catalog,
    functions: &FunctionSource,
    parameter_types: &[Option<SqlType>],
) -> Result<Bound> {
    let provider = Provider::new(catalog, functions);
    let count = parameters::count(query).max(parameter_types.len());
    let plan = plan(query, &provider, PlannerContext::new(), parameter_types)?;
    let mut known = Parameters::given(parameter_types);
    known.observe_plan(&plan).map_err(sql_error)?;
    finish(plan, &known, count)
}

/// Types the parameters of a plan and gives it output columns as Postgres has them.
pub fn finish(plan: LogicalPlan, known: &Parameters, count: usize) -> Result<Bound> {
    let typed = if count > 0 { known.type_plan(plan) } else { Ok(plan) };
    let plan = typed.and_then(output::canonical).map_err(sql_error)?;
    let schema = output::schema(&plan);
    Ok(Bound { plan, parameters: known.types(count), schema })
}

/// DataFusion's plan of a query, with columns named and constants typed as Postgres does.
pub fn plan(
    query: &ast::Query,
    provider: &Provider,
    context: PlannerContext,
    parameter_types: &[Option<SqlType>],
) -> Result<LogicalPlan> {
    super::refuse::query(query)?;
    let attempt = |wildcards| {
        let mut query = query.clone();
        names::name_columns(&mut query, wildcards);
        let statement = ast::Statement::Query(Box::new(query));
        let mut context = context.clone().with_prepare_param_data_types(parameters::fields(parameter_types));
        SqlToRel::new(provider).sql_statement_to_plan_with_context(statement, &mut context)
    };
    let planned = match attempt(Wildcards::Distinct) {
        Err(error) if repeats_a_column(&error) => attempt(Wildcards::Repeated),
        planned => planned,
    };
    planned.and_then(literals::type_literals).map_err(sql_error)
}

/// Whether planning failed on `SELECT *, a`, which Postgres takes.
fn repeats_a_column(error: &DataFusionError) -> bool {
    error.to_string().contains("Projections require unique expression names")
}
