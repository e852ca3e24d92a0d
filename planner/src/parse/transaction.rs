//! BEGIN, COMMIT, ROLLBACK and savepoints.

use super::cursor::Cursor;
use super::failure::Parsed;
use super::statement::{Statement, TransactionModes};
use sqlparser::tokenizer::Token;

/// A statement that starts or ends a transaction or a part of one.
pub fn transaction(cursor: &mut Cursor) -> Parsed<Statement> {
    if cursor.accept("start transaction") {
        return modes(cursor).map(|modes| Statement::Begin { modes, start: true });
    }
    if cursor.accept("savepoint") {
        return cursor.identifier().map(Statement::Savepoint);
    }
    if cursor.accept("release") {
        cursor.accept("savepoint");
        return cursor.identifier().map(Statement::Release);
    }
    let Some(verb) = cursor.accept_one(&["begin", "commit", "end", "rollback", "abort"]) else {
        return cursor.unexpected();
    };
    if cursor.peeks("prepared") {
        return cursor.unsupported("two-phase commit");
    }
    cursor.accept_one(&["work", "transaction"]);
    match verb {
        "begin" => modes(cursor).map(|modes| Statement::Begin { modes, start: false }),
        "commit" | "end" => Ok(Statement::Commit { chain: chain(cursor) }),
        _ if cursor.accept("to") => {
            cursor.accept("savepoint");
            cursor.identifier().map(Statement::RollbackTo)
        }
        _ => Ok(Statement::Rollback { chain: chain(cursor) }),
    }
}

fn chain(cursor: &mut Cursor) -> bool {
    let chain = cursor.accept("and chain");
    cursor.accept("and no chain");
    chain
}

/// Transaction modes, with or without commas, in any order.
pub fn modes(cursor: &mut Cursor) -> Parsed<TransactionModes> {
    let mut modes = TransactionModes::default();
    loop {
        if cursor.accept("isolation level") {
            let levels = ["serializable", "repeatable read", "read committed", "read uncommitted"];
            match cursor.accept_one(&levels) {
                Some(level) => modes.isolation = Some(level.to_owned()),
                None => return cursor.unexpected(),
            }
        } else if let Some(access) = cursor.accept_one(&["read only", "read write"]) {
            modes.read_only = Some(access == "read only");
        } else if let Some(words) = cursor.accept_one(&["deferrable", "not deferrable"]) {
            modes.deferrable = Some(words == "deferrable");
        } else {
            return Ok(modes);
        }
        cursor.accept_token(&Token::Comma);
    }
}
