//! The first term of a recursive query gives its columns their types while it is planned, when integers do not have
//! Postgres's types yet. So an integer in its select list, `0 AS depth`, is given its type there and then: later the
//! other term would disagree with what was planned.

//!
//! What Postgres does not take of a recursive query is refused by its syntax.

use crate::functions::FunctionSource;
use crate::parse::{fold, name_parts};
use datafusion::execution::FunctionRegistry;
use millrace_functions::Walk;
use millrace_types::{Result, SqlError, SqlState};
use sqlparser::ast::{
    CastKind, Cte, DataType, Expr, ObjectName, Query, SelectItem, SetExpr, SetOperator, Value, ValueWithSpan, Visitor,
    VisitorMut,
};
use std::ops::ControlFlow;

/// Refuses recursive queries of other forms than `first UNION [ALL] next`, in which `next` reads the query once.
///
/// # Errors
/// `42P19`
pub fn check(query: &Query, functions: &FunctionSource) -> Result<()> {
    struct Checker<'a>(&'a FunctionSource);
    impl Visitor for Checker<'_> {
        type Break = SqlError;

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
            let recursive = query.with.iter().filter(|with| with.recursive);
            for cte in recursive.flat_map(|with| &with.cte_tables) {
                if let Err(error) = check_one(cte, self.0) {
                    return ControlFlow::Break(error);
                }
            }
            ControlFlow::Continue(())
        }
    }
    query.walk(&mut Checker(functions))
}

fn check_one(cte: &Cte, functions: &FunctionSource) -> Result<()> {
    let name = fold(&cte.alias.name);
    if references(&cte.query, &name) == 0 {
        return Ok(());
    }
    let invalid = |words: String| Err(SqlError::new(SqlState("42P19"), words));
    let SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } = cte.query.body.as_ref() else {
        let form = "non-recursive-term UNION [ALL] recursive-term";
        return invalid(format!("recursive query \"{name}\" does not have the form {form}"));
    };
    let part = |body: &SetExpr| Query { with: None, body: Box::new(body.clone()), ..Query::clone(&cte.query) };
    if references(&part(left), &name) > 0 {
        return invalid(format!(
            "recursive reference to query \"{name}\" must not appear within its non-recursive term"
        ));
    }
    if references(&part(right), &name) > 1 {
        return invalid(format!("recursive reference to query \"{name}\" must not appear more than once"));
    }
    if let SetExpr::Select(select) = right.as_ref()
        && select.projection.iter().any(|item| is_aggregate(item, functions))
        && select.from.iter().any(|table| table.to_string().to_lowercase().contains(&name))
    {
        return invalid("aggregate functions are not allowed in a recursive query's recursive term".to_owned());
    }
    Ok(())
}

fn is_aggregate(item: &SelectItem, functions: &FunctionSource) -> bool {
    match item {
        SelectItem::UnnamedExpr(Expr::Function(call))
        | SelectItem::ExprWithAlias { expr: Expr::Function(call), .. } => {
            let name = name_parts(&call.name).pop().unwrap_or_default();
            call.over.is_none() && functions.state().udaf(&name).is_ok()
        }
        _ => false,
    }
}

/// How often a query names a relation without a schema.
fn references(query: &Query, name: &str) -> usize {
    struct Counter<'a>(&'a str, usize);
    impl Visitor for Counter<'_> {
        type Break = SqlError;

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<SqlError> {
            self.1 += usize::from(matches!(name_parts(relation).as_slice(), [part] if part == self.0));
            ControlFlow::Continue(())
        }
    }
    let mut counter = Counter(name, 0);
    // It never breaks off.
    let _ = query.walk(&mut counter);
    counter.1
}

/// Types the integers of the first terms of all recursive queries in a query.
pub fn type_integers(query: &mut Query) {
    struct Terms;
    impl VisitorMut for Terms {
        type Break = SqlError;

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<SqlError> {
            let recursive = query.with.iter_mut().filter(|with| with.recursive);
            for cte in recursive.flat_map(|with| &mut with.cte_tables) {
                let SetExpr::SetOperation { left, .. } = cte.query.body.as_mut() else { continue };
                match left.as_mut() {
                    SetExpr::Select(select) => select.projection.iter_mut().for_each(type_item),
                    SetExpr::Values(values) => {
                        values.rows.iter_mut().flat_map(|row| row.content.iter_mut()).for_each(type_integer);
                    }
                    _ => {}
                }
            }
            ControlFlow::Continue(())
        }
    }
    // It never breaks off.
    let _ = query.walk_mut(&mut Terms);
}

fn type_item(item: &mut SelectItem) {
    if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
        type_integer(expr);
    }
}

fn type_integer(expr: &mut Expr) {
    if let Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) = &*expr
        && number.parse::<i32>().is_ok()
    {
        let integer = Box::new(expr.clone());
        let (kind, data_type) = (CastKind::DoubleColon, DataType::Integer(None));
        *expr = Expr::Cast { kind, expr: integer, data_type, array: false, format: None };
    }
}
