//! Foreign keys: their definitions, and what becomes of rows that refer to what a statement deletes or changes.

use super::context::Context;
use super::create_table::{free, position};
use super::returning::check_rows;
use super::truncate::check_stored;
use crate::coordinator::{Published, Reference, Writes};
use crate::reading::Snapshot;
use crate::session::Session;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, take};
use millrace_catalog::{Catalog, Deferral, ForeignKey, Index, Key, ReferentialAction, Relation, RelationKind};
use millrace_planner::bind::{Checks, GeneratedColumns};
use millrace_planner::parse::{self, ForeignKeyDefinition, fold, name_parts};
use millrace_types::{Delta, RelationId, Result, SqlError, SqlState, SqlType, Weights};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Adds a foreign key to a table, with an index of its columns.
///
/// # Errors
/// `42830` without such a key, `42804` for columns of types that do not go together, and what naming things says.
pub fn add(
    context: &Context,
    relation: &mut Relation,
    definition: &ForeignKeyDefinition,
    id: RelationId,
) -> Result<()> {
    let names: Vec<String> = relation.columns.iter().map(|column| column.name.clone()).collect();
    let own = definition.columns.iter().map(|column| referring(&names, column)).collect::<Result<Vec<_>>>()?;
    let parent = parent(context, relation, &name_parts(&definition.table))?;
    let key = referred_key(&parent, definition)?;
    let joined: Vec<String> = definition.columns.iter().map(fold).collect();
    let base = format!("{}_{}_fkey", relation.name, joined.join("_"));
    let taken: Vec<String> = constraint_names(relation).collect();
    let name = definition.name.as_ref().map_or_else(|| free(&base, &taken), fold);
    if taken.contains(&name) {
        let message = format!("constraint \"{name}\" for relation \"{}\" already exists", relation.name);
        return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message));
    }
    let columns = ordered(&own, &key, &parent, definition)?;
    for (own, referred) in columns.iter().zip(&key.columns) {
        check_types(&name, relation, *own, &parent, *referred)?;
    }
    let action = |action| match action {
        parse::ReferentialAction::NoAction | parse::ReferentialAction::Restrict => ReferentialAction::Refuse,
        parse::ReferentialAction::Cascade => ReferentialAction::Cascade,
        parse::ReferentialAction::SetNull => ReferentialAction::SetNull,
    };
    let deferral = match definition.deferral {
        parse::Deferral::Never => Deferral::Never,
        parse::Deferral::Immediate => Deferral::Immediate,
        parse::Deferral::Deferred => Deferral::Deferred,
    };
    let (on_delete, on_update) = (action(definition.on_delete), action(definition.on_update));
    let index = Key { name: name.clone(), index: id, columns };
    let sql = format!("({})", joined.join(", "));
    relation.indexes.push(Index { key: index, unique: false, ordered: false, sql, comment: None });
    let foreign = ForeignKey { name, index: id, table: parent.id, key: key.index, on_delete, on_update, deferral };
    if let RelationKind::Table(table) = &mut relation.kind {
        table.foreign_keys.push(foreign);
    }
    Ok(())
}

fn constraint_names(relation: &Relation) -> impl Iterator<Item = String> {
    let checks = relation.checks().iter().map(|check| check.name.clone());
    checks.chain(relation.index_keys().map(|key| key.name.clone()))
}

fn referring(names: &[String], column: &sqlparser::ast::Ident) -> Result<usize> {
    position(names, column).map_err(|_| {
        let message = format!("column \"{}\" referenced in foreign key constraint does not exist", fold(column));
        SqlError::new(SqlState::UNDEFINED_COLUMN, message)
    })
}

/// The table that is referred to, which may be the one that is being made.
fn parent(context: &Context, relation: &Relation, name: &[String]) -> Result<Relation> {
    let is_own = match name {
        [name] => *name == relation.name,
        [schema, name] => *schema == relation.schema && *name == relation.name,
        _ => false,
    };
    if is_own {
        return Ok(relation.clone());
    }
    let found = context.resolve(name)?;
    match check_stored(found) {
        Ok(()) => Ok(Relation::clone(found)),
        Err(_) => {
            let message = format!("referenced relation \"{}\" is not a table", found.name);
            Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
    }
}

fn referred_key(parent: &Relation, definition: &ForeignKeyDefinition) -> Result<Key> {
    let invalid = |message: String| Err(SqlError::new(SqlState("42830"), message));
    if definition.referred.is_empty() {
        let primary = match &parent.kind {
            RelationKind::Table(table) => table.primary_key.clone(),
            _ => None,
        };
        let message = format!("there is no primary key for referenced table \"{}\"", parent.name);
        return primary.ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, message));
    }
    if definition.referred.len() != definition.columns.len() {
        return invalid("number of referencing and referenced columns for foreign key disagree".to_owned());
    }
    let names: Vec<String> = parent.columns.iter().map(|column| column.name.clone()).collect();
    let wanted: HashSet<usize> =
        definition.referred.iter().map(|column| referring(&names, column)).collect::<Result<_>>()?;
    let mut keys = parent.unique_keys();
    match keys.find(|key| key.columns.len() == wanted.len() && key.columns.iter().all(|column| wanted.contains(column)))
    {
        Some(key) => Ok(key.clone()),
        None => {
            let message =
                format!("there is no unique constraint matching given keys for referenced table \"{}\"", parent.name);
            invalid(message)
        }
    }
}

/// The referring columns in the order of those of the key.
fn ordered(own: &[usize], key: &Key, parent: &Relation, definition: &ForeignKeyDefinition) -> Result<Vec<usize>> {
    if own.len() != key.columns.len() {
        let message = "number of referencing and referenced columns for foreign key disagree";
        return Err(SqlError::new(SqlState("42830"), message));
    }
    if definition.referred.is_empty() {
        return Ok(own.to_vec());
    }
    let names: Vec<String> = definition.referred.iter().map(fold).collect();
    let place = |column: &usize| names.iter().position(|name| *name == parent.columns[*column].name);
    Ok(key.columns.iter().filter_map(place).filter_map(|place| own.get(place).copied()).collect())
}

fn check_types(name: &str, child: &Relation, own: usize, parent: &Relation, referred: usize) -> Result<()> {
    use SqlType::{Bpchar, Int2, Int4, Int8, Numeric, Text, Varchar};
    let (own, referred) = (&child.columns[own], &parent.columns[referred]);
    let kind = |sql_type: &SqlType| match sql_type {
        Int2 | Int4 | Int8 => Some(0),
        Text | Varchar(_) => Some(1),
        Bpchar(_) => Some(2),
        Numeric(_) => Some(3),
        _ => None,
    };
    let (a, b) = (&own.sql_type, &referred.sql_type);
    if a == b || (kind(a).is_some() && kind(a) == kind(b)) {
        return Ok(());
    }
    let message = format!("foreign key constraint \"{name}\" cannot be implemented");
    let detail =
        format!("Key columns \"{}\" and \"{}\" are of incompatible types: {a} and {b}.", own.name, referred.name);
    Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message).with_detail(detail))
}

/// Refuses to empty tables to which others refer.
pub fn check_truncated(tables: &[RelationId], catalog: &Catalog) -> Result<()> {
    for table in tables.iter().filter_map(|table| catalog.get(*table)) {
        if let Some(reference) = Reference::to(table, catalog).iter().find(|known| !tables.contains(&known.child.id)) {
            let detail = format!("Table \"{}\" references \"{}\".", reference.child.name, table.name);
            let message = "cannot truncate a table referenced in a foreign key constraint";
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message).with_detail(detail));
        }
    }
    Ok(())
}

/// The changes of a statement with what follows from them for rows that refer to what it deletes or changes. `before`
/// are the changes of its transaction until then.
pub fn follow(session: &Session, published: &Arc<Published>, mut writes: Writes) -> Result<Writes> {
    let before = &session.transaction.writes;
    let mut done: HashMap<RelationId, usize> = HashMap::new();
    loop {
        let mut next = Writes::default();
        for (table, deltas) in writes.iter() {
            let first = done.insert(table, deltas.len()).unwrap_or(0);
            let Some(relation) = published.catalog.get(table) else { continue };
            if deltas[first..].iter().all(only_inserts) {
                continue;
            }
            let mut references = Reference::to(relation, &published.catalog);
            references.retain(|reference| {
                let ForeignKey { on_delete, on_update, .. } = reference.foreign;
                (on_delete, on_update) != (ReferentialAction::Refuse, ReferentialAction::Refuse)
            });
            for (reference, delta) in references.iter().flat_map(|r| deltas[first..].iter().map(move |d| (r, d))) {
                let mut so_far = before.clone();
                so_far.append(writes.clone());
                so_far.append(next.clone());
                let snapshot = Snapshot { published: published.clone(), writes: Arc::new(so_far), reads: None };
                following(session, reference, delta, &snapshot)?
                    .into_iter()
                    .for_each(|delta| next.add(reference.child.id, delta));
            }
        }
        if next.is_empty() {
            return Ok(writes);
        }
        writes.append(next);
    }
}

fn only_inserts(delta: &Delta) -> bool {
    (0..delta.len()).all(|row| delta.weight(row) > 0)
}

/// What becomes of the rows that refer to keys that a change of their table takes away.
fn following(session: &Session, reference: &Reference, delta: &Delta, snapshot: &Snapshot) -> Result<Vec<Delta>> {
    let part = |sign: i64| -> UInt32Array {
        (0..delta.len()).filter(|row| delta.weight(*row).signum() == sign).map(|row| row as u32).collect()
    };
    let (old, new) = (part(-1), part(1));
    if old.is_empty() {
        return Ok(vec![]);
    }
    // The rows of an UPDATE go, and come in the same order.
    let is_update = old.len() == new.len();
    let action = if is_update { reference.foreign.on_update } else { reference.foreign.on_delete };
    if action == ReferentialAction::Refuse {
        return Ok(vec![]);
    }
    let keys = |places: &UInt32Array| -> Result<Vec<ArrayRef>> {
        let columns = reference.referred(delta.rows());
        columns.iter().map(|column| Ok(take(column, places, None)?)).collect()
    };
    let (gone, come) = (keys(&old)?, if is_update { Some(keys(&new)?) } else { None });
    let mut changes = vec![];
    for row in 0..old.len() {
        let one = |keys: &[ArrayRef]| keys.iter().map(|column| column.slice(row, 1)).collect::<Vec<_>>();
        let (gone, come) = (one(&gone), come.as_deref().map(one));
        if come.as_ref() == Some(&gone) || gone.iter().any(|column| column.is_null(0)) {
            continue;
        }
        let model = snapshot.index(reference.child.id, reference.foreign.index)?;
        let rows = model.lookup(&reference.as_referring(&gone)?)?;
        if rows.num_rows() == 0 {
            continue;
        }
        changes.push(changed(session, reference, rows, action, come)?);
    }
    Ok(changes)
}

/// Rows that go, or that get other values instead of those by which they refer.
fn changed(
    session: &Session,
    reference: &Reference,
    rows: RecordBatch,
    action: ReferentialAction,
    key: Option<Vec<ArrayRef>>,
) -> Result<Delta> {
    let count = rows.num_rows();
    let values: Vec<ArrayRef> = match (action, key) {
        (ReferentialAction::Cascade, None) => return Ok(Delta::new(rows, Weights::Each(vec![-1; count].into()))),
        (ReferentialAction::Cascade, Some(key)) => {
            let first = UInt32Array::from(vec![0; count]);
            let key = reference.as_referring(&key)?;
            key.iter().map(|column| Ok(take(column, &first, None)?)).collect::<Result<_>>()?
        }
        _ => {
            let columns = reference.columns.iter().map(|column| &reference.child.columns[*column]);
            columns.map(|column| new_null_array(&column.sql_type.arrow(), count)).collect()
        }
    };
    let mut columns = rows.columns().to_vec();
    for (column, value) in reference.columns.iter().zip(values) {
        columns[*column] = cast(&value, rows.column(*column).data_type())?;
    }
    let schema = crate::coordinator::nullable(&rows.schema());
    let new = checked(session, &reference.child, RecordBatch::try_new(schema, columns)?)?;
    super::update::replacement(rows, new, &vec![1; count])
}

/// New rows of a table with its generated columns filled in, which its constraints allow.
fn checked(session: &Session, table: &Relation, rows: RecordBatch) -> Result<RecordBatch> {
    let context = Context::new(session, session.published(), "");
    let name = [table.schema.clone(), table.name.clone()];
    let gone = || SqlError::new(SqlState::UNDEFINED_TABLE, "a table of the transaction was dropped meanwhile");
    let relation = millrace_planner::Catalog::relation(&context, &name)?.ok_or_else(gone)?;
    let rows = GeneratedColumns::of(&relation, &context, &context.functions)?.fill(rows)?;
    check_rows(&relation, &Checks::of(&relation, &context, &context.functions)?, &rows)?;
    Ok(rows)
}
