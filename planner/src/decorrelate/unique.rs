//! Columns of which no two rows of a plan agree.

use crate::bind::RelationSource;
use datafusion::common::Column;
use datafusion::logical_expr::{LogicalPlan, TableScan};

/// A key of a plan's rows that is known without looking far: that of the relation that it reads.
pub fn unique(plan: &LogicalPlan) -> Option<Vec<Column>> {
    match plan {
        LogicalPlan::TableScan(scan) => of_scan(scan),
        LogicalPlan::Filter(filter) => unique(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => {
            let places =
                unique(&alias.input)?.into_iter().map(|column| alias.input.schema().maybe_index_of_column(&column));
            places.map(|place| Some(Column::from(alias.schema.qualified_field(place?)))).collect()
        }
        _ => None,
    }
}

fn of_scan(scan: &TableScan) -> Option<Vec<Column>> {
    let relation = scan.source.downcast_ref::<RelationSource>()?.relation();
    let key = relation.unique_key.as_ref()?;
    let read = |column: &usize| match &scan.projection {
        Some(projection) => projection.iter().position(|read| read == column),
        None => Some(*column),
    };
    key.iter().map(|column| Some(Column::from(scan.projected_schema.qualified_field(read(column)?)))).collect()
}
