//! ALTER.

use super::columns;
use super::create;
use super::cursor::Cursor;
use super::failure::Parsed;
use super::sequence;
use super::statement::{Alter, AlterAction, ObjectKind, SetTime, Statement};
use sqlparser::tokenizer::Token;

/// A statement that starts with ALTER.
pub fn alter(cursor: &mut Cursor) -> Parsed<Statement> {
    cursor.expect("alter")?;
    if cursor.accept_one(&["system set clock to", "system set clock"]).is_some() {
        cursor.accept_token(&Token::Eq);
        return cursor.expression().map(|to| Statement::SetTime(SetTime::Clock(to)));
    }
    let Some(kind) = create::kind(cursor) else { return super::unsupported::alter(cursor) };
    let if_exists = cursor.accept("if exists");
    cursor.accept("only");
    let name = cursor.name()?;
    let actions = match kind {
        ObjectKind::Sequence if !cursor.peeks("rename") && !cursor.peeks("owner") && !cursor.peeks("set") => {
            vec![AlterAction::Sequence(sequence::options(cursor)?)]
        }
        _ => cursor.list(action)?,
    };
    Ok(Statement::Alter(Alter { kind, name, if_exists, actions }))
}

fn action(cursor: &mut Cursor) -> Parsed<AlterAction> {
    let words = [
        "rename to",
        "rename constraint",
        "rename column",
        "rename",
        "set schema",
        "owner to",
        "add",
        "drop",
        "alter column",
        "alter",
    ];
    match cursor.accept_one(&words) {
        Some("rename to") => Ok(AlterAction::RenameTo(cursor.identifier()?)),
        Some("rename constraint") => {
            let from = cursor.identifier()?;
            cursor.expect("to")?;
            Ok(AlterAction::RenameConstraint { from, to: cursor.identifier()? })
        }
        Some("rename column" | "rename") => {
            let from = cursor.identifier()?;
            cursor.expect("to")?;
            Ok(AlterAction::RenameColumn { from, to: cursor.identifier()? })
        }
        Some("set schema") => Ok(AlterAction::SetSchema(cursor.identifier()?)),
        Some("owner to") => Ok(AlterAction::OwnerTo(cursor.identifier()?)),
        Some("add") => add(cursor),
        Some("drop") => drop_part(cursor),
        Some(_) => alter_column(cursor),
        None => {
            let action = cursor.peek_word().unwrap_or_default().to_uppercase();
            cursor.unsupported(format!("ALTER ... {action}"))
        }
    }
}

/// After ADD.
fn add(cursor: &mut Cursor) -> Parsed<AlterAction> {
    let is_column = cursor.accept("column");
    let if_not_exists = cursor.if_not_exists();
    if cursor.peeks("like") || cursor.peeks("exclude") {
        return cursor.unexpected();
    }
    let mut added = columns::element(cursor)?;
    cursor.accept("not valid");
    if let Some(foreign) = added.foreign_keys.pop() {
        return match added.columns.is_empty() && !is_column {
            true => Ok(AlterAction::AddForeignKey(foreign)),
            false => cursor.unsupported("ADD COLUMN with REFERENCES"),
        };
    }
    let action = match (added.columns.pop(), added.primary_key, added.unique.pop(), added.checks.pop()) {
        (Some(column), _, _, check) => {
            let checks = added.checks.into_iter().chain(check).collect();
            Some(AlterAction::AddColumn { column, checks, if_not_exists })
        }
        (None, Some(key), ..) => Some(AlterAction::AddKey { key, primary: true }),
        (None, None, Some(key), _) => Some(AlterAction::AddKey { key, primary: false }),
        (None, None, None, Some(check)) => Some(AlterAction::AddCheck(check)),
        (None, None, None, None) => None,
    };
    match action.filter(|action| !is_column || matches!(action, AlterAction::AddColumn { .. })) {
        Some(action) => Ok(action),
        None => cursor.unexpected(),
    }
}

/// After DROP.
fn drop_part(cursor: &mut Cursor) -> Parsed<AlterAction> {
    let constraint = cursor.accept("constraint");
    if !constraint {
        cursor.accept("column");
    }
    let if_exists = cursor.accept("if exists");
    let name = cursor.identifier()?;
    let cascade = create::cascade(cursor);
    Ok(match constraint {
        true => AlterAction::DropConstraint { name, if_exists },
        false => AlterAction::DropColumn { name, if_exists, cascade },
    })
}

/// After ALTER COLUMN.
fn alter_column(cursor: &mut Cursor) -> Parsed<AlterAction> {
    let column = cursor.identifier()?;
    let words = ["set default", "drop default", "set not null", "drop not null", "set data type", "type"];
    Ok(match cursor.accept_one(&words) {
        Some("set default") => AlterAction::SetDefault { column, default: Some(columns::default(cursor)?) },
        Some("drop default") => AlterAction::SetDefault { column, default: None },
        Some("set not null") => AlterAction::SetNotNull { column, not_null: true },
        Some("drop not null") => AlterAction::SetNotNull { column, not_null: false },
        Some(_) => {
            let sql_type = columns::column_type(cursor)?;
            if cursor.accept("collate") {
                cursor.name()?;
            }
            let using = match cursor.accept("using") {
                true => Some(cursor.with_text(Cursor::expression)?.1),
                false => None,
            };
            AlterAction::SetType { column, sql_type, using }
        }
        None => {
            let what = cursor.peek_word().unwrap_or_default().to_uppercase();
            return cursor.unsupported(format!("ALTER COLUMN ... {what}"));
        }
    })
}
