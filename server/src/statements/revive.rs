//! Definitions brought back to life after a restart: planned as when they were made.

use super::context::Context;
use super::create_sink::plan_stream;
use super::create_source::read_columns;
use super::create_view::plan_job;
use super::{emission, watermark};
use crate::coordinator::{Parts, Timed, schema_of};
use millrace_catalog::{Relation, RelationKind};
use millrace_planner::parse::parse_query;
use millrace_types::Result;
use std::sync::Arc;

/// The watermark of a relation of the catalog.
pub fn timed(relation: &Relation, context: &Context) -> Result<Option<Arc<Timed>>> {
    watermark::timed(context, relation, &schema_of(relation))
}

/// What a relation of the catalog needs to run. What it is made from must run already.
pub fn parts(relation: &Relation, context: &Context) -> Result<Parts> {
    let mut parts = Parts { timed: timed(relation, context)?, ..Parts::default() };
    match &relation.kind {
        RelationKind::View { .. } | RelationKind::Sequence(_) => {}
        RelationKind::Table(table) if table.fed => {
            let key = table.primary_key.as_ref().map_or(&[][..], |key| &key.columns);
            parts.source = Some(millrace_connectors::create_feed(&table.options, &schema_of(relation), key)?.1);
        }
        RelationKind::Table(table) => {
            parts.sink = Some(millrace_connectors::create_sink(&table.options, &schema_of(relation), true)?);
        }
        RelationKind::Source { options } => {
            parts.source = Some(millrace_connectors::create_source(options, &read_columns(relation))?.1);
        }
        RelationKind::MaterializedView { query, options } => {
            let (query, emission) = (parse_query(query)?, emission::of(options)?);
            parts.job = Some(plan_job(context, &query, emission, relation.id, &relation.name)?.job);
        }
        RelationKind::Sink { query, options } => {
            let (job, schema) = plan_stream(context, &*parse_query(query)?, relation.id, &relation.name)?;
            parts.sink = Some(millrace_connectors::create_sink(options, &schema, job.plan.append_only)?);
            parts.job = Some(job);
        }
        RelationKind::Job { query, .. } => {
            parts.job = Some(plan_stream(context, &*parse_query(query)?, relation.id, &relation.name)?.0);
        }
    }
    Ok(parts)
}
