//! Prepared statements: parsed and described once, planned again only when definitions changed.

use super::context::Context;
use super::lookup::Lookup;
use super::with::{self, Given};
use super::{answer, explain, select, show, subscribe};
use crate::session::Session;
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use millrace_planner::bind::{self, Bound, Delete, Insert, Update};
use millrace_planner::parse::{self, Copy, CopyDirection, CopyTarget, Prepare, Statement, fold};
use millrace_planner::sql_error;
use millrace_types::{Result, SqlError, SqlState, SqlType};
use millrace_wire::{Deallocation, Response};
use parking_lot::Mutex;
use sqlparser::ast::{self, Ident};
use std::sync::Arc;

/// One parsed and described statement.
pub struct Prepared {
    pub text: String,
    /// `None` for an empty one.
    pub statement: Option<Statement>,
    pub parameters: Vec<SqlType>,
    /// The columns of its rows; `None` when it returns none.
    pub columns: Option<SchemaRef>,
    plan: Mutex<Option<Arc<Planned>>>,
    /// What the parts of WITH before it gave.
    given: Given,
}

/// A statement bound to the definitions of one moment.
pub struct Planned {
    pub context: Context,
    pub body: Body,
}

/// What binding gives.
pub enum Body {
    Query {
        bound: Bound,
        lookup: Option<Lookup>,
    },
    Insert(Box<Insert>),
    Update(Box<Update>),
    Delete(Delete),
    /// The statements of a MERGE.
    Merge(Vec<Arc<Prepared>>),
    /// The statements of a WITH, and the one that they are for.
    With(Vec<Arc<Prepared>>),
    /// Statements that are not planned.
    Other,
}

/// Parses a statement and finds out what it takes and gives. Types are those that the client told, if it did.
pub async fn prepare(session: &mut Session, text: &str, types: &[Option<SqlType>]) -> Result<Prepared> {
    let statement = parse::parse(text)?;
    if let Some(statement) = &statement
        && !super::control::ends_a_block(statement)
    {
        session.transaction.check_usable()?;
    }
    describe(session, text.to_owned(), statement, types, Given::default())
}

/// Finds out what a statement takes and gives that may read what the parts of WITH before it gave.
pub fn describe(
    session: &mut Session,
    text: String,
    statement: Option<Statement>,
    types: &[Option<SqlType>],
    given: Given,
) -> Result<Prepared> {
    let planned = statement.as_ref().map(|statement| plan(session, &text, statement, types, &given)).transpose()?;
    let (parameters, mut columns) = match planned.as_ref().map(|planned| &planned.body) {
        Some(Body::Query { bound, .. }) => (bound.parameters.clone(), Some(bound.schema.clone())),
        Some(Body::Insert(insert)) => (insert.parameters.clone(), insert.returning.as_ref().map(|r| r.schema.clone())),
        Some(Body::Update(update)) => (update.parameters.clone(), update.returning.as_ref().map(|r| r.schema.clone())),
        Some(Body::Delete(delete)) => (delete.parameters.clone(), delete.returning.as_ref().map(|r| r.schema.clone())),
        Some(Body::Merge(parts)) => {
            let longest = parts.iter().map(|part| &part.parameters).max_by_key(|parameters| parameters.len());
            (longest.cloned().unwrap_or_default(), None)
        }
        Some(Body::With(parts)) => with::described(parts),
        Some(Body::Other) | None => (vec![], None),
    };
    let mut parameters = parameters;
    match &statement {
        Some(Statement::Show(name)) => columns = Some(show::setting_columns(session, name)?),
        Some(Statement::ShowObjects(objects)) => columns = Some(show::object_columns(objects)),
        Some(Statement::ShowCreate { .. }) => columns = Some(show::definition_columns()),
        Some(Statement::ShowColumns(_)) => columns = Some(show::column_columns()),
        Some(Statement::Explain(_)) => columns = Some(explain::columns()),
        Some(Statement::Subscribe(subscribe)) => columns = Some(subscribe::columns(session, subscribe, &text)?),
        Some(Statement::Fetch(fetch)) => columns = session.cursors.get(&fold(&fetch.cursor)).map(|c| c.schema.clone()),
        Some(Statement::Execute { name, .. }) => {
            columns = named(session, name)?.columns.clone();
            parameters = vec![];
        }
        _ => {}
    }
    Ok(Prepared { text, statement, parameters, columns, plan: Mutex::new(planned.map(Arc::new)), given })
}

impl Prepared {
    /// The plan under the definitions of now.
    pub fn planned(&self, session: &mut Session) -> Result<Arc<Planned>> {
        let Some(statement) = &self.statement else { return Err(SqlError::internal("an empty statement has no plan")) };
        let version = session.published().catalog.version();
        if let Some(planned) = self.plan.lock().as_ref() {
            let context = &planned.context;
            let same = context.published.catalog.version() == version && !context.is_system();
            let same = same && context.time_zone == session.settings.format().time_zone;
            if same && context.search_path == *session.settings.search_path() {
                return Ok(planned.clone());
            }
        }
        let types: Vec<_> = self.parameters.iter().cloned().map(Some).collect();
        let planned = Arc::new(plan(session, &self.text, statement, &types, &self.given)?);
        if let (Body::Query { bound, .. }, Some(columns)) = (&planned.body, &self.columns)
            && bound.schema.fields() != columns.fields()
        {
            let message = "cached plan must not change result type";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        *self.plan.lock() = Some(planned.clone());
        Ok(planned)
    }
}

fn plan(
    session: &mut Session,
    text: &str,
    statement: &Statement,
    types: &[Option<SqlType>],
    given: &Given,
) -> Result<Planned> {
    let published = session.published();
    let context = Context::new(session, published, text).with_given(given.clone());
    let body = match statement {
        Statement::Query(query) => {
            let bound = select::bind(&context, query, types)?;
            let lookup = Lookup::of(&bound);
            Body::Query { bound, lookup }
        }
        Statement::Insert(insert) => {
            Body::Insert(bind::bind_insert(insert, &context, &context.functions, types)?.into())
        }
        Statement::Update(update) => {
            Body::Update(bind::bind_update(update, &context, &context.functions, types)?.into())
        }
        Statement::Delete(delete) => Body::Delete(bind::bind_delete(delete, &context, &context.functions, types)?),
        Statement::Merge(parts) => {
            let part = |part: &Statement| {
                describe(session, text.to_owned(), Some(part.clone()), types, Given::default()).map(Arc::new)
            };
            Body::Merge(parts.iter().map(part).collect::<Result<_>>()?)
        }
        Statement::With(with) => Body::With(with::describe_all(session, text, with, types)?),
        Statement::Copy(Copy { target: CopyTarget::Query(query), direction: CopyDirection::ToStdout, .. }) => {
            Body::Query { bound: select::bind(&context, query, &[])?, lookup: None }
        }
        _ => Body::Other,
    };
    Ok(Planned { context, body })
}

/// Parameter values as DataFusion takes them.
pub fn scalars(parameters: &[ArrayRef]) -> Result<Vec<ScalarValue>> {
    parameters.iter().map(|array| ScalarValue::try_from_array(array, 0).map_err(sql_error)).collect()
}

fn named(session: &Session, name: &Ident) -> Result<Arc<Prepared>> {
    let name = fold(name);
    session.prepared.get(&name).cloned().ok_or_else(|| {
        let message = format!("prepared statement \"{name}\" does not exist");
        SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
    })
}

/// PREPARE
pub async fn declare(session: &mut Session, prepare: &Prepare) -> Result<Response> {
    let name = fold(&prepare.name);
    if session.prepared.contains_key(&name) {
        let message = format!("prepared statement \"{name}\" already exists");
        return Err(SqlError::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
    }
    let types: Vec<_> = prepare.types.iter().cloned().map(Some).collect();
    let prepared =
        describe(session, prepare.text.clone(), Some((*prepare.statement).clone()), &types, Given::default())?;
    session.prepared.insert(name, Arc::new(prepared));
    answer::done("PREPARE")
}

/// EXECUTE
pub async fn execute(session: &mut Session, name: &Ident, parameters: &[ast::Expr]) -> Result<Response> {
    let prepared = named(session, name)?;
    if parameters.len() != prepared.parameters.len() {
        let message = format!("wrong number of parameters for prepared statement \"{}\"", fold(name));
        let detail = format!("Expected {} parameters but got {}.", prepared.parameters.len(), parameters.len());
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).with_detail(detail));
    }
    let mut values = Vec::with_capacity(parameters.len());
    for (expression, sql_type) in parameters.iter().zip(&prepared.parameters) {
        values.push(select::constant(session, expression, sql_type).await?);
    }
    Box::pin(super::execute(session, &prepared, values)).await
}

/// DEALLOCATE
pub fn deallocate(session: &mut Session, name: Option<&Ident>) -> Result<Response> {
    match name {
        None => {
            session.prepared.clear();
            session.deallocate(Deallocation::AllStatements);
            answer::done("DEALLOCATE ALL")
        }
        Some(name) => {
            named(session, name)?;
            session.prepared.remove(&fold(name));
            session.deallocate(Deallocation::Statement(fold(name)));
            answer::done("DEALLOCATE")
        }
    }
}
