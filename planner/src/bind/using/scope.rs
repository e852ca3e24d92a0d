//! What bare names mean in a SELECT with joins that merge columns.

use crate::parse::fold;
use millrace_functions::{Walk, syntax_call};
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, TableFactor, TableWithJoins,
    Value, VisitorMut,
};
use std::ops::ControlFlow;

/// The columns of a FROM, in the order of `*`.
#[derive(Clone, Default)]
pub struct Scope(Vec<Column>);

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
            let names = match constraint {
                JoinConstraint::Using(names) => names.iter().map(using_name).collect::<Result<Vec<_>>>()?,
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
            let (merged, condition) = scope.merge(right, &names, merge)?;
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
        Ok(Some(Scope(columns.into_iter().map(column).collect())))
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
        &self.0
    }

    pub fn extend(&mut self, other: Scope) {
        self.0.extend(other.0);
    }

    /// The names that stand on both sides, in the order of this one.
    fn common(&self, right: &Scope) -> Vec<String> {
        let names = self.0.iter().map(|column| column.name.clone());
        names.filter(|name| right.0.iter().any(|column| column.name == *name)).collect()
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
        let rest = self.0.iter().chain(&right.0).filter(|column| !names.contains(&column.name));
        merged.extend(rest.cloned());
        Ok((Scope(merged), condition.unwrap_or_else(|| Expr::Value(Value::Boolean(true).into()))))
    }

    /// The one column of a side of a join with this name.
    fn one(&self, name: &str, side: &str) -> Result<&Expr> {
        let mut found = self.0.iter().filter(|column| column.name == name);
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
        let mut found = self.0.iter().filter(|column| column.name == name);
        match (found.next(), found.next()) {
            (Some(column), None) if column.merged => Some(&column.expr),
            _ => None,
        }
    }
}

/// Replaces bare names, outside of subqueries.
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
        if let (0, Expr::Identifier(ident)) = (self.depth, &*expr)
            && let Some(meant) = self.scope.merged(&fold(ident))
        {
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
