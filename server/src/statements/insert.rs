//! INSERT: rows of VALUES or a query, with ON CONFLICT and RETURNING.

use super::context::Context;
use super::create_sink::{insert_job, write_to_sink};
use super::prepared::{Body, Prepared};
use super::returning::{Changed, answer, check_rows, evaluate, run};
use super::select::conform;
use super::update::replacement;
use crate::coordinator::{Writes, key_identities, nullable};
use crate::reading::Snapshot;
use crate::session::Session;
use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::Schema;
use futures::FutureExt;
use millrace_dataflow::read_model::ReadModel;
use millrace_planner::RelationKind;
use millrace_planner::bind::{Conflict, Insert, RowExpressions};
use millrace_types::{Delta, Result, SqlError, SqlState};
use millrace_wire::Response;
use sqlparser::ast;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub async fn execute(
    session: &mut Session,
    prepared: &Arc<Prepared>,
    statement: &ast::Insert,
    parameters: Vec<ArrayRef>,
) -> Result<Response> {
    let planned = prepared.planned(session)?;
    if let Body::Insert(insert) = &planned.body
        && insert.relation.kind == RelationKind::Sink
    {
        return into_sink(session, prepared, statement, insert, parameters).await;
    }
    let resolves = statement.on.is_some();
    let changed =
        session.write(resolves, |session| compute(session, prepared.clone(), parameters.clone()).boxed()).await?;
    Ok(answer("INSERT 0", changed))
}

async fn compute(
    session: &mut Session,
    prepared: Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<(Writes, Changed)> {
    let planned = prepared.planned(session)?;
    let Body::Insert(insert) = &planned.body else { return Err(SqlError::internal("an INSERT has a plan")) };
    let snapshot = session.snapshot();
    let rows = rows(session, &planned.context, insert, &parameters, snapshot.clone()).await?;
    let (delta, new) = match &insert.conflict {
        None => (Delta::inserts(rows.clone()), rows),
        Some(conflict) => resolve(insert, conflict, rows, &snapshot, &parameters)?,
    };
    check_rows(&insert.relation, &insert.checks, &new)?;
    let returned = insert.returning.as_ref().map(|returning| evaluate(returning, &new, &parameters)).transpose()?;
    let mut writes = Writes::default();
    writes.add(insert.relation.id, delta);
    Ok((writes, Changed { rows: new.num_rows(), returned }))
}

/// The rows that are to be inserted.
async fn rows(
    session: &mut Session,
    context: &Context,
    insert: &Insert,
    parameters: &[ArrayRef],
    snapshot: Arc<Snapshot>,
) -> Result<RecordBatch> {
    let schema = &insert.relation.schema;
    match &insert.constant {
        Some(constant) => conform(constant.evaluate(parameters)?, schema),
        None => run(session, context, &insert.plan, parameters, snapshot, schema).await,
    }
}

/// A query feeds a sink for as long as its job runs; rows that are written out go once.
async fn into_sink(
    session: &mut Session,
    prepared: &Prepared,
    statement: &ast::Insert,
    insert: &Insert,
    parameters: Vec<ArrayRef>,
) -> Result<Response> {
    let target = session.published().catalog.get(insert.relation.id).cloned();
    let target = target.ok_or_else(|| SqlError::new(SqlState::UNDEFINED_TABLE, "the sink was dropped meanwhile"))?;
    match &statement.source {
        Some(query) if !matches!(*query.body, ast::SetExpr::Values(_)) => {
            insert_job(session, &target, query, &prepared.text).await
        }
        _ => {
            let (planned, snapshot) = (prepared.planned(session)?, session.snapshot());
            let rows = rows(session, &planned.context, insert, &parameters, snapshot).await?;
            let count = rows.num_rows();
            write_to_sink(session, target.id, rows).await?;
            Ok(answer("INSERT 0", Changed { rows: count, returned: None }))
        }
    }
}

/// Applies ON CONFLICT: what changes, and the rows that were inserted or updated.
fn resolve(
    insert: &Insert,
    conflict: &Conflict,
    rows: RecordBatch,
    snapshot: &Snapshot,
    parameters: &[ArrayRef],
) -> Result<(Delta, RecordBatch)> {
    let key = match conflict {
        Conflict::DoNothing { key } | Conflict::DoUpdate { key, .. } => key,
    };
    if key.is_empty() {
        return Ok((Delta::inserts(rows.clone()), rows));
    }
    let model = snapshot.model(insert.relation.id)?;
    let found = Existing::of(&model, &rows, key)?;
    let fresh = take_record_batch(&rows, &found.fresh)?;
    let Conflict::DoUpdate { columns, values, filter, .. } = conflict else {
        return Ok((Delta::inserts(fresh.clone()), fresh));
    };
    found.refuse_repeated()?;
    let excluded = take_record_batch(&rows, &found.taken)?;
    let (old, new) = update(found.rows, excluded, columns, values, filter.as_ref(), parameters)?;
    let replaced = replacement(old, new.clone(), &vec![1; new.num_rows()])?;
    let schema = fresh.schema();
    let new = RecordBatch::try_new(schema.clone(), new.columns().to_vec())?;
    let replaced = replaced.with_rows(RecordBatch::try_new(schema.clone(), replaced.rows().columns().to_vec())?);
    let delta = Delta::concat(&schema, [&Delta::inserts(fresh.clone()), &replaced])?;
    Ok((delta, concat_batches(&schema, [&fresh, &new])?))
}

/// Rows of an INSERT by whether their key is there already.
struct Existing {
    /// Rows whose key is new, the first of each key.
    fresh: UInt32Array,
    /// Rows whose key is there.
    taken: UInt32Array,
    /// The rows that are there, one for each of `taken`.
    rows: RecordBatch,
    /// Whether a key stands in the statement twice.
    repeated: bool,
}

impl Existing {
    fn of(model: &ReadModel, rows: &RecordBatch, key: &[usize]) -> Result<Existing> {
        let keys = |rows: &RecordBatch| key.iter().map(|column| rows.column(*column).clone()).collect::<Vec<_>>();
        let stored = model.lookup(&keys(rows))?;
        let places: HashMap<_, _> =
            key_identities(&keys(&stored), stored.num_rows())?.into_iter().zip(0u32..).collect();
        let (mut seen, mut fresh, mut taken, mut found) = (HashSet::new(), vec![], vec![], vec![]);
        let mut repeated = false;
        for (identity, row) in key_identities(&keys(rows), rows.num_rows())?.into_iter().zip(0u32..) {
            if !seen.insert(identity) {
                repeated = true;
                continue;
            }
            match places.get(&identity) {
                Some(place) => {
                    taken.push(row);
                    found.push(*place);
                }
                None => fresh.push(row),
            }
        }
        let rows = take_record_batch(&stored, &UInt32Array::from(found))?;
        Ok(Existing { fresh: fresh.into(), taken: taken.into(), rows, repeated })
    }

    fn refuse_repeated(&self) -> Result<()> {
        match self.repeated {
            false => Ok(()),
            true => Err(SqlError::new(
                SqlState::CARDINALITY_VIOLATION,
                "ON CONFLICT DO UPDATE command cannot affect row a second time",
            )
            .with_hint(
                "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
            )),
        }
    }
}

/// The rows that are there before and after DO UPDATE, without those that its WHERE leaves alone.
fn update(
    old: RecordBatch,
    excluded: RecordBatch,
    columns: &[usize],
    values: &RowExpressions,
    filter: Option<&RowExpressions>,
    parameters: &[ArrayRef],
) -> Result<(RecordBatch, RecordBatch)> {
    let both = side_by_side(&old, &excluded)?;
    let (old, both) = match filter {
        None => (old, both),
        Some(filter) => {
            let keep = evaluate(filter, &both, parameters)?;
            let keep = keep.column(0).as_boolean().clone();
            (arrow::compute::filter_record_batch(&old, &keep)?, arrow::compute::filter_record_batch(&both, &keep)?)
        }
    };
    let changed = evaluate(values, &both, parameters)?;
    let mut new = old.columns().to_vec();
    for (place, column) in columns.iter().enumerate() {
        new[*column] = changed.column(place).clone();
    }
    let new = RecordBatch::try_new(nullable(&old.schema()), new)?;
    Ok((old, new))
}

fn side_by_side(left: &RecordBatch, right: &RecordBatch) -> Result<RecordBatch> {
    let (left_schema, right_schema) = (left.schema(), right.schema());
    let fields = left_schema.fields().iter().chain(right_schema.fields().iter()).cloned();
    let columns = left.columns().iter().chain(right.columns()).cloned().collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)?)
}
