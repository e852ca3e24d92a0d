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
//!
//! As of `PROCTIME()`, or a column that has this as its value, it is a look-up: a join whose condition has a [mark](AS_OF_NOW).

use super::provider::Provider;
use crate::catalog::Generated;
use crate::parse::{ASOF_MARK, VERSION_MARK, fold, name_parts, parse_expression, parse_query};
use millrace_functions::clock::PROCTIME;
use millrace_functions::{AS_OF_NOW, Walk, each_select};
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
        for table in &mut select.from {
            let factors = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
            let named: Vec<TableFactor> = factors.cloned().collect();
            for join in &mut table.joins {
                let done = spell_out_join(join, &named, provider);
                outcome = std::mem::replace(&mut outcome, Ok(())).and(done);
            }
        }
    });
    outcome
}

/// `named`: the relations that a moment may be a column of.
fn spell_out_join(join: &mut Join, named: &[TableFactor], provider: &Provider) -> Result<()> {
    if let TableFactor::NestedJoin { table_with_joins, .. } = &mut join.relation {
        table_with_joins.joins.iter_mut().try_for_each(|join| spell_out_join(join, named, provider))?;
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
    let is_now = |moment: &Expr| is_processing_time(moment, named, provider);
    if parts.iter().filter_map(version).any(|moment| is_now(&moment)) {
        parts.retain(|part| version(part).is_none());
        *condition = looked_up(parts, &alias)?;
        return Ok(());
    }
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

/// Whether a moment is that at which a row is processed.
fn is_processing_time(moment: &Expr, named: &[TableFactor], provider: &Provider) -> bool {
    match moment {
        Expr::Function(call) => {
            let name = call.name.0.last().and_then(|part| part.as_ident());
            name.is_some_and(|name| name.value.eq_ignore_ascii_case(PROCTIME))
        }
        Expr::CompoundIdentifier(parts) => {
            let [.., of, column] = parts.as_slice() else { return false };
            let is_of = |factor: &&TableFactor| name_of(factor).is_ok_and(|name| fold(&name) == fold(of));
            let Some(TableFactor::Table { name, args: None, .. }) = named.iter().find(is_of) else { return false };
            let Ok(relation) = provider.relation(&name_parts(name)) else { return false };
            let place = relation.schema.fields().iter().position(|field| *field.name() == fold(column));
            place.is_some_and(|place| relation.generated.get(place) == Some(&Some(Generated::Arrival)))
        }
        _ => false,
    }
}

/// The condition of a look-up in a relation.
fn looked_up(mut parts: Vec<Expr>, alias: &Ident) -> Result<Expr> {
    let equalities = || {
        parts.iter().filter_map(|part| match part {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => Some((left.as_ref(), right.as_ref())),
            _ => None,
        })
    };
    let sides = |(left, right): &(&Expr, &Expr)| side(left, alias).zip(side(right, alias));
    let of_both = equalities().find(|pair| sides(pair).is_some_and(|(left, right)| left != right));
    let Some((left, right)) = of_both.or_else(|| equalities().find(|pair| sides(pair).is_some())) else {
        return Err(SqlError::unsupported("FOR SYSTEM_TIME AS OF PROCTIME() without an equality of both sides")
            .with_hint(format!("Use for example ON {alias}.k = a.k.")));
    };
    let mut mark = parse_expression("x(y, z)")?;
    if let Expr::Function(call) = &mut mark
        && let FunctionArguments::List(list) = &mut call.args
    {
        call.name = Ident::with_quote('"', AS_OF_NOW).into();
        let args = [left, right].map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg.clone())));
        list.args = args.into();
    }
    parts.push(mark);
    Ok(all_of(parts).unwrap_or(Expr::Value(Value::Boolean(true).with_empty_span())))
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

/// That all of these hold.
fn all_of(parts: Vec<Expr>) -> Option<Expr> {
    let both =
        |left: Expr, right| Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) };
    parts.into_iter().map(|part| Expr::Nested(Box::new(part))).reduce(both)
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
        select.selection = all_of(parts);
    }
    Ok(query)
}
