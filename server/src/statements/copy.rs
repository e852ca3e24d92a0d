//! COPY: rows from the client into a table, rows of a table, query or subscription to the client.

use super::context::Context;
use super::prepared::{Body, Prepared};
use super::returning::{check_rows, evaluate};
use super::running::{Rows, Runnable};
use super::{select, subscribe};
use crate::coordinator::{Writes, nullable};
use crate::session::Session;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use futures::{FutureExt, StreamExt};
use millrace_planner::bind::{Checks, bind_default};
use millrace_planner::parse::{self, Copy, CopyDirection, CopyTarget, Statement, fold, name_parts, parse_query};
use millrace_planner::{Catalog, Relation};
use millrace_types::{Delta, Result, SqlError, SqlState, sql_type_of};
use millrace_wire::copy::{CopyFormat, Header, RowReader, RowWriter, chunks};
use millrace_wire::{CopyData, Response};
use sqlparser::ast::{Ident, ObjectName};
use std::sync::Arc;

/// Rows that are read before they are made into columns.
const BATCH_ROWS: usize = 8192;

pub async fn execute(session: &mut Session, copy: &Copy, prepared: &Prepared) -> Result<Response> {
    let format = format(&copy.options)?;
    if copy.direction == CopyDirection::FromStdin {
        let target = Target::of(session, copy)?;
        return Ok(Response::CopyIn { columns: target.columns.len(), binary: false });
    }
    let (schema, rows) = match &copy.target {
        CopyTarget::Table { name, columns } => table(session, name, columns).await?,
        CopyTarget::Query(_) => query(session, prepared).await?,
        CopyTarget::Subscribe(subscription) => subscribe::open(session, subscription, &prepared.text).await?,
    };
    let writer = RowWriter::new(format, *session.settings.format());
    let columns = schema.fields().len();
    Ok(Response::CopyOut { columns, binary: false, rows: chunks(writer, schema, rows) })
}

/// What the options say, as the protocol layer's formats.
fn format(options: &parse::CopyOptions) -> Result<CopyFormat> {
    let byte = |c: char, what: &str| {
        u8::try_from(c).ok().filter(u8::is_ascii).ok_or_else(|| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("COPY {what} must be a single one-byte character"))
        })
    };
    let base = match options.format {
        parse::CopyFormat::Text => CopyFormat::text(),
        parse::CopyFormat::Csv => CopyFormat::csv(),
        parse::CopyFormat::Binary => {
            return Err(SqlError::unsupported("COPY in binary format").with_hint("Use text or csv."));
        }
    };
    Ok(CopyFormat {
        delimiter: byte(options.delimiter, "delimiter")?,
        null: options.null.clone(),
        header: if options.header { Header::Names } else { Header::None },
        quote: byte(options.quote, "quote")?,
        escape: byte(options.escape, "escape")?,
        ..base
    })
}

async fn table(session: &mut Session, name: &ObjectName, columns: &[Ident]) -> Result<(SchemaRef, Rows)> {
    let columns = match columns {
        [] => "*".to_owned(),
        some => some.iter().map(Ident::to_string).collect::<Vec<_>>().join(", "),
    };
    let text = format!("SELECT {columns} FROM {name}");
    let snapshot = session.snapshot();
    let context = Context::new(session, snapshot.published.clone(), &text);
    let bound = select::bind(&context, &*parse_query(&text)?, &[]).map_err(SqlError::unplaced)?;
    let rows = Runnable::new(session, &context, bound.plan, snapshot).await?.stream(session);
    Ok((bound.schema.clone(), select::conforming(rows, bound.schema)))
}

async fn query(session: &mut Session, prepared: &Prepared) -> Result<(SchemaRef, Rows)> {
    let planned = prepared.planned(session)?;
    let Body::Query { bound, .. } = &planned.body else { return Err(SqlError::internal("COPY of a query has a plan")) };
    let snapshot = session.snapshot();
    let rows = Runnable::new(session, &planned.context, bound.plan.clone(), snapshot).await?.stream(session);
    Ok((bound.schema.clone(), select::conforming(rows, bound.schema.clone())))
}

/// The table that COPY FROM fills, and the columns that its data has.
struct Target {
    relation: Arc<Relation>,
    checks: Checks,
    columns: Vec<usize>,
}

impl Target {
    fn of(session: &Session, copy: &Copy) -> Result<Target> {
        let CopyTarget::Table { name, columns } = &copy.target else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "COPY FROM takes a table"));
        };
        let context = Context::new(session, session.published(), "");
        let parts = name_parts(name);
        super::truncate::check_stored(context.resolve(&parts)?)?;
        let relation = context.relation(&parts)?.ok_or_else(|| SqlError::internal("the table was resolved before"))?;
        let position = |ident: &Ident| {
            relation.schema.index_of(&fold(ident)).map_err(|_| {
                let message = format!("column \"{}\" of relation \"{}\" does not exist", fold(ident), relation.name);
                SqlError::new(SqlState::UNDEFINED_COLUMN, message)
            })
        };
        let columns = match columns.as_slice() {
            [] => (0..relation.schema.fields().len()).collect(),
            some => some.iter().map(position).collect::<Result<_>>()?,
        };
        let checks = Checks::of(&relation, &context, &context.functions)?;
        Ok(Target { relation, checks, columns })
    }

    fn reader(&self, format: CopyFormat) -> RowReader {
        let names = self.columns.iter().map(|column| self.relation.schema.field(*column).name().clone()).collect();
        RowReader::new(format, &self.relation.name, names)
    }
}

/// Runs COPY FROM: all of its rows become visible at once, or none.
pub async fn copy_in(session: &mut Session, prepared: &Prepared, mut data: CopyData) -> Result<String> {
    let Some(Statement::Copy(copy)) = &prepared.statement else { return Err(SqlError::internal("not a COPY")) };
    let target = Target::of(session, copy)?;
    let context = Context::new(session, session.published(), "");
    let mut reader = target.reader(format(&copy.options)?);
    let (mut writes, mut count) = (Writes::default(), 0);
    while let Some(bytes) = data.next().await {
        reader.push(&bytes?)?;
        if reader.len() >= BATCH_ROWS {
            count += take(session, &context, &target, &mut reader, &mut writes)?;
        }
    }
    reader.finish()?;
    count += take(session, &context, &target, &mut reader, &mut writes)?;
    session.write(false, |_| std::future::ready(Ok((writes.clone(), ()))).boxed()).await?;
    Ok(format!("COPY {count}"))
}

fn take(
    session: &Session,
    context: &Context,
    target: &Target,
    reader: &mut RowReader,
    writes: &mut Writes,
) -> Result<usize> {
    let (read, schema) = (reader.take(), &target.relation.schema);
    if read.is_empty() {
        return Ok(0);
    }
    let one = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &RecordBatchOptions::new().with_row_count(Some(read.len())),
    )?;
    let column = |index: usize| -> Result<ArrayRef> {
        let field = schema.field(index);
        if let Some(place) = target.columns.iter().position(|column| *column == index) {
            return read.parse(place, &sql_type_of(field), session.settings.format());
        }
        match target.relation.defaults.get(index).and_then(Option::as_ref) {
            None => Ok(new_null_array(field.data_type(), read.len())),
            Some(default) => {
                let default = bind_default(default, field, context, &context.functions)?;
                Ok(evaluate(&default, &one, &[])?.column(0).clone())
            }
        }
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>>>()?;
    let rows = RecordBatch::try_new(nullable(schema), columns)?;
    check_rows(&target.relation, &target.checks, &rows)?;
    writes.add(target.relation.id, Delta::inserts(rows));
    Ok(read.len())
}
