//! `a ASOF [LEFT] JOIN b ON a.k = b.k AND b.t <= a.t`: each row of `a` with that row of `b` whose time is the nearest.
//!
//! It is a lateral join with the first of the rows that match:
//!
//! ```text
//!   a [LEFT] JOIN LATERAL (SELECT * FROM b WHERE a.k = b.k AND b.t <= a.t ORDER BY b.t DESC LIMIT 1) AS b ON true
//! ```
//!
//! `a [LEFT] JOIN b FOR SYSTEM_TIME AS OF a.t ON a.k = b.k` is the same, by the event time of `b`: each row of `b` is the
//! version that holds from its time on.

use super::provider::Provider;
use crate::parse::{ASOF_MARK, VERSION_MARK, fold, name_parts, parse_query};
use millrace_functions::{Walk, each_select};
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join, JoinConstraint, JoinOperator,
    OrderByKind, Query, SetExpr, TableAlias, TableFactor, Value, Visitor,
};
use std::ops::ControlFlow;

/// Rewrites every such join in a query.
///
/// # Errors
/// `42601` for conditions that name no nearest row, `0A000` for other kinds of join.
pub fn spell_out(query: &mut Query, provider: &Provider) -> Result<()> {
    let mut outcome = Ok(());
    each_select(query, |select| {
        for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
            let done = spell_out_join(join, provider);
            outcome = std::mem::replace(&mut outcome, Ok(())).and(done);
        }
    });
    outcome
}

fn spell_out_join(join: &mut Join, provider: &Provider) -> Result<()> {
    if let TableFactor::NestedJoin { table_with_joins, .. } = &mut join.relation {
        table_with_joins.joins.iter_mut().try_for_each(|join| spell_out_join(join, provider))?;
    }
    let condition = match &mut join.join_operator {
        JoinOperator::Join(JoinConstraint::On(condition))
        | JoinOperator::Inner(JoinConstraint::On(condition))
        | JoinOperator::Left(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition)) => condition,
        JoinOperator::Right(JoinConstraint::On(condition))
        | JoinOperator::RightOuter(JoinConstraint::On(condition))
        | JoinOperator::FullOuter(JoinConstraint::On(condition)) => {
            let mut parts = vec![];
            conjuncts(condition, &mut parts);
            let is_versioned = parts.iter().any(is_mark);
            return if is_versioned {
                Err(SqlError::unsupported("FOR SYSTEM_TIME AS OF in a RIGHT or FULL JOIN"))
            } else {
                Ok(())
            };
        }
        _ => return Ok(()),
    };
    let mut parts = vec![];
    conjuncts(condition, &mut parts);
    let count = parts.len();
    parts.retain(|part| !is_mark(part));
    if parts.len() == count {
        return Ok(());
    }
    let alias = name_of(&join.relation)?;
    for part in &mut parts {
        if let Some(moment) = version(part) {
            *part = begun(&join.relation, &alias, moment, provider)?;
        }
    }
    let nearest = nearest(&parts, &alias)?;
    let subquery = first(join.relation.clone(), parts, nearest)?;
    *condition = Expr::Value(Value::Boolean(true).with_empty_span());
    let alias = TableAlias { explicit: true, name: alias, columns: vec![], at: None };
    join.relation = TableFactor::Derived { lateral: true, subquery, alias: Some(alias), sample: None };
    Ok(())
}

/// The parts of a condition that all must hold.
fn conjuncts(condition: &Expr, parts: &mut Vec<Expr>) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, parts);
            conjuncts(right, parts);
        }
        Expr::Nested(inner) if matches!(inner.as_ref(), Expr::BinaryOp { .. }) => conjuncts(inner, parts),
        part => parts.push(part.clone()),
    }
}

fn is_mark(part: &Expr) -> bool {
    matches!(part, Expr::Identifier(ident) if ident.value == ASOF_MARK)
}

/// The moment whose version a part of a condition asks for.
fn version(part: &Expr) -> Option<Expr> {
    let Expr::Function(call) = part else { return None };
    let is_version = call.name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| name.value == VERSION_MARK);
    match &call.args {
        FunctionArguments::List(list) if is_version => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(moment))] => Some(moment.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// That a row of a relation has begun to hold at a moment.
fn begun(relation: &TableFactor, alias: &Ident, moment: Expr, provider: &Provider) -> Result<Expr> {
    let TableFactor::Table { name, args: None, .. } = relation else {
        return Err(SqlError::unsupported("FOR SYSTEM_TIME AS OF of what is not a relation"));
    };
    let relation = provider.relation(&name_parts(name))?;
    let Some(time) = relation.event_time else {
        let message = format!("relation \"{}\" has no versions", relation.name);
        return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
            .with_detail("Its rows do not say from when on they hold.")
            .with_hint("Declare a WATERMARK FOR the column that does, or use ASOF JOIN."));
    };
    let time = Ident::with_quote('"', relation.schema.field(time).name());
    let time = Expr::CompoundIdentifier(vec![alias.clone(), time]);
    Ok(Expr::BinaryOp { left: Box::new(time), op: BinaryOperator::LtEq, right: Box::new(moment) })
}

fn name_of(relation: &TableFactor) -> Result<Ident> {
    let (alias, name) = match relation {
        TableFactor::Table { alias, name, .. } | TableFactor::Function { alias, name, .. } => {
            (alias, name.0.last().and_then(|part| part.as_ident()).cloned())
        }
        TableFactor::Derived { alias, .. } => (alias, None),
        _ => return Err(SqlError::unsupported("ASOF JOIN with this kind of relation")),
    };
    let name = alias.as_ref().map(|alias| alias.name.clone()).or(name);
    name.ok_or_else(|| SqlError::new(SqlState::SYNTAX_ERROR, "the right side of ASOF JOIN needs a name"))
}

/// The time of the right side, and whether the greatest one is the nearest.
fn nearest(parts: &[Expr], alias: &Ident) -> Result<(Expr, bool)> {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    let found = parts.iter().filter_map(|part| match part {
        Expr::BinaryOp { left, op: op @ (Lt | LtEq | Gt | GtEq), right } => {
            let is_less = matches!(op, Lt | LtEq);
            // What is compared with a constant is no time of both sides.
            match (side(left, alias)?, side(right, alias)?) {
                (true, false) => Some((left.as_ref().clone(), is_less)),
                (false, true) => Some((right.as_ref().clone(), !is_less)),
                _ => None,
            }
        }
        _ => None,
    });
    let found: Vec<(Expr, bool)> = found.collect();
    match <[(Expr, bool); 1]>::try_from(found) {
        Ok([found]) => Ok(found),
        Err(_) => {
            let message = "the condition of ASOF JOIN must compare times of both sides by one of <, <=, > and >=";
            let hint = format!("Use for example ON a.k = {alias}.k AND {alias}.t <= a.t.");
            Err(SqlError::new(SqlState::SYNTAX_ERROR, message).with_hint(hint))
        }
    }
}

/// Whether an expression holds a column that is said to be of a relation; `None` when it holds none at all.
fn side(expr: &Expr, alias: &Ident) -> Option<bool> {
    struct Finder {
        relation: String,
        found: Option<bool>,
    }
    impl Visitor for Finder {
        type Break = SqlError;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
            let is_of = match expr {
                Expr::CompoundIdentifier(parts) if parts.len() > 1 => fold(&parts[parts.len() - 2]) == self.relation,
                Expr::Identifier(_) => false,
                _ => return ControlFlow::Continue(()),
            };
            self.found = Some(self.found.unwrap_or(false) || is_of);
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder { relation: fold(alias), found: None };
    // It never breaks off.
    let _ = expr.walk(&mut finder);
    finder.found
}

/// `SELECT * FROM relation WHERE parts ORDER BY time LIMIT 1`
fn first(relation: TableFactor, parts: Vec<Expr>, (time, greatest): (Expr, bool)) -> Result<Box<Query>> {
    let order = if greatest { "DESC NULLS LAST" } else { "ASC NULLS LAST" };
    let mut query = parse_query(&format!("SELECT * FROM x ORDER BY y {order} LIMIT 1"))?;
    if let Some(OrderByKind::Expressions(sorts)) = query.order_by.as_mut().map(|order| &mut order.kind) {
        sorts.iter_mut().for_each(|sort| sort.expr = time.clone());
    }
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.from.iter_mut().for_each(|table| table.relation = relation.clone());
        let both = |left: Expr, right| Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::And,
            right: Box::new(right),
        };
        select.selection = parts.into_iter().map(|part| Expr::Nested(Box::new(part))).reduce(both);
    }
    Ok(query)
}
