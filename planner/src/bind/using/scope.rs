//! What bare names mean in a SELECT with joins that merge columns.

use crate::parse::{MERGED, fold};
use millrace_functions::{Walk, syntax_call};
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, TableFactor, TableWithJoins,
    Value, VisitorMut,
};
use std::ops::ControlFlow;

/// What names mean in a FROM.
#[derive(Clone, Default)]
pub struct Scope {
    /// Its columns, in the order of `*`.
    columns: Vec<Column>,
    /// The tables that joins name what they merge by: `JOIN ... USING (a) AS x`.
    tables: Vec<(String, Vec<Column>)>,
}

/// A column that a bare name may mean.
#[derive(Clone)]
pub struct Column {
    pub name: String,
    /// What it is, by the names of tables.
    pub expr: Expr,
    /// Whether it was merged from two columns.
    merged: bool,
}

/// How the columns of single tables are found.
pub struct Tables<'a> {
    /// The names of a table's columns; `None` where they cannot be told.
    pub columns: &'a dyn Fn(&TableFactor) -> Option<Vec<String>>,
}

/// Which columns a bare name means after a join.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Merge {
    Left,
    Right,
    Coalesced,
}

impl Tables<'_> {
    /// Spells out the joins of a FROM item, and tells its columns; `None` where they cannot be told.
    pub fn joined(&self, table: &mut TableWithJoins) -> Result<Option<Scope>> {
        let Some(mut scope) = self.factor(&mut table.relation)? else { return Ok(None) };
        for join in &mut table.joins {
            let Some(right) = self.factor(&mut join.relation)? else { return Ok(None) };
            let Some((merge, constraint)) = parts(&mut join.join_operator) else { return Ok(None) };
            let mut alias = None;
            let names = match constraint {
                JoinConstraint::Using(names) => {
                    let mut names = names.iter().map(using_name).collect::<Result<Vec<_>>>()?;
                    if let Some(name) = names.first().and_then(|name| name.strip_prefix(MERGED)) {
                        alias = Some(name.to_owned());
                        names.remove(0);
                    }
                    names
                }
                JoinConstraint::Natural => scope.common(&right),
                JoinConstraint::On(condition) => {
                    scope.extend(right);
                    scope.replace(condition)?;
                    continue;
                }
                JoinConstraint::None => {
                    scope.extend(right);
                    continue;
                }
            };
            let (mut merged, condition) = scope.merge(right, &names, merge)?;
            if let Some(alias) = alias {
                let columns = merged.columns[..names.len()].to_vec();
                merged.tables.push((alias, columns));
            }
            (scope, *constraint) = (merged, JoinConstraint::On(condition));
        }
        Ok(Some(scope))
    }

    fn factor(&self, factor: &mut TableFactor) -> Result<Option<Scope>> {
        let name = match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => return self.joined(table_with_joins),
            TableFactor::NestedJoin { alias: Some(_), .. } => return Ok(None),
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. } => Some(alias.name.clone()),
            TableFactor::Table { name, alias: None, .. } => name.0.last().and_then(|part| part.as_ident()).cloned(),
            _ => None,
        };
        let (Some(name), Some(columns)) = (name, (self.columns)(factor)) else { return Ok(None) };
        let column = |column: String| Column {
            expr: Expr::CompoundIdentifier(vec![name.clone(), Ident::with_quote('"', &column)]),
            name: column,
            merged: false,
        };
        Ok(Some(Scope { columns: columns.into_iter().map(column).collect(), tables: vec![] }))
    }
}

/// The condition of a join, and what it merges columns to.
fn parts(operator: &mut JoinOperator) -> Option<(Merge, &mut JoinConstraint)> {
    use JoinOperator::*;
    match operator {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) | CrossJoin(c) => Some((Merge::Left, c)),
        Right(c) | RightOuter(c) => Some((Merge::Right, c)),
        FullOuter(c) => Some((Merge::Coalesced, c)),
        _ => None,
    }
}

fn using_name(name: &ObjectName) -> Result<String> {
    let ident = name.0.last().and_then(|part| part.as_ident());
    ident.map(fold).ok_or_else(|| SqlError::new(SqlState::SYNTAX_ERROR, "syntax error in USING"))
}

impl Scope {
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns that a join merged under this name.
    pub fn table(&self, name: &str) -> Option<&[Column]> {
        self.tables.iter().find(|(table, _)| table == name).map(|(_, columns)| columns.as_slice())
    }

    pub fn extend(&mut self, other: Scope) {
        self.columns.extend(other.columns);
        self.tables.extend(other.tables);
    }

    /// The names that stand on both sides, in the order of this one.
    fn common(&self, right: &Scope) -> Vec<String> {
        let names = self.columns.iter().map(|column| column.name.clone());
        names.filter(|name| right.columns.iter().any(|column| column.name == *name)).collect()
    }

    /// The scope of a join by `names`, and its condition.
    fn merge(&self, right: Scope, names: &[String], merge: Merge) -> Result<(Scope, Expr)> {
        let (mut merged, mut condition) = (vec![], None);
        for name in names {
            let (left, right) = (self.one(name, "left")?, right.one(name, "right")?);
            let equal = binary(left.clone(), BinaryOperator::Eq, right.clone());
            condition = Some(match condition {
                Some(others) => binary(others, BinaryOperator::And, equal),
                None => equal,
            });
            let expr = match merge {
                Merge::Left => left.clone(),
                Merge::Right => right.clone(),
                Merge::Coalesced => coalesce(left.clone(), right.clone()),
            };
            merged.push(Column { name: name.clone(), expr, merged: true });
        }
        let rest = self.columns.iter().chain(&right.columns).filter(|column| !names.contains(&column.name));
        merged.extend(rest.cloned());
        let scope = Scope { columns: merged, tables: [self.tables.clone(), right.tables].concat() };
        Ok((scope, condition.unwrap_or_else(|| Expr::Value(Value::Boolean(true).into()))))
    }

    /// The one column of a side of a join with this name.
    fn one(&self, name: &str, side: &str) -> Result<&Expr> {
        let mut found = self.columns.iter().filter(|column| column.name == name);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(&column.expr),
            (None, _) => {
                let message = format!("column \"{name}\" specified in USING clause does not exist in {side} table");
                Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message))
            }
            _ => {
                let message = format!("common column name \"{name}\" appears more than once in {side} table");
                Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, message))
            }
        }
    }

    /// Puts what merged names mean into all expressions of a SELECT.
    pub fn replace_in(&self, select: &mut Select) -> Result<()> {
        select.walk_mut(&mut Replacer { scope: self, depth: 0 })
    }

    /// Puts what merged names mean into an expression.
    pub fn replace(&self, expr: &mut Expr) -> Result<()> {
        expr.walk_mut(&mut Replacer { scope: self, depth: 0 })
    }

    /// What a bare name means, if it was merged and is not ambiguous.
    fn merged(&self, name: &str) -> Option<&Expr> {
        let mut found = self.columns.iter().filter(|column| column.name == name);
        match (found.next(), found.next()) {
            (Some(column), None) if column.merged => Some(&column.expr),
            _ => None,
        }
    }

    /// What the column of a join's name means.
    fn merged_in(&self, table: &str, column: &str) -> Option<&Expr> {
        self.table(table)?.iter().find(|merged| merged.name == column).map(|merged| &merged.expr)
    }
}

/// Replaces bare names outside of subqueries, and those with the name of a join anywhere.
struct Replacer<'a> {
    scope: &'a Scope,
    depth: usize,
}

impl VisitorMut for Replacer<'_> {
    type Break = SqlError;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<SqlError> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<SqlError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let meant = match &*expr {
            Expr::Identifier(ident) if self.depth == 0 => self.scope.merged(&fold(ident)),
            Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                [table, column] => {
                    let (table, column) = (fold(table), fold(column));
                    let meant = self.scope.merged_in(&table, &column);
                    // Within a subquery it may be another table.
                    if meant.is_none() && self.depth == 0 && self.scope.table(&table).is_some() {
                        let message = format!("column {table}.{column} does not exist");
                        return ControlFlow::Break(SqlError::new(SqlState::UNDEFINED_COLUMN, message));
                    }
                    meant
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(meant) = meant {
            *expr = meant.clone();
        }
        ControlFlow::Continue(())
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn coalesce(left: Expr, right: Expr) -> Expr {
    syntax_call("coalesce", [left, right])
}
