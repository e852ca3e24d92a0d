//! WITH before statements that change rows, and with parts that do.
//!
//! | written | statement |
//! |---|---|
//! | `WITH q AS (SELECT ...) UPDATE t ...` | the UPDATE, which keeps the queries |
//! | `WITH d AS (DELETE ... RETURNING *) SELECT ...` | a [`With`]: the DELETE, and the SELECT that reads what it returns |

use super::fold;
use super::statement::{CreateTableAs, Delete, OnCommit, Statement, Update, With, WithPart};
use sqlparser::ast::{self, Cte, SetExpr};

/// What begins like a query, as the statement that it is.
pub fn statement(mut query: Box<ast::Query>) -> Statement {
    let Some(with) = query.with.take() else { return one(query, None) };
    let queries_of = |queries: &[Cte]| {
        let is_some = !queries.is_empty();
        is_some.then(|| ast::With { cte_tables: queries.to_vec(), ..with.clone() })
    };
    let (mut queries, mut parts) = (vec![], vec![]);
    for part in &with.cte_tables {
        match changes_rows(&part.query) {
            false => queries.push(part.clone()),
            true => parts.push(WithPart {
                name: fold(&part.alias.name),
                columns: part.alias.columns.iter().map(|column| fold(&column.name)).collect(),
                statement: one(part.query.clone(), queries_of(&queries)),
            }),
        }
    }
    let body = one(query, queries_of(&queries));
    match parts.is_empty() {
        true => body,
        false => Statement::With(Box::new(With { parts, body })),
    }
}

/// Whether a query is a statement that changes rows.
pub fn changes_rows(query: &ast::Query) -> bool {
    matches!(query.body.as_ref(), SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_))
}

/// A statement with the queries of a WITH before those of its own.
fn one(mut query: Box<ast::Query>, before: Option<ast::With>) -> Statement {
    let with = joined(before, query.with.take());
    match *query.body {
        SetExpr::Insert(ast::Statement::Insert(mut insert)) => {
            if let Some(source) = insert.source.as_mut() {
                source.with = joined(with, source.with.take());
            }
            Statement::Insert(Box::new(insert))
        }
        SetExpr::Update(ast::Statement::Update(syntax)) => Statement::Update(Box::new(Update { with, syntax })),
        SetExpr::Delete(ast::Statement::Delete(syntax)) => Statement::Delete(Box::new(Delete { with, syntax })),
        body => into_table(Box::new(ast::Query { with, body: Box::new(body), ..*query })),
    }
}

fn joined(before: Option<ast::With>, own: Option<ast::With>) -> Option<ast::With> {
    match (before, own) {
        (Some(mut before), Some(own)) => {
            before.recursive |= own.recursive;
            before.cte_tables.extend(own.cte_tables);
            Some(before)
        }
        (before, own) => before.or(own),
    }
}

/// `SELECT ... INTO table` makes a table.
fn into_table(mut query: Box<ast::Query>) -> Statement {
    let into = match query.body.as_mut() {
        SetExpr::Select(select) => select.into.take(),
        _ => None,
    };
    match into {
        None => Statement::Query(query),
        Some(into) => Statement::CreateTableAs(CreateTableAs {
            name: into.name,
            if_not_exists: false,
            temporary: into.temporary.then_some(OnCommit::PreserveRows),
            columns: vec![],
            query,
            options: vec![],
            with_data: true,
        }),
    }
}
