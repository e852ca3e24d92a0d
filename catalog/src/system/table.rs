//! System relations as DataFusion tables: the rows are made when a query first scans one, once per snapshot.

use super::relations::FILLERS;
use super::rows::Rows;
use super::shape::{SHAPES, Shape, shape};
use super::snapshot::Snapshot;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::{Arc, OnceLock};

/// The schemas `pg_catalog` and `information_schema` over a snapshot, by name.
pub fn system_tables(snapshot: Arc<Snapshot>) -> Vec<(&'static str, Arc<SystemSchema>)> {
    ["pg_catalog", "information_schema"]
        .map(|name| (name, Arc::new(SystemSchema { name, snapshot: snapshot.clone() })))
        .into()
}

/// One of the two system schemas over a snapshot.
#[derive(Debug)]
pub struct SystemSchema {
    name: &'static str,
    snapshot: Arc<Snapshot>,
}

impl SystemSchema {
    /// The relation of this name, if the schema has it.
    pub fn relation(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let shape = shape(Some(self.name), name)?;
        Some(Arc::new(SystemTable { shape, snapshot: self.snapshot.clone(), rows: OnceLock::new() }))
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        SHAPES.iter().filter(|shape| shape.schema == self.name).map(|shape| shape.name.to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.relation(name))
    }

    fn table_exist(&self, name: &str) -> bool {
        shape(Some(self.name), name).is_some()
    }
}

struct SystemTable {
    shape: &'static Shape,
    snapshot: Arc<Snapshot>,
    rows: OnceLock<RecordBatch>,
}

impl std::fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SystemTable").field(&self.shape.name).finish()
    }
}

impl SystemTable {
    fn batch(&self) -> millrace_types::Result<RecordBatch> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows.clone());
        }
        let batch = batch(self.shape, &self.snapshot)?;
        Ok(self.rows.get_or_init(|| batch).clone())
    }
}

/// All rows of a system relation.
pub(super) fn batch(shape: &'static Shape, snapshot: &Snapshot) -> millrace_types::Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    if let Some((_, _, fill)) = FILLERS.iter().find(|(schema, name, _)| (*schema, *name) == (shape.schema, shape.name))
    {
        fill(snapshot, &mut rows);
    }
    rows.finish()
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.shape.fields.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batch = self.batch().map_err(|error| DataFusionError::External(Box::new(error)))?;
        let plan = MemorySourceConfig::try_new_exec(&[vec![batch]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}
