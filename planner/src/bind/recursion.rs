//! The first term of a recursive query gives its columns their types while it is planned, when integers do not have
//! Postgres's types yet. So an integer in its select list, `0 AS depth`, is given its type there and then: later the
//! other term would disagree with what was planned.

use millrace_functions::Walk;
use millrace_types::SqlError;
use sqlparser::ast::{CastKind, DataType, Expr, Query, SelectItem, SetExpr, Value, ValueWithSpan, VisitorMut};
use std::ops::ControlFlow;

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
