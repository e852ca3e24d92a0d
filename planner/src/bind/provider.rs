//! What DataFusion's SQL planner asks while it resolves names.

use super::source::RelationSource;
use super::{limits, size, view};
use crate::catalog::{Catalog, Relation, RelationKind};
use crate::functions::{FunctionSource, PostgresTypes, options};
use crate::parse::limits_error;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use millrace_types::{RelationId, SqlError, SqlState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many plain views may stand on one another.
const VIEW_DEPTH: usize = 64;

/// Relations of a catalog and functions of a source, to DataFusion's planner.
pub struct Provider<'a> {
    pub catalog: &'a dyn Catalog,
    pub functions: &'a FunctionSource,
    /// How many plain views the query being planned stands in.
    pub depth: usize,
    /// The innermost of them.
    pub view: Option<RelationId>,
    /// How many plain views have been put into the query so far.
    views: Arc<AtomicUsize>,
}

impl<'a> Provider<'a> {
    pub fn new(catalog: &'a dyn Catalog, functions: &'a FunctionSource) -> Provider<'a> {
        Provider { catalog, functions, depth: 0, view: None, views: Arc::default() }
    }

    /// The relation with a name.
    ///
    /// # Errors
    /// `42P01` when there is none.
    pub fn relation(&self, name: &[String]) -> millrace_types::Result<Arc<Relation>> {
        let found = match self.view {
            None => self.catalog.relation(name)?,
            Some(view) => self.catalog.relation_in_view(view, name)?,
        };
        found.ok_or_else(|| {
            let message = format!("relation \"{}\" does not exist", name.join("."));
            SqlError::new(SqlState::UNDEFINED_TABLE, message)
        })
    }

    /// A relation as the leaf of a plan; a plain view with the plan that stands for it.
    pub fn source(&self, relation: Arc<Relation>) -> millrace_types::Result<Arc<RelationSource>> {
        if self.depth >= VIEW_DEPTH {
            return Err(limits_error());
        }
        if relation.kind == RelationKind::Sink {
            let message = format!("cannot read from sink \"{}\"", relation.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        let view = match (relation.kind, &relation.view_query) {
            (RelationKind::View, Some(query)) => {
                if self.views.fetch_add(1, Ordering::Relaxed) >= size::VIEWS {
                    return Err(size::too_large());
                }
                let views = self.views.clone();
                let inner = Provider { depth: self.depth + 1, view: Some(relation.id), views, ..*self };
                Some(view::expand(&relation, query, &inner)?)
            }
            _ => None,
        };
        Ok(Arc::new(RelationSource::new(relation, view)))
    }
}

fn external(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let relation = self.relation(&name.to_vec()).map_err(external)?;
        Ok(self.source(relation).map_err(external)?)
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let state = self.functions.state();
        let name = name.to_lowercase();
        match state.table_functions().get(&name) {
            Some(function) => {
                let provider = function.create_table_provider_with_args(TableFunctionArgs::new(&args, state))?;
                Ok(provider_as_source(provider))
            }
            None => Err(external(crate::error::undefined_function(&name, "..."))),
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.functions.state().expr_planners()
    }

    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.functions.state().relation_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(PostgresTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        limits::function(name).or_else(|| self.functions.state().scalar_functions().get(unqualified(name)).cloned())
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.functions.state().higher_order_functions().get(unqualified(name)).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.state().aggregate_functions().get(unqualified(name)).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.state().window_functions().get(unqualified(name)).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.state().scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.functions.state().higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.state().aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.state().window_functions().keys().cloned().collect()
    }
}

/// Every function is in `pg_catalog`.
fn unqualified(name: &str) -> &str {
    name.strip_prefix("pg_catalog.").unwrap_or(name)
}
