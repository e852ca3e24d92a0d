//! CREATE TABLE: stored rows, or the door to a sink.

use super::alter::mentions;
use super::answer::done;
use super::context::Context;
use super::create_source::{check_names, declared, settled};
use super::create_view::{already_there, define};
use super::{like, references, sequences, temporary, watermark};
use crate::coordinator::{Parts, machine_now};
use crate::session::Session;
use millrace_catalog::{Check, Column, Generated, Key, Late, Relation, RelationKind, TableDefinition};
use millrace_planner::parse::{
    CheckDefinition, ColumnDefinition, ConflictBehavior, CreateTable, GeneratedColumn, KeyDefinition, OnCommit, fold,
    name_parts,
};
use millrace_types::{RelationId, Result, SqlError, SqlState, sql_type_of};
use millrace_wire::{Notice, Response};
use sqlparser::ast::Ident;

/// Postgres's limit on columns.
const COLUMNS_MAX: usize = 1600;

pub async fn execute(session: &mut Session, create: &CreateTable, text: &str) -> Result<Response> {
    let taken = new_name(session, &name_parts(&create.name), create.temporary, text).await?;
    let context = Context::new(session, session.published(), text);
    if create.if_not_exists
        && let Some(response) = already_there(session, &context, &taken, "CREATE TABLE")
    {
        return Ok(response);
    }
    context.published.catalog.check_new_relation(&taken.0, &taken.1)?;
    let create = &like::expanded(&context, create)?;
    refuse(create)?;
    check_names(&create.columns)?;
    if create.not_enforced {
        session.notice(Notice::plain("NOT ENFORCED has no effect: keys are always enforced"));
    }
    let keys = (create.unique.len() + create.foreign_keys.len()) as u32;
    let first = session.database.coordinator.allocate(2 + keys);
    let (schema, name) = taken;
    let declared_columns = declared(&create.columns);
    let watermark = create.watermark.as_ref();
    let watermark = watermark.map(|watermark| watermark::defined(watermark, &declared_columns)).transpose()?;
    if watermark.as_ref().is_some_and(|(watermark, _)| watermark.late == Late::Drop) {
        return Err(SqlError::unsupported("late = 'drop' of a table")
            .with_hint("Rows that INSERT brings stay. A source can drop late rows."));
    }
    let (mut definition, mut columns) = (table(create, &name, first)?, columns(create));
    let mut feed = None;
    if definition.fed {
        if watermark.is_some() {
            return Err(SqlError::unsupported("WATERMARK of a table that a connector feeds")
                .with_hint("CREATE SOURCE with this connector takes one, and tracks it for each split."));
        }
        definition.options = settled(definition.options).await?;
        let key = definition.primary_key.as_ref().map_or(&[][..], |key| &key.columns);
        let (all, source) = millrace_connectors::create_feed(&definition.options, &declared_columns, key)?;
        let added = all.fields().iter().skip(declared_columns.fields().len());
        columns.extend(added.map(|field| Column::new(field.name(), sql_type_of(field))));
        feed = Some(source);
    }
    let mut relation = Relation {
        id: first,
        kind: RelationKind::Table(definition),
        schema,
        name,
        columns,
        sql: text.trim().trim_end_matches(';').to_owned(),
        depends_on: vec![],
        seen: vec![],
        owner: session.user.clone(),
        comment: None,
        event_time: watermark.as_ref().map(|(_, column)| *column),
        watermark: watermark.map(|(watermark, _)| watermark),
        time_zone: context.zone_name(),
        append_only: false,
        created_at: machine_now().0,
        indexes: vec![],
    };
    for (number, definition) in create.foreign_keys.iter().enumerate() {
        let index = RelationId(first.0 + 2 + (create.unique.len() + number) as u32);
        references::add(&context, &mut relation, definition, index)?;
    }
    let sequences = sequences::of_columns(session, &context, create, &mut relation)?;
    context.check_expressions(&relation)?;
    let timed = watermark::timed(&context, &relation, &declared_columns)?;
    let mut parts = Parts { timed, source: feed, ..Parts::default() };
    if !create.options.is_empty() && parts.source.is_none() {
        parts.sink = Some(millrace_connectors::create_sink(&create.options, &declared_columns, true)?);
    }
    for sequence in sequences {
        sequences::define(session, sequence).await?;
    }
    define(session, relation, parts, false).await?;
    session.on_commit.extend(create.temporary.map(|on_commit| (first, on_commit)));
    done("CREATE TABLE")
}

/// The schema and the name of a new table.
pub async fn new_name(
    session: &mut Session,
    name: &[String],
    temporary: Option<OnCommit>,
    text: &str,
) -> Result<(String, String)> {
    let names_temporary = matches!(name, [schema, _] if schema == "pg_temp");
    match temporary.is_some() || names_temporary {
        true => temporary::new_name(session, name).await,
        false => Context::new(session, session.published(), text).new_name(name),
    }
}

fn refuse(create: &CreateTable) -> Result<()> {
    if create.temporary.is_some() && !create.options.is_empty() {
        return Err(SqlError::unsupported("a temporary table with a connector"));
    }
    // What a connector feeds overwrites by key anyway.
    let overwrites =
        create.on_conflict == ConflictBehavior::Overwrite && millrace_connectors::feeds_tables(&create.options);
    if create.on_conflict != ConflictBehavior::Error && !overwrites {
        return Err(SqlError::unsupported("ON CONFLICT of a table").with_hint("INSERT ... ON CONFLICT is supported."));
    }
    if create.columns.len() > COLUMNS_MAX {
        let message = format!("tables can have at most {COLUMNS_MAX} columns");
        return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, message));
    }
    if create.options.is_empty() {
        return Ok(());
    }
    if create.watermark.is_some() {
        return Err(SqlError::unsupported("a watermark of a table that feeds a sink"));
    }
    let is_fed = millrace_connectors::feeds_tables(&create.options);
    let arrives = |column: &&ColumnDefinition| is_fed && column.generated == Some(GeneratedColumn::Arrival);
    if create.columns.iter().any(|column| column.generated.is_some() && !arrives(&column)) {
        return Err(SqlError::unsupported("a generated column of a table with a connector"));
    }
    if is_fed {
        if !create.unique.is_empty() || !create.checks.is_empty() {
            return Err(SqlError::unsupported("a UNIQUE or CHECK constraint of a table that a connector feeds"));
        }
        if create.columns.iter().any(|column| column.default.is_some() && !arrives(&column)) {
            return Err(SqlError::unsupported("a DEFAULT of a table that a connector feeds"));
        }
        return Ok(());
    }
    if create.primary_key.is_some()
        || !create.unique.is_empty()
        || !create.checks.is_empty()
        || !create.foreign_keys.is_empty()
    {
        return Err(SqlError::unsupported("a constraint of a table that feeds a sink"));
    }
    Ok(())
}

/// The columns as the catalog keeps them; those of the primary key refuse NULL.
pub fn columns(create: &CreateTable) -> Vec<Column> {
    let key = create.primary_key.iter().flat_map(|key| &key.columns).map(fold).collect::<Vec<_>>();
    create.columns.iter().map(|definition| column(definition, key.contains(&fold(&definition.name)))).collect()
}

/// A column as the catalog keeps it.
pub fn column(definition: &ColumnDefinition, in_key: bool) -> Column {
    Column {
        not_null: definition.not_null || definition.primary_key || in_key,
        default: definition.default.clone(),
        generated: match &definition.generated {
            Some(GeneratedColumn::Stored(expression)) => Some(Generated::Stored(expression.clone())),
            Some(GeneratedColumn::Identity { always: true, .. }) => Some(Generated::Always),
            Some(GeneratedColumn::Identity { always: false, .. }) => Some(Generated::ByDefault),
            Some(GeneratedColumn::Arrival) => Some(Generated::Arrival),
            Some(GeneratedColumn::Serial) | None => None,
        },
        ..Column::new(fold(&definition.name), definition.sql_type.clone())
    }
}

/// Keys and checks with the names that Postgres gives them. Index ids follow the table's own.
fn table(create: &CreateTable, name: &str, id: RelationId) -> Result<TableDefinition> {
    let names: Vec<_> = create.columns.iter().map(|column| fold(&column.name)).collect();
    let positions =
        |key: &KeyDefinition| key.columns.iter().map(|ident| position(&names, ident)).collect::<Result<_>>();
    let primary_key = create.primary_key.as_ref().map(|key| {
        let name = key.name.as_ref().map_or_else(|| format!("{name}_pkey"), fold);
        Ok::<_, SqlError>(Key { name, index: RelationId(id.0 + 1), columns: positions(key)? })
    });
    let mut taken: Vec<String> = vec![];
    let unique = create.unique.iter().enumerate().map(|(number, key)| {
        let joined: Vec<_> = key.columns.iter().map(fold).collect();
        let base = key.name.as_ref().map_or_else(|| format!("{name}_{}_key", joined.join("_")), fold);
        let name = free(&base, &taken);
        taken.push(name.clone());
        Ok(Key { name, index: RelationId(id.0 + 2 + number as u32), columns: positions(key)? })
    });
    let unique = unique.collect::<Result<_>>()?;
    let mut checks: Vec<Check> = vec![];
    for check in &create.checks {
        checks.push(named_check(check, name, &names, &checks)?);
    }
    Ok(TableDefinition {
        primary_key: primary_key.transpose()?,
        unique,
        checks,
        foreign_keys: vec![],
        options: create.options.clone(),
        storage: None,
        fed: millrace_connectors::feeds_tables(&create.options),
    })
}

/// A CHECK under its name, or the one that Postgres gives it: after the one column that it mentions.
///
/// # Errors
/// `42710` when its own name is taken.
pub fn named_check(check: &CheckDefinition, table: &str, columns: &[String], others: &[Check]) -> Result<Check> {
    let sql = check.expression.clone();
    let taken: Vec<_> = others.iter().map(|other| other.name.clone()).collect();
    if let Some(name) = &check.name {
        let name = fold(name);
        return match taken.contains(&name) {
            false => Ok(Check { name, sql }),
            true => {
                let message = format!("constraint \"{name}\" for relation \"{table}\" already exists");
                Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message))
            }
        };
    }
    let mut mentioned = vec![];
    for column in columns {
        if mentions(&sql, column)? {
            mentioned.push(column.as_str());
        }
    }
    let base = match (&check.column, &mentioned[..]) {
        (Some(column), _) => format!("{table}_{}_check", fold(column)),
        (None, [column]) => format!("{table}_{column}_check"),
        (None, _) => format!("{table}_check"),
    };
    Ok(Check { name: free(&base, &taken), sql })
}

/// A name that is not taken: as it is, or numbered.
pub fn free(base: &str, taken: &[String]) -> String {
    let numbered = (1..).map(|number| format!("{base}{number}"));
    let names = std::iter::once(base.to_owned()).chain(numbered);
    names.into_iter().find(|name| !taken.contains(name)).unwrap_or_default()
}

/// The place of a key's column.
pub fn position(columns: &[String], name: &Ident) -> Result<usize> {
    let name = fold(name);
    columns.iter().position(|column| *column == name).ok_or_else(|| {
        SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" named in key does not exist"))
    })
}
