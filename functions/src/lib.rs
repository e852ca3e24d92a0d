//! What SQL's functions, operators, casts and aggregates compute: Postgres's answers on DataFusion's machinery.
//!
//! The walk of an expression: [`postgres_syntax`] prepares the statement, [`TypeNames`] reads the type names of casts, [`expression_planners`] turn operators into
//! functions while names are resolved, [`analyzer_rules`] settle literals and casts, and the functions run, alike in
//! ad-hoc queries and in maintained views.
//!
//! | to add | touch |
//! |---|---|
//! | a scalar function | an entry in its family's list (`math.rs`, `text.rs`, ...); a line in `tests/expressions.txt` |
//! | a set-returning function | a function that gives an array, in a file of `sets/` |
//! | an operator | an arm in `operators/other.rs` |
//! | an aggregate | a file in `aggregates/`, a line in `aggregates/mod.rs` |
//!
//! This crate does no I/O and knows neither plans of ours nor the wire.

mod aggregates;
mod arrays;
mod bits;
mod calendar;
pub mod casts;
pub mod clock;
mod common_type;
mod date_format;
mod datetime;
mod degrees;
mod error;
pub mod event_windows;
pub mod format;
mod function;
mod functions;
mod generic;
mod grouping;
pub mod json;
mod json_functions;
mod json_path;
mod lenient;
mod look_up;
mod math;
mod number_format;
mod operators;
mod precise;
mod regex;
mod retyped;
mod rows;
pub mod sets;
mod similar;
mod subquery;
mod syntax;
mod system;
mod temporal;
mod text;
mod time_zone;
mod to_char;
mod type_names;
mod walk;
mod watermark;
pub mod windows;

pub use aggregates::functions as aggregate_functions;
pub use clock::at_one_moment;
pub use error::{carried, sql_error_of};
pub use function::{Call, Overload, is_null, of_volatility, takes_open_texts};
pub use functions::{FUNCTIONS, scalar_functions, window_functions};
pub use grouping::DIFFERENT_SETS;
pub use look_up::{AS_OF_NOW, is_as_of_now};
pub use rows::{ALL_COLUMNS, columns_of_row};
pub use subquery::{ARRAY_SUBQUERY, single_value};
pub use syntax::{PARTITION_BY, PostgresDialect, VARIADIC, call as syntax_call, postgres_syntax};
pub use time_zone::session_zone;
pub use type_names::{CAST_TARGET, TypeNames, sql_type};
pub use walk::{Walk, each_expression, each_select};
pub use watermark::CURRENT_WATERMARK;

use datafusion::common::Result;
use datafusion::common::config::Dialect;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::prelude::SessionConfig;
use std::sync::Arc;

/// The planners of operators and of SQL's function-like syntax, in order of precedence.
pub fn expression_planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![
        Arc::new(operators::Operators),
        Arc::new(datafusion::functions::core::planner::CoreFunctionPlanner::default()),
        Arc::new(datafusion::functions_nested::planner::FieldAccessPlanner),
        Arc::new(datafusion::functions_aggregate::planner::AggregateFunctionPlanner),
        Arc::new(datafusion::functions_window::planner::WindowFunctionPlanner),
    ]
}

/// All rules of the analyzer, DataFusion's among them, in order: literals get their types, types are coerced, casts
/// become Postgres's.
pub fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(casts::IntegerLiterals),
        Arc::new(casts::OuterColumns::default()),
        Arc::new(casts::OpenLiterals),
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(TypeCoercion::new()),
        Arc::new(casts::OuterColumns { coerced: true }),
        Arc::new(aggregates::WindowOrder),
        Arc::new(windows::Frames),
        Arc::new(casts::LowerCasts),
        Arc::new(casts::GuardFilters),
        Arc::new(event_windows::SettledWindows),
    ]
}

/// The settings under which SQL text means what it means in Postgres.
pub fn session_config() -> SessionConfig {
    let mut config = SessionConfig::new();
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = true;
    options.sql_parser.support_varchar_with_length = true;
    options.execution.time_zone = Some("UTC".to_owned());
    config
}

/// Registers every function.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in scalar_functions() {
        registry.register_udf(function)?;
    }
    for function in aggregate_functions() {
        registry.register_udaf(function)?;
    }
    for function in window_functions() {
        registry.register_udwf(function)?;
    }
    Ok(())
}

/// A session state for ad-hoc queries: DataFusion's defaults with our functions, planners and rules.
pub fn session_state(config: SessionConfig) -> Result<SessionState> {
    let mut state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_expr_planners(expression_planners())
        .with_type_planner(Arc::new(TypeNames))
        .with_analyzer_rules(analyzer_rules())
        .with_query_planner(Arc::new(sets::QueryPlanner))
        .build();
    register(&mut state)?;
    Ok(state)
}
