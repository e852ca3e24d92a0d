//! Relations in logical plans.

use crate::catalog::{Relation, RelationKind};
use crate::error::sql_error;
use crate::lateness::Rejecting;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Constraint, Constraints};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, TableSource, TableType};
use millrace_types::Result;
use std::borrow::Cow;
use std::sync::Arc;

/// A relation as the leaf of a logical plan: lowering finds the relation again behind it.
#[derive(Debug)]
pub struct RelationSource {
    relation: Arc<Relation>,
    /// The plan of a plain view.
    view: Option<LogicalPlan>,
    /// A table's primary key: a query that groups by it may name the table's other columns too.
    constraints: Constraints,
    /// Whether the hidden columns are among those that it has.
    has_hidden: bool,
}

impl RelationSource {
    pub(super) fn new(relation: Arc<Relation>, view: Option<LogicalPlan>) -> RelationSource {
        let key = relation.unique_key.clone().filter(|_| relation.kind == RelationKind::Table);
        let constraints = Constraints::new_unverified(key.into_iter().map(Constraint::PrimaryKey).collect());
        RelationSource { relation, view, constraints, has_hidden: false }
    }

    /// The relation with its hidden columns, if it has any.
    pub(crate) fn with_hidden(relation: Arc<Relation>) -> RelationSource {
        RelationSource { has_hidden: relation.hidden.is_some(), ..RelationSource::new(relation, None) }
    }

    /// The relation that is read.
    pub fn relation(&self) -> &Arc<Relation> {
        &self.relation
    }
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        let hidden = self.relation.hidden.as_ref().filter(|_| self.has_hidden);
        hidden.map_or(&self.relation.schema, |hidden| &hidden.schema).clone()
    }

    fn table_type(&self) -> TableType {
        if self.relation.kind == RelationKind::View { TableType::View } else { TableType::Base }
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.constraints)
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.view.as_ref().map(Cow::Borrowed)
    }
}

/// The plan with each relation read by its provider: what DataFusion runs ad hoc.
///
/// # Errors
/// Those of rebuilding a plan, which a bound plan does not meet.
pub fn executable(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_down_with_subqueries(|plan| match plan {
        LogicalPlan::TableScan(mut scan) => match scan.source.downcast_ref::<RelationSource>() {
            Some(source) => {
                let hidden = source.relation.hidden.as_ref().filter(|_| source.has_hidden);
                let provider = hidden.map_or(&source.relation.provider, |hidden| &hidden.provider);
                scan.source = provider_as_source(provider.clone());
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            None => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        },
        other => match Rejecting::of(&other) {
            Some(rejecting) => rejecting.as_filter().map(Transformed::yes),
            None => Ok(Transformed::no(other)),
        },
    })
    .map(|transformed| transformed.data)
    .map_err(sql_error)
}
