//! Queries.

use super::names::{self, Wildcards};
use super::parameters::{self, Parameters};
use super::provider::Provider;
use super::{
    asof, event_windows, grouping, limits, literals, orders, outer_aggregates, output, placement, populate, recursion,
    row_values, set_operations, size, subquery_order, using, values, whole_rows, windows,
};
use crate::catalog::Catalog;
use crate::decorrelate::decorrelate;
use crate::error::sql_error;
use crate::functions::FunctionSource;
use crate::lateness::reject_late;
use arrow::datatypes::SchemaRef;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{DFSchema, DataFusionError, ParamValues, ScalarValue, SchemaError};
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, Projection};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use millrace_functions::casts::{settled, tell_casts_apart, with_plain_casts};
use millrace_functions::postgres_syntax;
use millrace_functions::sets::{functions_in_from, into_rows};
use millrace_types::{Result, SqlError, SqlType};
use sqlparser::ast;
use std::cell::Cell;
use std::sync::Arc;

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
    let plan = typed(plan, &known, count, functions).and_then(|plan| output::canonical(plan).map_err(sql_error))?;
    let plan = reject_late(plan)?;
    let schema = output::schema(&plan);
    Ok(Bound { plan, parameters: known.types(count), schema })
}

/// The same for a query whose rows a relation keeps or stands for: row values are their texts.
///
/// # Errors
/// As [`bind_query`].
pub fn bind_stored(query: &ast::Query, catalog: &dyn Catalog, functions: &FunctionSource) -> Result<Bound> {
    let Bound { plan, parameters, .. } = bind_query(query, catalog, functions, &[])?;
    let plan = output::stored(plan, functions)?;
    let schema = output::schema(&plan);
    Ok(Bound { plan, parameters, schema })
}

/// The plan with its `count` parameters typed, what they are combined with coerced, and its subqueries joined.
pub fn typed(plan: LogicalPlan, known: &Parameters, count: usize, functions: &FunctionSource) -> Result<LogicalPlan> {
    let plan = match count {
        0 => plan,
        _ => known.type_plan(plan).map_err(sql_error).and_then(|plan| analyze(plan, functions))?,
    };
    decorrelate(plan, functions)
}

/// A bound plan with its parameters replaced by values of their types.
///
/// # Errors
/// `42P02` for a parameter without a value.
pub fn with_parameters(plan: LogicalPlan, values: Vec<ScalarValue>) -> Result<LogicalPlan> {
    let value = |value| {
        let metadata = settled(&value);
        ScalarAndMetadata::new(value, metadata)
    };
    let values = ParamValues::List(values.into_iter().map(value).collect());
    plan.with_param_values(values).map_err(sql_error)
}

/// The plan with types coerced and casts as Postgres has them.
///
/// # Errors
/// `42883`, `42804` and `42846` for types that do not go together.
pub fn analyze(plan: LogicalPlan, functions: &FunctionSource) -> Result<LogicalPlan> {
    // Without DataFusion's check, which refuses subqueries that it could not run.
    let mut rules = functions.state().analyzer().rules.iter();
    rules.try_fold(plan, |plan, rule| rule.analyze(plan, functions.analysis())).map_err(sql_error)
}

/// An expression over rows of `schema`, analysed as [`analyze`] does a plan.
///
/// # Errors
/// As [`analyze`].
pub fn analyze_expression(expr: Expr, schema: &DFSchema, functions: &FunctionSource) -> Result<Expr> {
    let rows = EmptyRelation { produce_one_row: false, schema: Arc::new(schema.clone()) };
    let rows = Arc::new(LogicalPlan::EmptyRelation(rows));
    let plan = Projection::try_new(vec![expr], rows).map_err(sql_error)?;
    let plan = literals::type_literals(LogicalPlan::Projection(plan)).map_err(sql_error)?;
    match analyze(plan, functions)? {
        LogicalPlan::Projection(mut projection) if projection.expr.len() == 1 => {
            Ok(projection.expr.remove(0).unalias())
        }
        _ => Err(SqlError::internal("analysis changed the shape of a projection")),
    }
}

/// DataFusion's plan of a query, with columns named and constants typed as Postgres does.
pub fn plan(
    query: &ast::Query,
    provider: &Provider,
    context: PlannerContext,
    parameter_types: &[Option<SqlType>],
) -> Result<LogicalPlan> {
    size::check(query)?;
    let mut query = query.clone();
    asof::spell_out(&mut query, provider)?;
    event_windows::spell_out(&mut query)?;
    super::refuse::query(&query)?;
    recursion::check(&query, provider.functions)?;
    placement::check(&query, provider.functions)?;
    populate::spell_out(&mut query, provider)?;
    if using::merges_columns(&query) {
        using::spell_out(&mut query, &|part| output_names(part, provider))?;
    }
    limits::prepare(&mut query)?;
    grouping::without_rows(&mut query, provider.functions);
    outer_aggregates::hoist(&mut query, provider.functions);
    whole_rows::name_in_calls(&mut query);
    // Whether the last attempt has told casts apart.
    let has_casts = Cell::new(false);
    let attempt = |query: &ast::Query, spelling: Spelling| {
        let mut query = query.clone();
        functions_in_from(&mut query);
        if spelling.rows {
            whole_rows::spell_out(&mut query, provider);
        }
        names::name_columns(&mut query, spelling.wildcards);
        if spelling.rows {
            whole_rows::call_constructors(&mut query);
        }
        row_values::rewrite(&mut query);
        postgres_syntax(&mut query);
        let prepared = orders::prepare(&mut query).and_then(|()| windows::prepare(&mut query, provider.functions));
        prepared.map_err(|error| DataFusionError::External(Box::new(error)))?;
        recursion::type_integers(&mut query);
        has_casts.set(spelling.casts && tell_casts_apart(&mut query));
        let statement = ast::Statement::Query(Box::new(query));
        let mut context = context.clone().with_prepare_param_data_types(parameters::fields(parameter_types));
        SqlToRel::new(provider).sql_statement_to_plan_with_context(statement, &mut context)
    };
    let mut planned = attempt(&query, Spelling::default());
    if planned.as_ref().is_err_and(names_some_columns) {
        using::complete_aliases(&mut query, &|part| output_names(part, provider))?;
        planned = attempt(&query, Spelling::default());
    }
    if planned.as_ref().is_err_and(values::differ) || planned.as_ref().is_ok_and(values::lose_floats) {
        values::unite(&mut query);
        planned = attempt(&query, Spelling::default());
    }
    let apart = |wildcards| attempt(&query, Spelling { wildcards, casts: true, rows: false });
    let planned = match planned {
        Ok(plan) if grouping::has_keys_alike(&plan) => {
            apart(Wildcards::Distinct).or_else(|_| apart(Wildcards::Alike)).or_else(|_| {
                has_casts.set(false);
                Ok(plan)
            })
        }
        Err(error) if is_ambiguous(&error) => {
            let hiding = Spelling { wildcards: Wildcards::Hiding, ..Spelling::default() };
            attempt(&query, hiding)
                .or_else(|_| apart(Wildcards::Distinct))
                .or_else(|_| apart(Wildcards::Alike))
                .or(Err(error))
        }
        Err(error) if repeats_a_column(&error) => {
            let repeated = Spelling { wildcards: Wildcards::Repeated, ..Spelling::default() };
            attempt(&query, repeated)
                .or_else(|_| apart(Wildcards::Distinct))
                .or_else(|_| apart(Wildcards::Repeated))
                .or_else(|_| apart(Wildcards::Alike))
                .or(Err(error))
        }
        // What fails with rows as values, too, fails for its own reason.
        Err(error) if whole_rows::may_be_meant(&error) => {
            attempt(&query, Spelling { rows: true, ..Spelling::default() }).or(Err(error))
        }
        planned => planned,
    };
    let plan = planned
        .and_then(subquery_order::lift)
        .and_then(grouping::over_columns)
        .and_then(|plan| if has_casts.get() { with_plain_casts(plan) } else { Ok(plan) })
        .and_then(into_rows)
        .and_then(event_windows::sessions_of_groups)
        .and_then(|plan| limits::with_ties(plan, provider.functions))
        .map_err(sql_error)?;
    placement::check_filters(&plan)?;
    let plan = set_operations::set_operations(plan, provider.functions)?;
    let plan = literals::type_literals(plan).map_err(sql_error)?;
    let plan = analyze(plan, provider.functions)?;
    windows::check_ranges(&plan)?;
    Ok(plan)
}

/// How a query is spelled for DataFusion's planner.
#[derive(Clone, Copy)]
struct Spelling {
    wildcards: Wildcards,
    /// The names of relations stand for their rows where there is no such column.
    rows: bool,
    /// Casts have names of their own.
    casts: bool,
}

impl Default for Spelling {
    fn default() -> Spelling {
        Spelling { wildcards: Wildcards::Distinct, rows: false, casts: false }
    }
}

/// The names of the columns that a query gives.
pub fn output_names(query: &ast::Query, provider: &Provider) -> Result<Vec<String>> {
    let plan = plan(query, provider, PlannerContext::new(), &[])?;
    Ok(plan.schema().fields().iter().map(|field| names::plain_name(field.name()).to_owned()).collect())
}

/// Whether planning failed on an alias that names fewer columns than there are.
fn names_some_columns(error: &DataFusionError) -> bool {
    error.to_string().contains("names given as column alias")
}

/// Whether planning failed on a name that two columns have.
fn is_ambiguous(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => matches!(
            error.as_ref(),
            SchemaError::AmbiguousReference { .. }
                | SchemaError::DuplicateUnqualifiedField { .. }
                | SchemaError::DuplicateQualifiedField { .. }
        ),
        _ => false,
    }
}

/// Whether planning failed on `SELECT *, a`, which Postgres takes.
fn repeats_a_column(error: &DataFusionError) -> bool {
    error.to_string().contains("require unique expression names")
}
