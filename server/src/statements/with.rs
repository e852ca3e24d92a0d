//! WITH whose parts change rows: each part is run against the same state, what it returns is read by those after it, and
//! all changes are committed together.

use super::context::system_relation;
use super::merge::{check_once, part_of};
use super::prepared::{Body, Prepared, describe};
use super::returning::{Changed, answer};
use super::running::Runnable;
use super::select::{conform, with_parameters};
use crate::coordinator::{Writes, nullable};
use crate::session::Session;
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::datasource::MemTable;
use futures::FutureExt;
use millrace_planner::parse::{Statement, With, WithPart};
use millrace_planner::{Relation, sql_error};
use millrace_types::{Result, SqlError, SqlState, SqlType};
use millrace_wire::Response;
use std::sync::Arc;

/// What the parts of a WITH gave so far.
#[derive(Clone, Default)]
pub struct Given(Vec<Arc<GivenRows>>);

impl Given {
    /// What the part of a name gave.
    pub fn find(&self, name: &str) -> Option<&GivenRows> {
        self.0.iter().rfind(|rows| rows.name == name).map(Arc::as_ref)
    }

    fn add(&mut self, part: &WithPart, schema: Option<&SchemaRef>, rows: Option<RecordBatch>) {
        let schema = schema.map(|schema| renamed(schema, &part.columns));
        self.0.push(Arc::new(GivenRows { name: part.name.clone(), schema, rows }));
    }
}

/// The rows of a part under its name.
pub struct GivenRows {
    name: String,
    /// `None` without RETURNING.
    schema: Option<SchemaRef>,
    /// `None` before it ran.
    rows: Option<RecordBatch>,
}

impl GivenRows {
    /// The rows as a relation.
    ///
    /// # Errors
    /// `0A000` when the part returns none.
    pub fn relation(&self) -> Result<Arc<Relation>> {
        let Some(schema) = &self.schema else {
            let message = format!("WITH query \"{}\" does not have a RETURNING clause", self.name);
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        };
        let rows = self.rows.iter().map(|rows| RecordBatch::try_new(schema.clone(), rows.columns().to_vec()));
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let table = MemTable::try_new(schema.clone(), vec![rows]).map_err(sql_error)?;
        Ok(Arc::new(system_relation(String::new(), &self.name, Arc::new(table))))
    }
}

/// The columns under other names; NULL may be in each.
fn renamed(schema: &SchemaRef, names: &[String]) -> SchemaRef {
    let schema = nullable(schema);
    let fields = schema.fields().iter().enumerate().map(|(at, field)| match names.get(at) {
        Some(name) => field.as_ref().clone().with_name(name),
        None => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

/// The parts and then the statement that they are for, before any of them ran.
pub fn describe_all(
    session: &mut Session,
    text: &str,
    with: &With,
    types: &[Option<SqlType>],
) -> Result<Vec<Arc<Prepared>>> {
    let (mut given, mut all) = (Given::default(), vec![]);
    for part in &with.parts {
        let prepared = describe(session, text.to_owned(), Some(part.statement.clone()), types, given.clone())?;
        given.add(part, prepared.columns.as_ref(), None);
        all.push(Arc::new(prepared));
    }
    all.push(Arc::new(describe(session, text.to_owned(), Some(with.body.clone()), types, given)?));
    Ok(all)
}

/// What all of them take, and what the last of them gives. A parameter has the type that one of them knows: the others
/// say text.
pub fn described(parts: &[Arc<Prepared>]) -> (Vec<SqlType>, Option<SchemaRef>) {
    let count = parts.iter().map(|part| part.parameters.len()).max().unwrap_or_default();
    let known = |index: usize| {
        let mut types = parts.iter().filter_map(|part| part.parameters.get(index));
        types.find(|sql_type| **sql_type != SqlType::Text).cloned().unwrap_or(SqlType::Text)
    };
    ((0..count).map(known).collect(), parts.last().and_then(|body| body.columns.clone()))
}

pub async fn execute(
    session: &mut Session,
    with: &With,
    prepared: &Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<Response> {
    let tag = match &with.body {
        Statement::Insert(_) => "INSERT 0",
        Statement::Update(_) => "UPDATE",
        Statement::Delete(_) => "DELETE",
        _ => "SELECT",
    };
    let changed =
        session.write(false, |session| compute(session, prepared.clone(), parameters.clone()).boxed()).await?;
    Ok(answer(tag, changed))
}

async fn compute(
    session: &mut Session,
    prepared: Arc<Prepared>,
    parameters: Vec<ArrayRef>,
) -> Result<(Writes, Changed)> {
    let Some(Statement::With(with)) = &prepared.statement else { return Err(SqlError::internal("a WITH has parts")) };
    // All parts see the same state.
    session.held = Some(session.published());
    let computed = in_order(session, with, &prepared, &parameters).await;
    session.held = None;
    computed
}

async fn in_order(
    session: &mut Session,
    with: &With,
    prepared: &Prepared,
    parameters: &[ArrayRef],
) -> Result<(Writes, Changed)> {
    let types: Vec<_> = prepared.parameters.iter().cloned().map(Some).collect();
    let (mut given, mut writes) = (Given::default(), Writes::default());
    for part in &with.parts {
        let statement = Some(part.statement.clone());
        let own = Arc::new(describe(session, prepared.text.clone(), statement, &types, given.clone())?);
        let (more, changed) = part_of(session, &own, parameters.to_vec()).await?;
        writes.append(more);
        given.add(part, own.columns.as_ref(), changed.returned);
    }
    let body = Arc::new(describe(session, prepared.text.clone(), Some(with.body.clone()), &types, given)?);
    let changed = match &with.body {
        Statement::Query(_) => query(session, &body, parameters).await?,
        _ => {
            let (more, changed) = part_of(session, &body, parameters.to_vec()).await?;
            writes.append(more);
            changed
        }
    };
    check_once(session, &writes, "statement with WITH")?;
    Ok((writes, changed))
}

/// The rows of a query after the parts.
async fn query(session: &mut Session, prepared: &Prepared, parameters: &[ArrayRef]) -> Result<Changed> {
    let planned = prepared.planned(session)?;
    let Body::Query { bound, .. } = &planned.body else { return Err(SqlError::internal("a query has a plan")) };
    let schema = prepared.columns.clone().unwrap_or_else(|| bound.schema.clone());
    let plan = with_parameters(bound.plan.clone(), parameters)?;
    let snapshot = session.snapshot();
    let batches = Runnable::new(session, &planned.context, plan, snapshot).await?.collect(session).await?;
    let batches = batches.into_iter().map(|rows| conform(rows, &schema)).collect::<Result<Vec<_>>>()?;
    let rows = concat_batches(&nullable(&schema), &batches)?;
    Ok(Changed { rows: rows.num_rows(), returned: Some(rows), repeated: false })
}
