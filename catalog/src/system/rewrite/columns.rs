//! Which relations a FROM clause brings in, and which of them a column belongs to.

use super::super::relations::FILLERS;
use super::super::shape::{Shape, shape};
use super::expressions::parts;
use datafusion::sql::sqlparser::ast::*;
use millrace_functions::{each_expression, each_select};

/// A system relation in FROM, under the name by which columns refer to it.
pub struct Joined {
    /// The alias or, without one, the relation's name.
    pub name: String,
    /// Its columns.
    pub shape: &'static Shape,
}

/// The system relation that a table factor is.
pub fn system_relation(factor: &TableFactor) -> Option<Joined> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
    let [schema, relation] = parts(name)[..] else { return None };
    let shape = shape(Some(schema), relation)?;
    let name = alias.as_ref().map_or(relation, |alias| alias.name.value.as_str());
    Some(Joined { name: name.to_owned(), shape })
}

/// Every factor of a FROM clause, with whether a row needs one of its rows: LEFT JOIN's right side is not needed.
pub fn factors(from: &[TableWithJoins]) -> Vec<(&TableFactor, bool)> {
    let mut found = Vec::new();
    for item in from {
        found.push((&item.relation, true));
        for join in &item.joins {
            use JoinOperator::*;
            let needed = matches!(join.join_operator, Join(_) | Inner(_) | CrossJoin(_));
            if !needed && !matches!(join.join_operator, Left(_) | LeftOuter(_)) {
                // Other joins may do without their left side.
                found.iter_mut().for_each(|(_, needed)| *needed = false);
            }
            found.push((&join.relation, needed));
        }
    }
    found
}

/// All relations of a FROM clause, when all are system relations.
pub fn system_relations(from: &[TableWithJoins]) -> Option<Vec<Joined>> {
    factors(from).into_iter().map(|(factor, _)| system_relation(factor)).collect()
}

/// Whether a FROM clause needs a row of a system relation that never has one.
pub fn is_empty(from: &[TableWithJoins]) -> bool {
    factors(from).into_iter().any(|(factor, needed)| {
        let never =
            |shape: &Shape| !FILLERS.iter().any(|(schema, name, _)| (*schema, *name) == (shape.schema, shape.name));
        needed && system_relation(factor).is_some_and(|joined| never(joined.shape))
    })
}

/// The relation among `joined` that a column is of, with the column's name.
pub fn owner<'a>(joined: &'a [Joined], expr: &Expr) -> Option<(&'a Joined, String)> {
    let (qualifier, column) = match expr {
        Expr::Identifier(column) => (None, column),
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [table, column] | [_, table, column] => (Some(table), column),
            _ => return None,
        },
        _ => return None,
    };
    let has = |joined: &&Joined| joined.shape.columns.iter().any(|(name, _)| *name == column.value.to_lowercase());
    let found = match qualifier {
        Some(table) => joined.iter().find(|joined| joined.name.eq_ignore_ascii_case(&table.value)),
        None => joined.iter().find(has),
    };
    found.map(|joined| (joined, column.value.clone()))
}

/// `c.tableoid` becomes the OID of the relation behind `c`: a hidden column of every relation in Postgres.
pub fn know_table_oids(query: &mut Query) {
    each_select(query, |select| {
        let joined: Vec<_> =
            factors(&select.from).into_iter().filter_map(|(factor, _)| system_relation(factor)).collect();
        if joined.is_empty() {
            return;
        }
        each_expression(select, |expr| {
            if let Expr::CompoundIdentifier(names) = &*expr
                && let [table, column] = names.as_slice()
                && column.value == "tableoid"
                && let Some(relation) = joined.iter().find(|joined| joined.name == table.value)
            {
                *expr = Expr::Value(Value::Number(relation.shape.oid.to_string(), false).with_empty_span());
            }
        });
    });
}
