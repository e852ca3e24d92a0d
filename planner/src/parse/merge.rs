//! MERGE: each of its clauses as the UPDATE, DELETE or INSERT that it is, for the rows that no clause before it takes.
//!
//! | clause | statement |
//! |---|---|
//! | `WHEN MATCHED AND c THEN UPDATE SET ...` | `UPDATE t SET ... FROM s WHERE on AND c AND (earlier) IS NOT TRUE` |
//! | `WHEN MATCHED AND c THEN DELETE` | `DELETE FROM t USING s WHERE on AND c AND (earlier) IS NOT TRUE` |
//! | `WHEN ... THEN DO NOTHING` | none: it only takes rows from the clauses after it |
//! | `WHEN NOT MATCHED AND c THEN INSERT ...` | `INSERT INTO t ... SELECT ... FROM s WHERE NOT EXISTS (...) AND c ...` |

use super::cursor::Cursor;
use super::failure::{Failure, Parsed};
use super::respell::NOTHING;
use super::{Statement, parse};
use millrace_types::SqlError;
use sqlparser::ast::{self, MergeAction, MergeClauseKind, MergeInsertKind, TableFactor};

/// A statement that starts with MERGE.
pub fn merge(cursor: &mut Cursor) -> Parsed<Statement> {
    let ast::Statement::Merge(merge) = cursor.parser.parse_statement()? else { return cursor.unexpected() };
    let mut parts = vec![];
    // The conditions of the clauses before, of rows that match and of those that do not.
    let (mut matched, mut unmatched): (Vec<String>, Vec<String>) = (vec![], vec![]);
    for clause in &merge.clauses {
        let earlier = match clause.clause_kind {
            MergeClauseKind::Matched => &mut matched,
            MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => &mut unmatched,
            MergeClauseKind::NotMatchedBySource => return Err(unsupported("NOT MATCHED BY SOURCE")),
        };
        let condition = clause.predicate.as_ref().map_or("true".to_owned(), ToString::to_string);
        let others = earlier.iter().map(|earlier| format!(" AND ({earlier}) IS NOT TRUE")).collect::<String>();
        let filter = format!("({condition}){others}");
        earlier.push(condition);
        if does_nothing(&clause.action) {
            continue;
        }
        let text = text(&merge, &clause.action, &filter)?;
        parts.push(parse(&text)?.ok_or_else(|| SqlError::internal("a clause of MERGE is a statement"))?);
    }
    Ok(Statement::Merge(parts))
}

/// Whether a clause is `DO NOTHING`, as tokens are respelled.
fn does_nothing(action: &MergeAction) -> bool {
    match action {
        MergeAction::Update(update) => update.assignments.iter().any(|set| set.to_string().contains(NOTHING)),
        MergeAction::Insert(insert) => insert.columns.iter().any(|column| column.to_string().contains(NOTHING)),
        MergeAction::Delete { .. } => false,
    }
}

/// A clause as a statement.
fn text(merge: &ast::Merge, action: &MergeAction, filter: &str) -> Parsed<String> {
    let (target, source, on) = (&merge.table, &merge.source, &merge.on);
    match action {
        MergeAction::Update(update) if update.update_predicate.is_none() && update.delete_predicate.is_none() => {
            let set = update.assignments.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Ok(format!("UPDATE {target} SET {set} FROM {source} WHERE ({on}) AND {filter}"))
        }
        MergeAction::Delete { .. } => Ok(format!("DELETE FROM {target} USING {source} WHERE ({on}) AND {filter}")),
        MergeAction::Insert(insert) if insert.insert_predicate.is_none() => {
            let TableFactor::Table { name, .. } = target else { return Err(unsupported("this target of MERGE")) };
            let MergeInsertKind::Values(values) = &insert.kind else { return Err(unsupported("INSERT ROW")) };
            let [row] = values.rows.as_slice() else { return Err(unsupported("several rows of INSERT in MERGE")) };
            let values: Vec<String> = row.content.iter().map(ToString::to_string).collect();
            let names: Vec<String> = insert.columns.iter().map(ToString::to_string).collect();
            let is_given = |value: &String| !value.eq_ignore_ascii_case("default");
            if names.is_empty() && !values.iter().all(is_given) {
                return Err(unsupported("DEFAULT without columns in MERGE"));
            }
            let columns: Vec<&str> =
                names.iter().zip(&values).filter(|(_, value)| is_given(value)).map(|(name, _)| name.as_str()).collect();
            let columns = if names.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
            let values = values.into_iter().filter(is_given).collect::<Vec<_>>().join(", ");
            let missing = format!("NOT EXISTS (SELECT 1 FROM {target} WHERE {on})");
            Ok(format!("INSERT INTO {name}{columns} SELECT {values} FROM {source} WHERE {missing} AND {filter}"))
        }
        _ => Err(unsupported("this clause of MERGE")),
    }
}

fn unsupported(what: &str) -> Failure {
    Failure::unsupported(what.to_owned())
}
