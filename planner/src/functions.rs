//! The functions, operators and types that SQL may use.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast;
use millrace_functions::CAST_TARGET;
use millrace_types::field_of;
use std::sync::{Arc, LazyLock};

/// The functions and expression planners of a DataFusion session state, for any number of queries.
#[derive(Clone, Debug)]
pub struct FunctionSource {
    state: Arc<SessionState>,
    physical: Arc<SessionState>,
}

impl FunctionSource {
    /// The functions registered in `state`. Its tables and settings are not used.
    pub fn new(state: SessionState) -> FunctionSource {
        let physical = SessionStateBuilder::new_from_existing(state.clone()).with_scalar_functions(vec![]).build();
        FunctionSource { state: Arc::new(state), physical: Arc::new(physical) }
    }

    /// Postgres's functions, operators and casts.
    ///
    /// # Errors
    /// When a function cannot be registered, which would be a mistake of ours.
    pub fn postgres() -> millrace_types::Result<FunctionSource> {
        let state = millrace_functions::session_state(millrace_functions::session_config());
        state.map(FunctionSource::new).map_err(crate::error::sql_error)
    }

    /// The session state given.
    pub fn state(&self) -> &SessionState {
        &self.state
    }

    /// The same without scalar functions, for the physical side of a plan whose names are resolved: every statement
    /// needs a copy, and the functions are what makes it dear.
    pub fn physical(&self) -> &SessionState {
        &self.physical
    }

    /// The settings under which plans are analysed: those of the session.
    pub(crate) fn analysis(&self) -> &ConfigOptions {
        self.state.config_options()
    }
}

/// How text becomes a logical plan: as in Postgres, NULLs sort last, constants with a point are numeric, and places in
/// the text are kept for errors.
pub(crate) fn options() -> &'static ConfigOptions {
    static OPTIONS: LazyLock<ConfigOptions> = LazyLock::new(|| {
        let mut options = ConfigOptions::clone(millrace_functions::session_config().options());
        options.sql_parser.collect_spans = true;
        options.sql_parser.default_null_ordering = "nulls_max".to_owned();
        // The orders of subqueries are passed on: `bind/subquery_order.rs`.
        options.sql_parser.enable_subquery_sort_elimination = false;
        options
    });
    &OPTIONS
}

/// Type names in expressions mean the same types as in column definitions.
#[derive(Debug)]
pub(crate) struct PostgresTypes;

impl TypePlanner for PostgresTypes {
    fn plan_type(&self, sql_type: &ast::DataType) -> Result<Option<DataType>> {
        Ok(self.plan_type_field(sql_type)?.map(|field| field.data_type().clone()))
    }

    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let sql_type = crate::parse::sql_type(sql_type).map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(Some(Arc::new(field_of(CAST_TARGET, &sql_type, true))))
    }
}
