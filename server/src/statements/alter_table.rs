//! The actions of ALTER TABLE on columns and constraints, and what they ask of the rows.

use super::alter::{mentions, readers};
use super::context::Context;
use super::create_table::{column, free, named_check, position};
use super::returning::evaluate;
use super::{references, sequences};
use crate::coordinator::{Definition, EachRow, Reshape, nullable, schema_of, store_anew};
use crate::session::Session;
use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use millrace_catalog::{Change, Check, Generated, Key, Relation, RelationKind, TableDefinition};
use millrace_planner::bind::{RowExpressions, bind_check, bind_default, bind_generated};
use millrace_planner::parse::{AlterAction, CheckDefinition, ColumnDefinition, GeneratedColumn, KeyDefinition, fold};
use millrace_types::{RelationId, Result, SqlError, SqlState, SqlType};
use millrace_wire::Notice;
use sqlparser::ast::Ident;
use std::sync::Arc;

/// A relation being altered.
pub struct Altering<'a> {
    pub context: &'a Context,
    before: Arc<Relation>,
    pub after: Relation,
    /// For each column of `after` where its values come from.
    origins: Vec<Origin>,
    /// What every row must pass.
    tests: Vec<Test>,
    /// Sequences of columns that are added.
    sequences: Vec<Relation>,
}

/// Where the values of a column come from.
enum Origin {
    /// From this column of the rows that are there.
    Column(usize),
    /// From an expression over them.
    Expression(RowExpressions),
}

enum Test {
    NotNull { column: usize, error: SqlError },
    Holds { check: RowExpressions, error: SqlError },
}

impl<'a> Altering<'a> {
    pub fn new(context: &'a Context, before: Arc<Relation>) -> Altering<'a> {
        let after = Relation::clone(&before);
        let origins = (0..after.columns.len()).map(Origin::Column).collect();
        Altering { context, before, after, origins, tests: vec![], sequences: vec![] }
    }

    /// An action that only tables know.
    pub fn table_action(&mut self, session: &mut Session, action: &AlterAction) -> Result<()> {
        if !matches!(&self.after.kind, RelationKind::Table(table) if table.options.is_empty()) {
            let message = format!("\"{}\" is not a table", self.after.name);
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        match action {
            AlterAction::AddColumn { column, checks, if_not_exists } => {
                self.add_column(session, column, checks, *if_not_exists)
            }
            AlterAction::DropColumn { name, if_exists, .. } => self.drop_column(session, name, *if_exists),
            AlterAction::SetDefault { column, default } => self.set_default(column, default),
            AlterAction::SetNotNull { column, not_null } => self.set_not_null(column, *not_null),
            AlterAction::SetType { column, sql_type, using } => self.set_type(column, sql_type, using.as_deref()),
            AlterAction::AddKey { key, primary } => self.add_key(session, key, *primary),
            AlterAction::AddCheck(check) => self.add_check(check),
            AlterAction::AddForeignKey(foreign) => {
                self.table()?;
                references::add(self.context, &mut self.after, foreign, session.database.coordinator.allocate(1))
            }
            AlterAction::DropConstraint { name, if_exists } => self.drop_constraint(session, name, *if_exists),
            other => Err(SqlError::internal(format!("no action on a table: {other:?}"))),
        }
    }

    /// Puts the changed definition in the place of the old one.
    pub async fn finish(self, session: &mut Session) -> Result<()> {
        let Altering { context, before, mut after, origins, tests, sequences } = self;
        if *before == after {
            return Ok(());
        }
        keep_what_readers_rest_on(context, &before, &after)?;
        let coordinator = &session.database.clone().coordinator;
        let moved = before.schema != after.schema;
        if moved {
            sequences::follow(context, &mut after);
        }
        if !matches!(after.kind, RelationKind::Table(_)) {
            coordinator.define(Definition::Alter(Change::Replace(after))).await?;
            return Ok(());
        }
        for sequence in sequences {
            sequences::define(session, sequence).await?;
        }
        let unchanged = origins.len() == before.columns.len()
            && origins.iter().enumerate().all(|(at, origin)| matches!(origin, Origin::Column(from) if *from == at));
        if !unchanged {
            store_anew(&mut after, coordinator.allocate(1));
        }
        let schema = nullable(&schema_of(&after));
        let rows: Option<EachRow> = match unchanged && tests.is_empty() {
            true => None,
            false => Some(Box::new(move |rows| each(rows, &origins, &tests, &schema))),
        };
        let (id, schema) = (after.id, after.schema.clone());
        coordinator.define(Definition::Reshape(Reshape { before, after, rows })).await?;
        match moved {
            true => move_sequences(session, id, &schema).await,
            false => Ok(()),
        }
    }

    fn position(&self, ident: &Ident) -> Result<usize> {
        let name = fold(ident);
        self.after.column_index(&name).ok_or_else(|| {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", self.after.name);
            SqlError::new(SqlState::UNDEFINED_COLUMN, message)
        })
    }

    fn table(&mut self) -> Result<&mut TableDefinition> {
        match &mut self.after.kind {
            RelationKind::Table(table) => Ok(table),
            _ => Err(SqlError::internal("only tables get here")),
        }
    }

    fn add_column(
        &mut self,
        session: &mut Session,
        definition: &ColumnDefinition,
        checks: &[CheckDefinition],
        if_not_exists: bool,
    ) -> Result<()> {
        let name = fold(&definition.name);
        if self.after.column_index(&name).is_some() {
            let message = format!("column \"{name}\" of relation \"{}\" already exists", self.after.name);
            if !if_not_exists {
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message));
            }
            session.notice(Notice::plain(format!("{message}, skipping")));
            return Ok(());
        }
        let old = schema_of(&self.before);
        let mut added = column(definition, false);
        if let Some(GeneratedColumn::Identity { .. } | GeneratedColumn::Serial) = &definition.generated {
            return Err(SqlError::unsupported("adding a numbered column")
                .with_hint("CREATE SEQUENCE, and ADD COLUMN ... DEFAULT nextval('...')."));
        }
        let field = millrace_types::field_of(&added.name, &added.sql_type, true);
        let context = self.context;
        let values = match (&added.generated, &added.default) {
            (Some(Generated::Stored(text)), _) => {
                bind_generated(text, &field, &self.before.name, &old, context, &context.functions)?
            }
            (_, Some(default)) => bind_default(&without_regclass(default), &field, context, &context.functions)?,
            _ => bind_default("NULL", &field, context, &context.functions)?,
        };
        let at = self.after.columns.len();
        self.origins.push(Origin::Expression(values));
        if std::mem::take(&mut added.not_null) {
            self.after.columns.push(added);
            self.set_not_null(&definition.name, true)?;
        } else {
            self.after.columns.push(added);
        }
        for check in checks {
            self.add_check(check)?;
        }
        let key = KeyDefinition { name: None, columns: vec![definition.name.clone()] };
        if definition.primary_key {
            self.add_key(session, &key, true)?;
        }
        if definition.unique {
            self.add_key(session, &key, false)?;
        }
        debug_assert_eq!(self.origins.len(), at + 1);
        Ok(())
    }

    fn drop_column(&mut self, session: &mut Session, name: &Ident, if_exists: bool) -> Result<()> {
        let at = match self.position(name) {
            Err(error) if if_exists => {
                session.notice(Notice::plain(format!("{}, skipping", error.message())));
                return Ok(());
            }
            found => found?,
        };
        let name = fold(name);
        self.refuse_readers(&format!("cannot drop column {name} of table {}", self.after.name))?;
        for column in self.after.columns.iter().filter(|column| column.name != name) {
            if let Some(Generated::Stored(expression)) = &column.generated
                && mentions(expression, &name)?
            {
                let message = format!(
                    "cannot drop column {name} of table {} because other objects depend on it",
                    self.after.name
                );
                let detail = format!("column {} depends on column {name}", column.name);
                let error = SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message);
                return Err(error.with_detail(detail).with_hint("Drop that column first."));
            }
        }
        self.refuse_watermark(at, true)?;
        self.after.columns.remove(at);
        self.origins.remove(at);
        let keeps = |key: &Key| !key.columns.contains(&at);
        let shift = |key: &mut Key| {
            key.columns.iter_mut().filter(|column| **column > at).for_each(|column| *column -= 1);
        };
        self.after.indexes.retain(|index| keeps(&index.key));
        self.after.indexes.iter_mut().for_each(|index| shift(&mut index.key));
        let table = self.table()?;
        table.primary_key = table.primary_key.take().filter(keeps);
        table.unique.retain(keeps);
        table.primary_key.iter_mut().chain(&mut table.unique).for_each(shift);
        let mut checks = vec![];
        for check in std::mem::take(&mut table.checks) {
            if !mentions(&check.sql, &name)? {
                checks.push(check);
            }
        }
        table.checks = checks;
        Ok(())
    }

    /// Refuses what would take away from views what they read.
    fn refuse_readers(&self, what: &str) -> Result<()> {
        let readers = readers(self.context, &self.before);
        if readers.is_empty() {
            return Ok(());
        }
        let lines = readers
            .iter()
            .map(|reader| format!("{} {} depends on table {}", reader.kind.noun(), reader.name, self.before.name));
        let message = format!("{what} because other objects depend on it");
        Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
            .with_detail(lines.collect::<Vec<_>>().join("\n"))
            .with_hint("Drop the dependent objects first, and create them again afterwards."))
    }

    /// Refuses what would take away from the watermark a column that it rests on; `is_drop`: or move one.
    fn refuse_watermark(&self, at: usize, is_drop: bool) -> Result<()> {
        let Some(watermark) = &self.after.watermark else { return Ok(()) };
        let (name, table) = (&self.after.columns[at].name, &self.after.name);
        let rests_on = |at: usize| match self.after.event_time {
            Some(time) if time == at => Ok(true),
            _ => mentions(&watermark.sql, &self.after.columns[at].name),
        };
        if rests_on(at)? {
            let message = format!("cannot alter column {name} of table {table} because its watermark depends on it");
            return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .with_hint("Create the table again with another WATERMARK FOR."));
        }
        for behind in at + 1..self.after.columns.len() {
            if is_drop && rests_on(behind)? {
                return Err(SqlError::unsupported("dropping a column that stands before those of the watermark"));
            }
        }
        Ok(())
    }

    fn set_default(&mut self, column: &Ident, default: &Option<String>) -> Result<()> {
        let at = self.position(column)?;
        if self.after.columns[at].generated.is_some() {
            let message =
                format!("column \"{}\" of relation \"{}\" is a generated column", fold(column), self.after.name);
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        if let Some(text) = default {
            let schema = schema_of(&self.after);
            bind_default(&without_regclass(text), schema.field(at), self.context, &self.context.functions)?;
        }
        self.after.columns[at].default.clone_from(default);
        Ok(())
    }

    fn set_not_null(&mut self, column: &Ident, not_null: bool) -> Result<()> {
        let at = self.position(column)?;
        let name = fold(column);
        if !not_null {
            let in_key = matches!(&self.after.kind, RelationKind::Table(TableDefinition { primary_key: Some(key), .. })
                if key.columns.contains(&at));
            if in_key {
                let message = format!("column \"{name}\" is in a primary key");
                return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
            }
        } else if !self.after.columns[at].not_null {
            let message = format!("column \"{name}\" of relation \"{}\" contains null values", self.after.name);
            let error = SqlError::new(SqlState::NOT_NULL_VIOLATION, message);
            self.tests.push(Test::NotNull { column: at, error });
        }
        self.after.columns[at].not_null = not_null;
        Ok(())
    }

    fn set_type(&mut self, column: &Ident, sql_type: &SqlType, using: Option<&str>) -> Result<()> {
        let at = self.position(column)?;
        let name = fold(column);
        if self.after.columns[at].sql_type == *sql_type && using.is_none() {
            return Ok(());
        }
        if !readers(self.context, &self.before).is_empty() {
            return Err(SqlError::unsupported("altering the type of a column of a table that views read")
                .with_hint("Drop the views first, and create them again afterwards."));
        }
        self.refuse_watermark(at, false)?;
        let Origin::Column(from) = self.origins[at] else {
            return Err(SqlError::unsupported("altering the type of a column that the same statement adds"));
        };
        let (context, old) = (self.context, schema_of(&self.before));
        let field = millrace_types::field_of(&name, sql_type, true);
        let own = format!("\"{}\"", self.before.columns[from].name.replace('"', "\"\""));
        let values =
            bind_generated(using.unwrap_or(&own), &field, &self.before.name, &old, context, &context.functions);
        let values = values.map_err(|error| match error.state() {
            SqlState::DATATYPE_MISMATCH if using.is_none() => {
                let message = format!("column \"{name}\" cannot be cast automatically to type {sql_type}");
                SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                    .with_hint(format!("You might need to specify \"USING {name}::{sql_type}\"."))
            }
            _ => error,
        })?;
        self.origins[at] = Origin::Expression(values);
        self.after.columns[at].sql_type = sql_type.clone();
        if let Some(default) = &self.after.columns[at].default {
            bind_default(&without_regclass(default), &field, context, &context.functions)?;
        }
        Ok(())
    }

    fn add_key(&mut self, session: &Session, key: &KeyDefinition, primary: bool) -> Result<()> {
        let names: Vec<_> = self.after.columns.iter().map(|column| column.name.clone()).collect();
        let columns = key.columns.iter().map(|ident| position(&names, ident)).collect::<Result<Vec<_>>>()?;
        let table = self.after.name.clone();
        let joined: Vec<_> = key.columns.iter().map(fold).collect();
        let base = match (&key.name, primary) {
            (Some(name), _) => fold(name),
            (None, true) => format!("{table}_pkey"),
            (None, false) => format!("{table}_{}_key", joined.join("_")),
        };
        let taken: Vec<_> = self.after.index_keys().map(|key| key.name.clone()).collect();
        let name = if key.name.is_some() { base } else { free(&base, &taken) };
        if taken.contains(&name)
            || self.context.published.catalog.check_new_relation(&self.after.schema, &name).is_err()
        {
            return Err(SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists")));
        }
        let added = Key { name, index: session.database.coordinator.allocate(1), columns };
        if !primary {
            self.table()?.unique.push(added);
            return Ok(());
        }
        if self.table()?.primary_key.is_some() {
            let message = format!("multiple primary keys for table \"{table}\" are not allowed");
            return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
        }
        self.table()?.primary_key = Some(added);
        key.columns.iter().try_for_each(|column| self.set_not_null(column, true))
    }

    fn add_check(&mut self, definition: &CheckDefinition) -> Result<()> {
        let (context, table) = (self.context, self.after.name.clone());
        let checks = self.after.checks().to_vec();
        let names: Vec<_> = self.after.columns.iter().map(|column| column.name.clone()).collect();
        let check = named_check(definition, &table, &names, &checks)?;
        let bound = bind_check(&check.sql, &table, &schema_of(&self.after), context, &context.functions)?;
        let message = format!("check constraint \"{}\" of relation \"{table}\" is violated by some row", check.name);
        self.tests.push(Test::Holds { check: bound, error: SqlError::new(SqlState::CHECK_VIOLATION, message) });
        self.table()?.checks.push(check);
        Ok(())
    }

    fn drop_constraint(&mut self, session: &mut Session, name: &Ident, if_exists: bool) -> Result<()> {
        let name = fold(name);
        let table = self.table()?;
        let is_it = |key: &Key| key.name == name;
        let is_check = |check: &Check| check.name == name;
        if table.primary_key.as_ref().is_some_and(is_it) {
            table.primary_key = None;
        } else if table.unique.iter().any(is_it) {
            table.unique.retain(|key| !is_it(key));
        } else if table.checks.iter().any(is_check) {
            table.checks.retain(|check| !is_check(check));
        } else if let Some(foreign) = table.foreign_keys.iter().find(|foreign| foreign.name == name) {
            let index = foreign.index;
            table.foreign_keys.retain(|foreign| foreign.index != index);
            self.after.indexes.retain(|known| known.key.index != index);
        } else {
            let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", self.after.name);
            if !if_exists {
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
            session.notice(Notice::plain(format!("{message}, skipping")));
        }
        Ok(())
    }
}

/// The rows of a table as they will be.
///
/// # Errors
/// That of the first test that a row fails, and what expressions say of rows.
fn each(rows: &RecordBatch, origins: &[Origin], tests: &[Test], schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |origin: &Origin| match origin {
        Origin::Column(from) => Ok(rows.column(*from).clone()),
        Origin::Expression(expression) => Ok(evaluate(expression, rows, &[])?.column(0).clone()),
    };
    let columns = origins.iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    for test in tests {
        let failed = match test {
            Test::NotNull { column, error } => (rows.column(*column).null_count() > 0).then_some(error),
            Test::Holds { check, error } => {
                let holds = evaluate(check, &rows, &[])?;
                let holds = arrow::compute::cast(holds.column(0), &arrow::datatypes::DataType::Boolean)?;
                holds.as_boolean().iter().any(|holds| holds == Some(false)).then_some(error)
            }
        };
        if let Some(error) = failed {
            return Err(error.clone());
        }
    }
    Ok(rows)
}

/// Plans of views rest on what no two rows agree on.
fn keep_what_readers_rest_on(context: &Context, before: &Relation, after: &Relation) -> Result<()> {
    let key = |relation: &Relation| {
        let refuses_null = |column: &usize| relation.columns[*column].not_null;
        let mut keys = relation.unique_keys();
        keys.find(|key| key.columns.iter().all(refuses_null)).map(|key| key.index)
    };
    let lost = key(before).filter(|old| key(after) != Some(*old) && !after.unique_keys().any(|key| key.index == *old));
    let Some(constraint) = lost.and_then(|old| before.unique_keys().find(|key| key.index == old)) else {
        return Ok(());
    };
    let readers = readers(context, before);
    if readers.is_empty() {
        return Ok(());
    }
    let (name, table) = (&constraint.name, &before.name);
    let lines = readers
        .iter()
        .map(|reader| format!("{} {} depends on constraint {name} on table {table}", reader.kind.noun(), reader.name));
    let message = format!("cannot drop constraint {name} on table {table} because other objects depend on it");
    Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_detail(lines.collect::<Vec<_>>().join("\n"))
        .with_hint("Drop the dependent objects first, and create them again afterwards."))
}

/// The sequences of a table's columns go with it into another schema.
async fn move_sequences(session: &Session, table: RelationId, schema: &str) -> Result<()> {
    let catalog = session.published().catalog.clone();
    for sequence in catalog.relations().filter(|relation| relation.owner_table() == Some(table)) {
        let after = Relation { schema: schema.to_owned(), ..Relation::clone(sequence) };
        session.database.coordinator.define(Definition::Alter(Change::Replace(after))).await?;
    }
    Ok(())
}

/// The text of a default as it is planned: what `nextval` takes is a name.
pub fn without_regclass(default: &str) -> String {
    default.replace("'::regclass)", "')")
}
