//! CREATE TABLE AS.

use super::context::Context;
use super::create_table::new_name;
use super::create_view::{already_there, define, view_columns};
use super::select;
use crate::coordinator::{Parts, Writes, machine_now};
use crate::session::Session;
use futures::FutureExt;
use millrace_catalog::{Relation, RelationKind, TableDefinition};
use millrace_planner::parse::{CreateTableAs, name_parts};
use millrace_types::{Delta, Result, SqlError};
use millrace_wire::Response;

pub async fn execute(session: &mut Session, create: &CreateTableAs, text: &str) -> Result<Response> {
    let taken = new_name(session, &name_parts(&create.name), create.temporary, text).await?;
    let context = Context::new(session, session.published(), text);
    if create.if_not_exists
        && let Some(response) = already_there(session, &context, &taken, "CREATE TABLE AS")
    {
        return Ok(response);
    }
    if !create.options.is_empty() {
        return Err(SqlError::unsupported("CREATE TABLE AS with options"));
    }
    context.published.catalog.check_new_relation(&taken.0, &taken.1)?;
    let (schema, batches) = match create.with_data {
        true => select::collect(session, &create.query, text).await?,
        false => (select::bind(&context, &create.query, &[])?.schema, vec![]),
    };
    let columns = view_columns(&schema, &create.columns)?;
    let id = session.database.coordinator.allocate(1);
    let relation = Relation {
        id,
        schema: taken.0,
        name: taken.1,
        kind: RelationKind::Table(TableDefinition::default()),
        columns,
        sql: text.trim().trim_end_matches(';').to_owned(),
        depends_on: vec![],
        seen: vec![],
        owner: session.user.clone(),
        comment: None,
        watermark: None,
        event_time: None,
        time_zone: context.zone_name(),
        append_only: false,
        created_at: machine_now().0,
        indexes: vec![],
    };
    let schema = crate::coordinator::schema_of(&relation);
    define(session, relation, Parts::default(), false).await?;
    session.on_commit.extend(create.temporary.map(|on_commit| (id, on_commit)));
    let rows: usize = batches.iter().map(|rows| rows.num_rows()).sum();
    let mut writes = Writes::default();
    for rows in batches {
        writes.add(id, Delta::inserts(select::conform(rows, &schema)?));
    }
    session.write(false, |_| std::future::ready(Ok((writes.clone(), ()))).boxed()).await?;
    Ok(Response::Complete(format!("SELECT {rows}")))
}
