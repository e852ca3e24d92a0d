//! CREATE SEQUENCE, ALTER SEQUENCE, and the sequences of numbered columns.

use super::answer::done;
use super::context::Context;
use super::create_table::free;
use super::create_view::already_there;
use crate::coordinator::{Definition, Parts, Position, machine_now, sequence_columns};
use crate::session::Session;
use millrace_catalog::{Change, Relation, RelationKind, Sequence};
use millrace_planner::parse::{CreateSequence, CreateTable, GeneratedColumn, SequenceOptions, fold, name_parts};
use millrace_types::{RelationId, Result, SqlError, SqlState, SqlType};
use millrace_wire::Response;
use std::sync::Arc;

pub async fn create(session: &mut Session, create: &CreateSequence, text: &str) -> Result<Response> {
    let context = Context::new(session, session.published(), text);
    let taken = context.new_name(&name_parts(&create.name))?;
    if create.if_not_exists
        && let Some(response) = already_there(session, &context, &taken, "CREATE SEQUENCE")
    {
        return Ok(response);
    }
    context.published.catalog.check_new_relation(&taken.0, &taken.1)?;
    let sequence = sequence(&create.options, SqlType::Int8, None)?;
    let relation = relation(session, taken, sequence, text.trim().trim_end_matches(';').to_owned());
    define(session, relation).await?;
    done("CREATE SEQUENCE")
}

/// Makes a sequence that stands before its first number.
pub async fn define(session: &mut Session, relation: Relation) -> Result<()> {
    let RelationKind::Sequence(sequence) = &relation.kind else {
        return Err(SqlError::internal("a sequence is a sequence"));
    };
    let (id, position) = (relation.id, Position { last: sequence.start, called: false });
    super::create_view::define(session, relation, Parts::default(), false).await?;
    session.database.coordinator.set_position(id, position)
}

fn relation(session: &Session, name: (String, String), sequence: Sequence, sql: String) -> Relation {
    Relation {
        id: session.database.coordinator.allocate(1),
        schema: name.0,
        name: name.1,
        kind: RelationKind::Sequence(sequence),
        columns: sequence_columns(),
        sql,
        depends_on: vec![],
        seen: vec![],
        owner: session.user.clone(),
        comment: None,
        watermark: None,
        event_time: None,
        time_zone: None,
        append_only: false,
        created_at: machine_now().0,
        indexes: vec![],
    }
}

/// The sequences that the numbered columns of a new table need; the columns get their defaults.
///
/// # Errors
/// `22023` for a type that has no numbers, `42601` for a numbered column with a DEFAULT.
pub fn of_columns(
    session: &Session,
    context: &Context,
    create: &CreateTable,
    table: &mut Relation,
) -> Result<Vec<Relation>> {
    let mut sequences: Vec<Relation> = vec![];
    for (index, definition) in create.columns.iter().enumerate() {
        let (options, word) = match &definition.generated {
            Some(GeneratedColumn::Identity { options, .. }) => (options.clone(), "identity"),
            Some(GeneratedColumn::Serial) => (SequenceOptions::default(), "serial"),
            _ => continue,
        };
        let column = fold(&definition.name);
        if definition.default.is_some() {
            let message =
                format!("multiple default values specified for column \"{column}\" of table \"{}\"", table.name);
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        if !matches!(definition.sql_type, SqlType::Int2 | SqlType::Int4 | SqlType::Int8) {
            let message = format!("{word} column type must be smallint, integer, or bigint");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let base = format!("{}_{column}_seq", table.name);
        let numbered = (0..).map(|number| if number == 0 { base.clone() } else { format!("{base}{number}") });
        let made: Vec<_> = sequences.iter().map(|sequence| sequence.name.clone()).collect();
        let is_free = |name: &String| {
            context.published.catalog.check_new_relation(&table.schema, name).is_ok() && !made.contains(name)
        };
        let name = numbered.into_iter().find(is_free).unwrap_or_else(|| free(&base, &made));
        let sequence = sequence(&options, definition.sql_type.clone(), Some((table.id, index)))?;
        let sql = format!("CREATE SEQUENCE {name}");
        let made = relation(session, (table.schema.clone(), name), sequence, sql);
        table.columns[index].default = Some(default_of(&made));
        table.depends_on.push(made.id);
        sequences.push(made);
    }
    Ok(sequences)
}

/// The default of a column that a sequence numbers, as Postgres shows it.
fn default_of(sequence: &Relation) -> String {
    let name = match sequence.schema.as_str() {
        millrace_catalog::DEFAULT_SCHEMA => quoted(&sequence.name),
        schema => format!("{}.{}", quoted(schema), quoted(&sequence.name)),
    };
    format!("nextval('{name}'::regclass)")
}

/// Names the sequences of a table that moves to another schema as they will be called there.
pub fn follow(context: &Context, table: &mut Relation) {
    for sequence in context.published.catalog.relations().filter(|relation| relation.owner_table() == Some(table.id)) {
        let moved = Relation { schema: table.schema.clone(), ..Relation::clone(sequence) };
        for column in table.columns.iter_mut().filter(|column| column.default == Some(default_of(sequence))) {
            column.default = Some(default_of(&moved));
        }
    }
}

fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// A sequence with Postgres's bounds where nothing is said.
fn sequence(options: &SequenceOptions, sql_type: SqlType, owned_by: Option<(RelationId, usize)>) -> Result<Sequence> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let sql_type = options.sql_type.clone().unwrap_or(sql_type);
    let (least, greatest) = match sql_type {
        SqlType::Int2 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        SqlType::Int4 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        SqlType::Int8 => (i64::MIN, i64::MAX),
        _ => return Err(invalid("sequence type must be smallint, integer, or bigint".to_owned())),
    };
    let increment = options.increment.unwrap_or(1);
    if increment == 0 {
        return Err(invalid("INCREMENT must not be zero".to_owned()));
    }
    let up = increment > 0;
    let min = options.min.unwrap_or(if up { 1 } else { least });
    let max = options.max.unwrap_or(if up { greatest } else { -1 });
    if min >= max {
        return Err(invalid(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})")));
    }
    let start = options.start.unwrap_or(if up { min } else { max });
    if start < min {
        return Err(invalid(format!("START value ({start}) cannot be less than MINVALUE ({min})")));
    }
    if start > max {
        return Err(invalid(format!("START value ({start}) cannot be greater than MAXVALUE ({max})")));
    }
    Ok(Sequence { sql_type, start, increment, min, max, cycle: options.cycle, owned_by })
}

/// ALTER SEQUENCE: other steps and bounds, or another place.
pub async fn alter(session: &mut Session, before: &Arc<Relation>, options: &SequenceOptions) -> Result<()> {
    let RelationKind::Sequence(old) = &before.kind else {
        let message = format!("\"{}\" is not a sequence", before.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
    };
    let merged = SequenceOptions {
        sql_type: options.sql_type.clone().or(Some(old.sql_type.clone())),
        start: options.start.or(Some(old.start)),
        increment: options.increment.or(Some(old.increment)),
        min: options.min.or(Some(old.min)),
        max: options.max.or(Some(old.max)),
        cycle: options.cycle || old.cycle,
        restart: None,
    };
    let sequence = sequence(&merged, SqlType::Int8, old.owned_by)?;
    let start = sequence.start;
    let after = Relation { kind: RelationKind::Sequence(sequence), ..Relation::clone(before) };
    session.database.coordinator.define(Definition::Alter(Change::Replace(after))).await?;
    if let Some(restart) = options.restart {
        let position = Position { last: restart.unwrap_or(start), called: false };
        session.database.coordinator.set_position(before.id, position)?;
    }
    Ok(())
}
